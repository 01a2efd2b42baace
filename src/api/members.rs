//! What stands behind a dot or a colon: for completion.

use super::lookup::Entry;
use super::model::{Api, Class, Field, Function};

impl Api {
    /// A method that does what its parent's does, in another way, need not say it again.
    pub(super) fn inherit(&mut self) {
        let known = self.clone();
        for class in &mut self.classes {
            let ancestors: Vec<&Class> = known
                .class(&class.name)
                .map_or_else(Vec::new, |class| known.ancestry(class));
            for method in class.methods.iter_mut().filter(|one| one.doc.is_empty()) {
                let inherited = ancestors
                    .iter()
                    .skip(1)
                    .flat_map(|ancestor| &ancestor.methods)
                    .find(|other| other.short_name() == method.short_name());
                if let Some(other) = inherited {
                    *method = Function {
                        name: method.name.clone(),
                        span: method.span.clone(),
                        inherited: true,
                        ..other.clone()
                    };
                }
            }
        }
    }

    /// The public members of a module or handle, sorted: all of them, or the methods only.
    pub fn members(&self, owner: &str, methods: bool) -> Vec<String> {
        let (functions, fields) = self.belongings(owner);
        let functions = functions
            .into_iter()
            .filter(|function| !function.private)
            .map(|function| function.short_name().to_string());
        let fields = fields
            .into_iter()
            .filter(|field| !field.private && !methods && !field.name.starts_with('['))
            .map(|field| field.name.clone());
        let mut names: Vec<String> = functions.chain(fields).collect();
        names.sort();
        names.dedup();
        names
    }

    /// The members that are there, but not for scripts.
    pub fn private_members(&self, owner: &str) -> Vec<String> {
        let (functions, fields) = self.belongings(owner);
        let functions = functions.into_iter().filter(|function| function.private);
        let fields = fields.into_iter().filter(|field| field.private);
        functions
            .map(|function| function.short_name().to_string())
            .chain(fields.map(|field| field.name.clone()))
            .collect()
    }

    /// The handle a function returns first, if it is one.
    pub fn returned_handle(&self, function: &str) -> Option<&str> {
        let first = self.function(function)?.returns.first()?;
        let class = self.class(first.ty.trim_end_matches('?'))?;
        Some(&class.name)
    }

    fn belongings(&self, owner: &str) -> (Vec<&Function>, Vec<&Field>) {
        match self.find(owner) {
            Some(Entry::Module(module)) => (
                module.functions.iter().collect(),
                module.fields.iter().collect(),
            ),
            Some(Entry::Class(class)) => (self.methods(class), self.fields(class)),
            _ => (Vec::new(), Vec::new()),
        }
    }

    /// A class and those it extends, nearest first.
    pub fn ancestry<'a>(&'a self, class: &'a Class) -> Vec<&'a Class> {
        let mut found = vec![class];
        let mut at = 0;
        while at < found.len() {
            for parent in &found[at].parents {
                // A circle ends at what is known already.
                if let Some(parent) = self.class(parent)
                    && !found.iter().any(|known| known.name == parent.name)
                {
                    found.push(parent);
                }
            }
            at += 1;
        }
        found
    }

    /// A class's methods with those it inherits; its own come first and hide others of that name.
    pub fn methods<'a>(&'a self, class: &'a Class) -> Vec<&'a Function> {
        let mut found: Vec<&Function> = Vec::new();
        for one in self.ancestry(class) {
            for method in &one.methods {
                let name = method.short_name();
                if !found.iter().any(|known| known.short_name() == name) {
                    found.push(method);
                }
            }
        }
        found
    }

    /// A class's fields with those of the classes it extends.
    pub fn fields<'a>(&'a self, class: &'a Class) -> Vec<&'a Field> {
        let mut found: Vec<&Field> = Vec::new();
        for one in self.ancestry(class) {
            for field in &one.fields {
                if !found.iter().any(|known| known.name == field.name) {
                    found.push(field);
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_handles_and_modules() {
        let source = r#"
---@class rpitr.lab
---@field name string
local lab = {}
--- Makes one.
---@return rpitr.Attached?
function lab.attach() end
---@private
function lab.internal() end

---@class rpitr.Base
---@field name string
---@field package secret string
---@field [integer] string
local Base = { __name = "rpitr.Base" }
--- Stops.
function Base:stop() end
---@private
function Base:admin() end

---@class rpitr.Attached : rpitr.Base
local Attached = { __name = "rpitr.Attached" }
--- Stops, too.
function Attached:stop() end
"#;
        let api = Api::of(vec![("rpitr/lab.lua".into(), source.into())]);
        assert_eq!(api.members("lab", false), ["attach", "name"]);
        assert_eq!(api.private_members("lab"), ["internal"]);
        assert_eq!(api.members("rpitr.Attached", false), ["name", "stop"]);
        assert_eq!(api.members("rpitr.Attached", true), ["stop"]);
        assert_eq!(api.private_members("rpitr.Attached"), ["admin", "secret"]);
        assert_eq!(api.members("nothing", false), Vec::<String>::new());
        assert_eq!(api.returned_handle("lab.attach"), Some("rpitr.Attached"));
        assert_eq!(
            api.function("attached:stop").map(|f| f.doc.summary()),
            Some("Stops, too.".into())
        );
        assert_eq!(
            api.function("attached:admin").map(|f| f.name.as_str()),
            Some("Base:admin")
        );
    }
}
