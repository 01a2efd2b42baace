//! What is known before a script is read: Lua's own names and the standard library's index, in the
//! checker's types.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::types::{Parameter, Record, Signature, Type};
use crate::api;

/// Lua's globals as rpitr leaves them (`stdlib/prelude/modules.lua` takes `package` away), and what
/// is inside its library tables.
const LUA_FUNCTIONS: &[&str] = &[
    "_G",
    "_VERSION",
    "arg",
    "assert",
    "collectgarbage",
    "dofile",
    "error",
    "getmetatable",
    "ipairs",
    "load",
    "loadfile",
    "next",
    "pairs",
    "pcall",
    "print",
    "rawequal",
    "rawget",
    "rawlen",
    "rawset",
    "require",
    "select",
    "setmetatable",
    "tonumber",
    "tostring",
    "type",
    "warn",
    "xpcall",
];
const LUA_TABLES: &[(&str, &[&str])] = &[
    (
        "coroutine",
        &[
            "close",
            "create",
            "isyieldable",
            "resume",
            "running",
            "status",
            "wrap",
            "yield",
        ],
    ),
    ("debug", &["getinfo", "traceback"]),
    (
        "io",
        &[
            "close", "flush", "input", "lines", "open", "output", "popen", "read", "stderr",
            "stdin", "stdout", "tmpfile", "type", "write",
        ],
    ),
    (
        "math",
        &[
            "abs",
            "acos",
            "asin",
            "atan",
            "ceil",
            "cos",
            "deg",
            "exp",
            "floor",
            "fmod",
            "huge",
            "log",
            "max",
            "maxinteger",
            "min",
            "mininteger",
            "modf",
            "pi",
            "rad",
            "random",
            "randomseed",
            "sin",
            "sqrt",
            "tan",
            "tointeger",
            "type",
            "ult",
        ],
    ),
    (
        "os",
        &[
            "clock",
            "date",
            "difftime",
            "execute",
            "exit",
            "getenv",
            "remove",
            "rename",
            "setlocale",
            "time",
            "tmpname",
        ],
    ),
    (
        "string",
        &[
            "byte", "char", "dump", "find", "format", "gmatch", "gsub", "len", "lower", "match",
            "pack", "packsize", "rep", "reverse", "sub", "unpack", "upper",
        ],
    ),
    (
        "table",
        &[
            "concat", "insert", "move", "pack", "remove", "sort", "unpack",
        ],
    ),
    (
        "utf8",
        &["char", "charpattern", "codepoint", "codes", "len", "offset"],
    ),
];

/// A module, a handle's class or a table's class.
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// What errors call it: `lab`, `rpitr.Node`.
    pub title: String,
    pub members: BTreeMap<String, Member>,
    parents: Vec<String>,
    /// It has entries besides its named fields, or is not described well enough to say what is missing.
    pub open: bool,
    /// What its entries are.
    pub entries: Type,
    /// What calling it does.
    pub call: Option<Rc<Signature>>,
    /// A module: sealed at run time, so that nothing can be added to it.
    pub module: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Member {
    pub ty: Type,
    pub optional: bool,
    pub kind: MemberKind,
    /// Not for scripts, and so no suggestion.
    pub private: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MemberKind {
    #[default]
    Field,
    /// Called with a dot.
    Function,
    /// Called with a colon.
    Method,
}

#[derive(Debug, Default)]
pub struct Known {
    tables: BTreeMap<String, Table>,
    aliases: BTreeMap<String, Type>,
    pub globals: BTreeMap<String, Type>,
    /// What `require "rpitr.x"` finds.
    pub modules: BTreeSet<String>,
    /// What functions return; a script that writes one down need not fill it in.
    results: BTreeSet<String>,
    /// Parts of modules, which can be required too.
    pub parts: BTreeSet<String>,
}

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
        for name in LUA_FUNCTIONS {
            self.globals.insert((*name).into(), Type::Unknown);
        }
        for (name, members) in LUA_TABLES {
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

    /// Follows aliases to what a type really is; unions come back flat.
    pub fn resolve(&self, ty: &Type) -> Type {
        self.resolve_within(ty, 0)
    }

    fn resolve_within(&self, ty: &Type, depth: usize) -> Type {
        if depth > 8 {
            return Type::Unknown;
        }
        match ty {
            Type::Named(name) => match self.aliases.get(&**name) {
                Some(target) => self.resolve_within(target, depth + 1),
                None if self.tables.contains_key(&**name) => ty.clone(),
                None => Type::Unknown,
            },
            Type::Union(parts) => {
                let flat: Vec<Type> = parts
                    .iter()
                    .flat_map(|part| self.resolve_within(part, depth + 1).parts().to_vec())
                    .collect();
                Type::Union(flat.into())
            }
            other => other.clone(),
        }
    }

    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables.get(name)
    }

    /// A table and those it inherits from, the nearest first.
    fn lineage<'a>(&'a self, table: &'a Table) -> Vec<&'a Table> {
        let mut found = vec![table];
        let mut next = 0;
        while next < found.len() && found.len() < 16 {
            let parents = found[next].parents.iter();
            found.extend(parents.filter_map(|name| self.tables.get(name)));
            next += 1;
        }
        found
    }

    pub fn member<'a>(&'a self, table: &'a Table, name: &str) -> Option<&'a Member> {
        self.lineage(table)
            .into_iter()
            .find_map(|table| table.members.get(name))
    }

    /// All members, inherited ones too.
    pub fn members<'a>(&'a self, table: &'a Table) -> BTreeMap<&'a str, &'a Member> {
        let mut found = BTreeMap::new();
        for table in self.lineage(table) {
            for (name, member) in &table.members {
                found.entry(name.as_str()).or_insert(member);
            }
        }
        found
    }

    /// Whether it may have members nobody described.
    pub fn is_open(&self, table: &Table) -> bool {
        let undescribed = |name: &String| !self.tables.contains_key(name) && name != "userdata";
        self.lineage(table)
            .iter()
            .any(|table| table.open || table.parents.iter().any(undescribed))
    }

    /// Whether it is a handle: something with methods, which no script writes down as a table.
    pub fn is_handle(&self, table: &Table) -> bool {
        self.members(table)
            .values()
            .any(|member| member.kind == MemberKind::Method)
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
        table.entries = ty;
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
            found.parameters.push(Parameter { name, ty });
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

/// The fields a type takes when a table is written in its place.
#[derive(Debug, Default)]
pub struct Options {
    /// Key, type, whether it may be left out.
    pub fields: BTreeMap<String, (Type, bool)>,
    /// What stands at other keys, and at the positions of a list.
    pub entries: Type,
    /// Whether other keys are mistakes.
    pub closed: bool,
    pub listed: bool,
    /// Whether it is one table type and no choice of several.
    single: bool,
    /// Whether parts of it may be missing.
    partial: bool,
    /// What errors call it.
    pub title: String,
}

impl Options {
    /// Whether a key that is missing is a mistake.
    pub fn is_strict(&self) -> bool {
        self.single && !self.partial && !self.listed
    }
}

impl Known {
    /// What may stand in a table constructor where `expected` is asked for. Nothing when no table
    /// fits, or when it cannot be told.
    pub fn options(&self, expected: &Type) -> Option<Options> {
        let resolved = self.resolve(expected);
        let mut found = Options {
            closed: true,
            ..Options::default()
        };
        let mut count = 0;
        for part in resolved.parts() {
            match part {
                Type::Named(name) => {
                    self.add_class(&mut found, self.table(name)?)?;
                    found.partial |= self.results.contains(&**name);
                }
                Type::Record(record) => add_record(&mut found, record),
                Type::List(entry) => {
                    found.entries = (**entry).clone();
                    found.listed = true;
                }
                Type::Map(entry) => {
                    found.entries = (**entry).clone();
                    found.closed = false;
                    found.listed = true;
                }
                Type::Unknown | Type::Table | Type::Generic(_) => return None,
                _ => continue,
            }
            count += 1;
        }
        found.single = count == 1;
        (count > 0).then_some(found)
    }

    fn add_class(&self, found: &mut Options, table: &Table) -> Option<()> {
        if table.module || self.is_handle(table) {
            return None;
        }
        found.closed &= !self.is_open(table);
        found.listed |= table.entries.is_known();
        if table.entries.is_known() {
            found.entries = table.entries.clone();
        }
        found.title = table.title.clone();
        for (name, member) in self.members(table) {
            let entry = (member.ty.clone(), member.optional);
            found.fields.insert(name.to_string(), entry);
        }
        Some(())
    }
}

fn add_record(found: &mut Options, record: &Record) {
    found.closed &= record.closed.is_some();
    found.fields.extend(record.fields.clone());
}
