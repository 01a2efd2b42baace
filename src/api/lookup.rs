//! Finding things by the names people use.

use std::borrow::Cow;
use std::sync::OnceLock;

use super::model::{Alias, Api, Class, Field, Function, Module, Span};
use super::parse;
use crate::engine;

/// What a name stands for.
#[derive(Debug, Clone, Copy)]
pub enum Entry<'a> {
    Module(&'a Module),
    Function(&'a Function),
    Class(&'a Class),
    /// A field, and what it belongs to: a module or a class.
    Field(&'a str, &'a Field),
    Alias(&'a Alias),
}

/// What examples call handles; people type `pg.stop` and mean the method.
const RECEIVERS: [(&str, &str); 9] = [
    ("pg", "Node"),
    ("primary", "Node"),
    ("standby", "Node"),
    ("restored", "Node"),
    ("db", "Conn"),
    ("d", "DrillRun"),
    ("ch", "Chan"),
    ("t", "Task"),
    ("load", "Load"),
];

impl Api {
    /// The index of the library this binary runs, overrides from disk included; read once.
    pub fn embedded() -> &'static Api {
        static INDEX: OnceLock<Api> = OnceLock::new();
        INDEX.get_or_init(|| {
            let wanted = |path: &str| path.starts_with("rpitr/") || path.starts_with("meta/");
            let files = engine::library().filter(|(path, _)| wanted(path));
            parse::read(files.map(|(path, text)| (path.to_string(), text)).collect())
        })
    }

    /// The index of other files: paths as inside `stdlib/`, and their text.
    pub fn of(files: Vec<(String, Cow<'static, str>)>) -> Api {
        parse::read(files)
    }

    pub fn module(&self, name: &str) -> Option<&Module> {
        self.modules.iter().find(|module| module.name == name)
    }

    /// A class by its whole name or without `rpitr.`.
    pub fn class(&self, name: &str) -> Option<&Class> {
        let short = name.strip_prefix("rpitr.").unwrap_or(name);
        self.classes
            .iter()
            .find(|class| class.short_name() == short)
    }

    /// Every function and method.
    pub fn functions(&self) -> impl Iterator<Item = &Function> {
        let modules = self.modules.iter().flat_map(|module| &module.functions);
        let methods = self.classes.iter().flat_map(|class| &class.methods);
        modules.chain(&self.globals.functions).chain(methods)
    }

    /// `pitr.restore`, `node:stop`, `Node`, `pg.stop`, `pitr.RestoreOptions.to`; letters in any case.
    pub fn find(&self, name: &str) -> Option<Entry<'_>> {
        let name = short(name);
        // `time` is a module and `Time` what it makes.
        self.find_where(|known| known == name)
            .or_else(|| self.find_where(|known| known.eq_ignore_ascii_case(name)))
            .or_else(|| self.find_method(name))
            .or_else(|| self.find_option(name))
    }

    fn find_where(&self, is: impl Fn(&str) -> bool) -> Option<Entry<'_>> {
        let function = self.functions().find(|function| is(&function.name));
        let module = || self.modules.iter().find(|module| is(&module.name));
        let class = || self.classes.iter().find(|class| is(class.short_name()));
        let alias = || {
            let short = |alias: &&Alias| is(alias.name.trim_start_matches("rpitr."));
            self.aliases.iter().find(short)
        };
        function
            .map(Entry::Function)
            .or_else(|| module().map(Entry::Module))
            .or_else(|| class().map(Entry::Class))
            .or_else(|| alias().map(Entry::Alias))
            .or_else(|| self.find_field(is))
    }

    fn find_field(&self, is: impl Fn(&str) -> bool) -> Option<Entry<'_>> {
        let of_modules = self
            .modules
            .iter()
            .map(|one| (one.name.as_str(), &one.fields));
        let of_classes = self
            .classes
            .iter()
            .map(|one| (one.short_name(), &one.fields));
        for (owner, fields) in of_modules.chain(of_classes) {
            let named = |field: &&Field| is(&format!("{owner}.{}", field.name));
            if let Some(field) = fields.iter().find(named) {
                return Some(Entry::Field(owner, field));
            }
        }
        let global = self.globals.fields.iter().find(|field| is(&field.name));
        global.map(|field| Entry::Field("globals", field))
    }

    /// A method written with a dot, or on a variable the examples use.
    fn find_method(&self, name: &str) -> Option<Entry<'_>> {
        let (owner, method) = name.rsplit_once(['.', ':'])?;
        let class = RECEIVERS
            .iter()
            .find(|(receiver, _)| receiver.eq_ignore_ascii_case(owner))
            .map_or(owner, |(_, class)| *class);
        let named = |class: &str, separator: &str| {
            let wanted = format!("{class}{separator}{method}");
            self.find_where(|known| known.eq_ignore_ascii_case(&wanted))
        };
        let lower = class.to_lowercase();
        let known = self
            .classes
            .iter()
            .find(|known| known.short_name().to_lowercase() == lower)?;
        named(known.short_name(), ":")
            .or_else(|| named(known.short_name(), "."))
            .or_else(|| {
                let mut parents = known.parents.iter();
                parents.find_map(|parent| self.find_method(&format!("{}:{method}", short(parent))))
            })
    }

    /// `pitr.restore.to`: an option of a function.
    fn find_option(&self, name: &str) -> Option<Entry<'_>> {
        let (function, option) = name.rsplit_once(['.', ':'])?;
        let class = self.options(self.function(function)?)?;
        let field = self
            .fields(class)
            .into_iter()
            .find(|field| field.name.eq_ignore_ascii_case(option))?;
        Some(Entry::Field(class.short_name(), field))
    }

    /// A method some handle has: of a variable nothing is known of, the name says it if only one has it.
    pub fn only_method(&self, name: &str) -> Option<&Function> {
        let methods = self.classes.iter().flat_map(|class| &class.methods);
        let mut named = methods
            .filter(|method| !method.inherited && !method.private && method.short_name() == name);
        let first = named.next();
        first.filter(|_| named.next().is_none())
    }

    /// The function or method with that name.
    pub fn function(&self, name: &str) -> Option<&Function> {
        match self.find(name)? {
            Entry::Function(function) => Some(function),
            _ => None,
        }
    }

    /// The table of options a function takes: the last parameter that is one.
    pub fn options(&self, function: &Function) -> Option<&Class> {
        let tables = || {
            let params = function.params.iter().rev();
            params.flat_map(|param| self.tables(&param.ty))
        };
        tables()
            .find(|class| class.name.ends_with("Options"))
            .or_else(|| tables().next())
    }

    /// The options in the parameter of that name, or wherever the function has them.
    pub fn options_in(&self, function: &Function, param: &str) -> Option<&Class> {
        let named = function.params.iter().find(|one| one.name == param);
        named
            .and_then(|param| self.tables(&param.ty).into_iter().next())
            .or_else(|| self.options(function))
    }

    /// The tables (not handles) a type names: `string|rpitr.sql.Target`, by an alias, too.
    fn tables(&self, ty: &str) -> Vec<&Class> {
        let mut found = Vec::new();
        for part in ty.split('|') {
            let name = part.trim().trim_end_matches('?');
            let alias = self.aliases.iter().find(|alias| alias.name == name);
            if let Some(alias) = alias.filter(|alias| !alias.ty.contains(name)) {
                found.extend(self.tables(&alias.ty));
            } else if let Some(class) = self.class(name)
                && !class.is_handle()
                && class.methods.is_empty()
            {
                found.push(class);
            }
        }
        found
    }

    /// The options of a function that have names, in the order they are described.
    pub fn option_fields(&self, function: &str) -> Vec<&Field> {
        let options = match self.find(function) {
            Some(Entry::Function(function)) => self.options(function),
            // `pitr.restore.to`: what stands inside `to = { }`.
            Some(Entry::Field(_, field)) => self.tables(&field.ty).into_iter().next(),
            _ => None,
        };
        options.map_or_else(Vec::new, |class| {
            let fields = self.fields(class).into_iter();
            fields
                .filter(|field| !field.private && !field.name.starts_with('['))
                .collect()
        })
    }

    /// The option keys of a function.
    pub fn option_names(&self, function: &str) -> Vec<String> {
        let fields = self.option_fields(function).into_iter();
        fields.map(|field| field.name.clone()).collect()
    }

    /// Every public name there is help for.
    pub fn names(&self) -> Vec<&str> {
        let modules = self.modules.iter().map(|module| module.name.as_str());
        let functions = self.functions().filter(|function| !function.private);
        let handles = self.classes.iter().filter(|class| class.is_handle());
        modules
            .chain(functions.map(|function| function.name.as_str()))
            .chain(handles.map(Class::short_name))
            .collect()
    }

    /// The name that was probably meant.
    pub fn suggest(&self, name: &str) -> Option<&str> {
        let wanted = name.to_lowercase();
        let names = self.names();
        let last = |name: &str| {
            let at = name.rfind(['.', ':']).map_or(0, |at| at + 1);
            name[at..].to_lowercase()
        };
        // A word alone may be the last of a dotted name: restore, of pitr.restore.
        let whole = names.iter().map(|name| (*name, name.to_lowercase()));
        let parts = names.iter().map(|name| (*name, last(name)));
        let keys: Vec<(&str, String)> = whole.chain(parts).collect();
        let near = engine::nearest(&wanted, keys.iter().map(|(_, key)| key.as_str()))?;
        keys.iter()
            .find(|(_, key)| key == near)
            .map(|(name, _)| *name)
    }

    /// The text of a span.
    pub fn source(&self, span: &Span) -> String {
        let file = self.sources.iter().find(|(path, _)| *path == span.file);
        file.map_or_else(String::new, |(_, text)| {
            let count = (span.end + 1).saturating_sub(span.line);
            let lines: Vec<&str> = text
                .lines()
                .skip(span.line.saturating_sub(1))
                .take(count)
                .collect();
            lines.join("\n")
        })
    }
}

fn short(name: &str) -> &str {
    name.strip_prefix("rpitr.").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: &str = r#"
---@class rpitr.lab.StopOptions : rpitr.lab.Base
---@field mode? string
---@class rpitr.lab.Base
---@field timeout? rpitr.Duration
---@field [integer] string

---@class rpitr.Node
---@field name string  what it is called
local Node = { __name = "rpitr.Node" }
--- Stops it.
---@param options? rpitr.lab.StopOptions|string
---@return rpitr.Node
function Node:stop(options)
  return self
end
"#;

    fn api() -> Api {
        let time = "--- Times.\nlocal time = {}\n--- Now.\nfunction time.now() end\n";
        let nested = "--- N.\nlocal nested = {}\n---@class rpitr.nested.Options\n---@field how? rpitr.lab.StopOptions\n\n--- O.\n---@param options rpitr.nested.Options\nfunction nested.open(options) end\n";
        let meta = "---@meta\n---@class rpitr.Time\nlocal Time = {}\n";
        Api::of(vec![
            ("rpitr/lab/node.lua".into(), NODE.into()),
            ("rpitr/time.lua".into(), time.into()),
            ("rpitr/nested.lua".into(), nested.into()),
            ("meta/time.lua".into(), meta.into()),
        ])
    }

    fn found(api: &Api, name: &str) -> String {
        match api.find(name) {
            Some(Entry::Function(function)) => function.name.clone(),
            Some(Entry::Module(module)) => format!("module {}", module.name),
            Some(Entry::Class(class)) => class.name.clone(),
            Some(Entry::Field(owner, field)) => format!("{owner}.{}", field.name),
            Some(Entry::Alias(alias)) => alias.name.clone(),
            None => "nothing".into(),
        }
    }

    #[test]
    fn names_as_people_type_them() {
        let api = api();
        for name in [
            "Node:stop",
            "node:stop",
            "node.stop",
            "pg.stop",
            "pg:stop",
            "rpitr.Node:stop",
        ] {
            assert_eq!(found(&api, name), "Node:stop", "{name}");
        }
        assert_eq!(found(&api, "time"), "module time");
        assert_eq!(found(&api, "Time"), "rpitr.Time");
        assert_eq!(found(&api, "TIME.now"), "time.now");
        assert_eq!(found(&api, "node"), "rpitr.Node");
        assert_eq!(found(&api, "pg.name"), "Node.name");
        assert_eq!(found(&api, "lab.StopOptions.mode"), "lab.StopOptions.mode");
        assert_eq!(found(&api, "node:stopp"), "nothing");
        assert_eq!(api.suggest("node:stopp"), Some("Node:stop"));
        assert_eq!(api.suggest("stopp"), Some("Node:stop"));
        assert_eq!(api.suggest("zebra"), None);
    }

    #[test]
    fn options_with_those_they_extend() {
        let api = api();
        assert_eq!(api.option_names("pg:stop"), ["mode", "timeout"]);
        assert_eq!(api.option_names("nested.open.how"), ["mode", "timeout"]);
        assert_eq!(
            api.only_method("stop").map(|one| one.name.as_str()),
            Some("Node:stop")
        );
        assert!(api.only_method("go").is_none());
        assert_eq!(api.option_names("time.now"), Vec::<String>::new());
        let stop = api.function("node:stop").unwrap();
        assert_eq!(
            api.source(&stop.span),
            "function Node:stop(options)\n  return self\nend"
        );
    }

    #[test]
    fn the_embedded_library_is_read() {
        let api = Api::embedded();
        assert!(api.modules.len() >= 20);
        assert!(api.function("lab.postgres").is_some());
        assert!(api.function("node:stop").is_some());
        assert!(api.function("pitr.catalog").is_some());
    }
}
