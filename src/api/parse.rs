//! From files to the index: which comment documents which function, and what belongs to whom.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::comment;
use super::file::{File, module_of};
use super::model::{Api, Class, Field, Function, Module, Param, Span};
use super::place::Place;
use super::scan::{Declaration, Item};
use super::types;

/// Tags that tell editors something and nobody else.
const FOR_EDITORS: [&str; 13] = [
    "meta",
    "diagnostic",
    "cast",
    "as",
    "async",
    "nodiscard",
    "type",
    "module",
    "version",
    "source",
    "enum",
    "vararg",
    "param",
];

/// Reads the standard library: paths inside `stdlib/` with their text.
pub fn read(files: Vec<(String, Cow<'static, str>)>) -> Api {
    let mut reader = Reader::default();
    reader.api.globals.name = "globals".into();
    for (path, _) in &files {
        if let Some(name) = module_of(path) {
            reader.api.modules.push(Module {
                name: name.to_string(),
                span: Span {
                    file: path.clone(),
                    line: 1,
                    end: 1,
                },
                ..Module::default()
            });
        }
    }
    let scanned: Vec<File> = files
        .iter()
        .map(|(path, text)| File::read(path, text))
        .collect();
    for file in &scanned {
        reader.classes(file);
    }
    for file in &scanned {
        reader.functions(file, &scanned);
    }
    let mut api = reader.api;
    api.classes.extend(reader.classes.into_values());
    api.inherit();
    api.aliases.sort_by(|a, b| a.name.cmp(&b.name));
    api.modules.sort_by(|a, b| a.name.cmp(&b.name));
    api.sources = files;
    api
}

#[derive(Default)]
struct Reader {
    api: Api,
    classes: BTreeMap<String, Class>,
}

impl Reader {
    fn problem(&mut self, file: &File, line: usize, text: String) {
        self.api
            .problems
            .push(format!("{}:{line}: {text}", file.path));
    }

    /// Classes, aliases and the texts of modules.
    fn classes(&mut self, file: &File) {
        for item in &file.items {
            for tag in item.comment.all("alias") {
                let alias = types::alias(&tag.rest, &item.comment.doc, file.span(item));
                self.api.aliases.push(alias);
            }
            if item.comment.has("class") {
                self.class(file, item);
            }
        }
        // Without a text of its own a module has that at the head of its file.
        let head = file.items.first().filter(|item| {
            item.declaration == Declaration::Nothing && item.comment.tags.is_empty()
        });
        if let (Some(head), Some(module)) = (head, self.module_at(&file.path))
            && module.doc.is_empty()
        {
            module.doc = head.comment.doc.clone();
        }
    }

    fn module_at(&mut self, path: &str) -> Option<&mut Module> {
        let name = module_of(path)?;
        self.module(name)
    }

    fn module(&mut self, name: &str) -> Option<&mut Module> {
        self.api
            .modules
            .iter_mut()
            .find(|module| module.name == name)
    }

    /// One comment may hold several classes: each begins at its tag.
    fn class(&mut self, file: &File, item: &Item) {
        let mut current: Option<Class> = None;
        let mut doc = Some(item.comment.doc.clone());
        for tag in &item.comment.tags {
            if tag.name == "class" {
                if let Some(class) = current.take() {
                    self.add_class(file, class);
                }
                let mut span = file.span(item);
                span.line = tag.line;
                current = Some(types::class(
                    &tag.rest,
                    doc.take().unwrap_or_default(),
                    span,
                ));
                continue;
            }
            let Some(class) = &mut current else {
                continue;
            };
            match tag.name.as_str() {
                "field" => class
                    .fields
                    .push(comment::field(&tag.rest, &file.path, tag.line)),
                "overload" => class.overloads.push(tag.rest.clone()),
                "operator" => class.operators.push(tag.rest.clone()),
                name if FOR_EDITORS.contains(&name) => {}
                name => {
                    let text = format!("a class cannot have @{name}");
                    self.problem(file, tag.line, text);
                }
            }
        }
        if let Some(class) = current {
            self.add_class(file, class);
        }
    }

    fn add_class(&mut self, file: &File, class: Class) {
        let module = class.name.strip_prefix("rpitr.");
        if let Some(module) = module.and_then(|name| self.module(name)) {
            let is_home = module.span.file == file.path;
            if !class.doc.is_empty() && (is_home || module.doc.is_empty()) {
                module.doc = class.doc;
            }
            module.fields.extend(class.fields);
            module.overloads.extend(class.overloads);
            return;
        }
        let known = self
            .classes
            .entry(class.name.clone())
            .or_insert_with(|| Class {
                name: class.name.clone(),
                span: class.span.clone(),
                ..Class::default()
            });
        if known.doc.is_empty() {
            known.doc = class.doc;
        }
        known.parents.extend(class.parents);
        known.overloads.extend(class.overloads);
        known.operators.extend(class.operators);
        let mut twice = Vec::new();
        for field in class.fields {
            if known.fields.iter().any(|other| other.name == field.name) {
                twice.push((
                    field.span.line,
                    format!("{} is described twice", field.name),
                ));
            } else {
                known.fields.push(field);
            }
        }
        for (line, text) in twice {
            self.problem(file, line, text);
        }
    }

    fn functions(&mut self, file: &File, all: &[File]) {
        for item in &file.items {
            match &item.declaration {
                Declaration::Function {
                    owner,
                    method,
                    name,
                    params,
                    local,
                } => {
                    if let Some(place) = self.place(file, owner.as_deref(), name, *local) {
                        let full = match (&place, owner) {
                            (Place::Global, Some(owner)) => format!("{owner}.{name}"),
                            _ => place.full_name(name, *method),
                        };
                        let function = self.function(file, item, full, params);
                        self.add(place, function);
                    }
                }
                Declaration::Assignment { owner, name, value } => {
                    if let Some(place) = self.place(file, owner.as_deref(), name, false) {
                        self.assignment(file, item, place, (name, value), all);
                    }
                }
                _ => {}
            }
        }
    }

    /// `owner.name = value`: a function under another name, or a value.
    fn assignment(
        &mut self,
        file: &File,
        item: &Item,
        place: Place,
        (name, value): (&str, &str),
        all: &[File],
    ) {
        let path = value.trim_end_matches(',');
        let is_path = path.contains('.')
            && path
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'))
            && path.starts_with(|c: char| c.is_ascii_alphabetic());
        let typed = item.comment.first("type");
        if typed.is_none() && is_path {
            let (from, wanted) = path.rsplit_once('.').unwrap_or(("", path));
            let elsewhere = file
                .requires
                .get(from)
                .and_then(|path| all.iter().find(|file| &file.path == path))
                .unwrap_or(file);
            let made = elsewhere.implementation(wanted);
            let params = match made.map(|item| &item.declaration) {
                Some(Declaration::Function { params, .. }) => params.clone(),
                _ => Vec::new(),
            };
            // An alias without a comment says what the function itself says.
            let silent = item.comment.is_empty();
            let (file, item) = match made {
                Some(made) if silent => (elsewhere, made),
                _ => (file, item),
            };
            // The public comment's names of the parameters are the ones people see.
            let own = item.comment.all("param").count();
            let renamed = matches!(item.declaration, Declaration::Assignment { .. });
            let params = match renamed && own == params.len() {
                true => Vec::new(),
                false => params,
            };
            let method = place.is_class();
            let mut function = self.function(file, item, place.full_name(name, method), &params);
            if let Some(made) = made {
                function.span = elsewhere.span(made);
            }
            self.add(place, function);
        } else if !item.comment.doc.is_empty() || typed.is_some() {
            let (ty, text) = typed.map_or(("any", ""), |tag| comment::split_type(&tag.rest));
            let field = Field {
                name: name.to_string(),
                ty: ty.to_string(),
                text: match item.comment.doc.is_empty() {
                    true => text.trim().to_string(),
                    false => item.comment.doc.text.clone(),
                },
                private: item.comment.is_private(),
                span: file.span(item),
                ..Field::default()
            };
            match place {
                Place::Global => self.api.globals.fields.push(field),
                Place::Module(name) => {
                    if let Some(module) = self.module(&name) {
                        module.fields.push(field);
                    }
                }
                Place::Class(name) => self.class_named(&name).fields.push(field),
            }
        }
    }

    /// What a declaration belongs to; nothing for what is the file's own.
    fn place(&self, file: &File, owner: Option<&str>, name: &str, local: bool) -> Option<Place> {
        if local || name.starts_with('_') {
            return None;
        }
        let Some(owner) = owner else {
            return file.is_meta.then_some(Place::Global);
        };
        let Some(class) = file.classes.get(owner) else {
            // `os.exit` and its like, which rpitr replaces.
            return file.is_meta.then_some(Place::Global);
        };
        let short = class.strip_prefix("rpitr.").unwrap_or(class);
        let is_module = self.api.modules.iter().any(|module| module.name == short);
        Some(match is_module {
            true => Place::Module(short.to_string()),
            false => Place::Class(class.clone()),
        })
    }

    fn function(&mut self, file: &File, item: &Item, name: String, names: &[String]) -> Function {
        let mut function = Function {
            name,
            doc: item.comment.doc.clone(),
            private: item.comment.is_private(),
            span: file.span(item),
            ..Function::default()
        };
        let mut described: Vec<Param> = Vec::new();
        for tag in &item.comment.tags {
            match tag.name.as_str() {
                "param" => described.push(comment::param(&tag.rest)),
                "return" => function.returns.push(comment::returned(&tag.rest)),
                "error" => function.errors.extend(comment::errors(&tag.rest)),
                "overload" => function.overloads.push(tag.rest.clone()),
                "generic" => function.generics.push(tag.rest.clone()),
                "see" => function.see.push(tag.rest.clone()),
                "deprecated" => function.deprecated = true,
                "private" | "package" | "protected" | "alias" | "class" | "field" => {}
                other if FOR_EDITORS.contains(&other) => {}
                other => self.problem(file, tag.line, format!("@{other} is not a tag")),
            }
        }
        let names: Vec<&String> = names.iter().filter(|name| *name != "self").collect();
        // Of a function made elsewhere nothing is known but what its comment says.
        if names.is_empty() && !matches!(item.declaration, Declaration::Function { .. }) {
            described.retain(|param| param.name != "self");
            function.params = described;
            return function;
        }
        for name in names {
            let known = described.iter().position(|param| &param.name == name);
            function.params.push(match known {
                Some(at) => described.remove(at),
                None => Param {
                    name: name.clone(),
                    ty: String::new(),
                    optional: false,
                    text: String::new(),
                },
            });
        }
        for extra in described.into_iter().filter(|param| param.name != "self") {
            let text = format!("{} has no parameter {}", function.name, extra.name);
            self.problem(file, item.line, text);
        }
        function
    }

    fn add(&mut self, place: Place, function: Function) {
        let list = match place {
            Place::Global => &mut self.api.globals.functions,
            Place::Module(name) => match self.module(&name) {
                Some(module) => &mut module.functions,
                None => return,
            },
            Place::Class(name) => &mut self.class_named(&name).methods,
        };
        let twice = list.iter().position(|other| other.name == function.name);
        match twice {
            None => list.push(function),
            // A prototype in a meta file and the code: the one that says something.
            Some(at) if list[at].doc.is_empty() => list[at] = function,
            Some(at) if function.doc.is_empty() => list[at].span = function.span,
            Some(_) => {
                let text = format!(
                    "{}: {} is described twice",
                    function.span.file, function.name
                );
                self.api.problems.push(text);
            }
        }
    }

    fn class_named(&mut self, name: &str) -> &mut Class {
        self.classes
            .entry(name.to_string())
            .or_insert_with(|| Class {
                name: name.to_string(),
                ..Class::default()
            })
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
