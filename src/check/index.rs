//! From the library's index to the checker's types.

use std::rc::Rc;

use super::known::{Known, Member, MemberKind, Table};
use super::lua;
use super::types::{Parameter, Signature, Type};
use crate::api;

impl Known {
    /// `parts`: all that `require "rpitr.part"` finds.
    pub fn new(index: &api::Api, parts: impl IntoIterator<Item = String>) -> Known {
        let mut known = Known::default();
        known.parts.extend(parts);
        known.add_lua();
        for alias in &index.aliases {
            let ty = Type::parse(&alias.ty, &[]);
            known.aliases.insert(alias.name.clone(), ty);
        }
        for class in &index.classes {
            known.tables.insert(class.name.clone(), class_table(class));
        }
        for module in &index.modules {
            let name = format!("rpitr.{}", module.name);
            known.tables.insert(name.clone(), module_table(module));
            known
                .globals
                .insert(module.name.clone(), Type::Named(name.into()));
            known.modules.insert(module.name.clone());
        }
        known.add_globals(&index.globals);
        for returned in index.functions().flat_map(|function| &function.returns) {
            let ty = Type::parse(&returned.ty, &[]);
            known.note_results(&ty);
        }
        known
    }

    fn add_lua(&mut self) {
        for name in lua::FUNCTIONS {
            self.globals.insert((*name).into(), Type::Unknown);
        }
        for (name, members) in lua::TABLES {
            let table = Table {
                title: (*name).into(),
                members: members
                    .iter()
                    .map(|member| ((*member).to_string(), Member::default()))
                    .collect(),
                ..Table::default()
            };
            let class = format!("lua.{name}");
            self.tables.insert(class.clone(), table);
            self.globals
                .insert((*name).into(), Type::Named(class.into()));
        }
    }

    fn note_results(&mut self, ty: &Type) {
        for part in ty.parts() {
            match part {
                Type::Named(name) => {
                    self.results.insert(name.to_string());
                }
                Type::List(entry) | Type::Map(entry) => self.note_results(entry),
                _ => {}
            }
        }
    }

    fn add_globals(&mut self, globals: &api::Module) {
        for function in &globals.functions {
            let ty = Type::Function(Some(Rc::new(signature(function))));
            // `os.exit` is a member of what Lua has already.
            let (table, name) = match function.name.split_once('.') {
                Some((table, name)) => (self.tables.get_mut(&format!("lua.{table}")), name),
                None => (None, function.name.as_str()),
            };
            match table {
                Some(table) => {
                    let kind = MemberKind::Function;
                    let member = Member {
                        ty,
                        kind,
                        ..Member::default()
                    };
                    table.members.insert(name.to_string(), member);
                }
                None => {
                    self.globals.insert(name.to_string(), ty);
                }
            }
        }
        for field in &globals.fields {
            let ty = Type::parse(&field.ty, &[]);
            self.globals.insert(field.name.clone(), ty);
        }
    }
}

fn class_table(class: &api::Class) -> Table {
    let mut table = Table {
        title: class.name.clone(),
        parents: class.parents.clone(),
        call: overloaded(&class.name, &class.overloads),
        ..Table::default()
    };
    for field in &class.fields {
        add_field(&mut table, field);
    }
    for method in &class.methods {
        add_function(&mut table, method);
    }
    table
}

fn module_table(module: &api::Module) -> Table {
    let mut table = Table {
        title: module.name.clone(),
        module: true,
        call: overloaded(&module.name, &module.overloads),
        ..Table::default()
    };
    for field in &module.fields {
        add_field(&mut table, field);
    }
    for function in &module.functions {
        add_function(&mut table, function);
    }
    table
}

fn add_field(table: &mut Table, field: &api::Field) {
    let ty = Type::parse(&field.ty, &[]);
    let entries = field.name.starts_with('[');
    // `[1]` is a field like any other: the first that is listed.
    if entries && !field.name.contains(|c: char| c.is_ascii_digit()) {
        table.open |= !field.name.contains("integer");
        table.entries = Some(ty);
        return;
    }
    let name = field.name.clone();
    let member = Member {
        ty,
        optional: field.optional,
        kind: MemberKind::Field,
        private: field.private,
    };
    table.members.insert(name, member);
}

fn add_function(table: &mut Table, function: &api::Function) {
    let kind = if function.name.contains(':') {
        MemberKind::Method
    } else {
        MemberKind::Function
    };
    let member = Member {
        ty: Type::Function(Some(Rc::new(signature(function)))),
        optional: true,
        kind,
        private: function.private,
    };
    let name = function.short_name().to_string();
    table.members.insert(name, member);
}

fn signature(function: &api::Function) -> Signature {
    let generics: Vec<String> = function
        .generics
        .iter()
        .map(|text| text.split(':').next().unwrap_or(text).trim().to_string())
        .collect();
    let mut found = Signature {
        name: function.name.clone(),
        ..Signature::default()
    };
    for param in &function.params {
        let ty = Type::parse(&param.ty, &generics);
        if param.name == "..." {
            found.variadic = Some(ty);
        } else {
            let name = param.name.clone();
            let required = !param.optional && ty.is_known();
            found.parameters.push(Parameter { name, ty, required });
        }
    }
    let is_rest = |returned: &&api::Return| returned.name.as_deref() == Some("...");
    let takes = |param: &api::Param| param.ty.starts_with("fun(");
    found.passes_on = function.returns.iter().any(|one| is_rest(&one))
        && function.params.iter().filter(|param| takes(param)).count() == 1;
    found.returns = function
        .returns
        .iter()
        .filter(|returned| !is_rest(returned))
        .map(|returned| Type::parse(&returned.ty, &generics))
        .collect();
    found.overloads = function
        .overloads
        .iter()
        .filter_map(|text| Signature::parse(text, &generics))
        .collect();
    found.generics = generics;
    found
}

fn overloaded(name: &str, overloads: &[String]) -> Option<Rc<Signature>> {
    let mut variants = overloads
        .iter()
        .filter_map(|text| Signature::parse(text, &[]));
    let mut first = variants.next()?;
    first.name = name.to_string();
    first.overloads = variants.collect();
    Some(Rc::new(first))
}
