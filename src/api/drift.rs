//! Whether the comments still say what the code does, as far as text shows it: everything public is
//! described, every type has a name that exists, the options a function checks are those of the table
//! its comment names. Names are held against the living modules in `tests/api.rs`.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{Api, Class, Doc, Field, Function};
use super::spec::{self, Spec};

/// What is wrong, each with its place; empty when nothing is.
pub fn drift(api: &Api) -> Vec<String> {
    let mut found = api.problems.clone();
    descriptions(api, &mut found);
    types(api, &mut found);
    options(api, &mut found);
    found.sort();
    found.dedup();
    found
}

fn descriptions(api: &Api, found: &mut Vec<String>) {
    let mut check = |name: &str, doc: &Doc| {
        if doc.is_empty() {
            found.push(format!("{name} has no description"));
        }
    };
    for module in &api.modules {
        check(&module.name, &module.doc);
    }
    for class in api.classes.iter().filter(|class| class.is_handle()) {
        check(&class.name, &class.doc);
    }
    for function in api.functions().filter(|function| !function.private) {
        check(&function.name, &function.doc);
    }
    for function in api.functions().filter(|function| !function.private) {
        for param in function.params.iter().filter(|param| param.ty.is_empty()) {
            found.push(format!(
                "{}: parameter {} is not described",
                function.name, param.name
            ));
        }
    }
}

/// Types that are named and described nowhere.
fn types(api: &Api, found: &mut Vec<String>) {
    let mut known: BTreeSet<&str> = api.classes.iter().map(|one| one.name.as_str()).collect();
    known.extend(api.aliases.iter().map(|one| one.name.as_str()));
    let modules: Vec<String> = api
        .modules
        .iter()
        .map(|module| format!("rpitr.{}", module.name))
        .collect();
    known.extend(modules.iter().map(String::as_str));
    let mut check = |place: &str, ty: &str| {
        for name in named_types(ty) {
            if !known.contains(name) {
                found.push(format!("{place}: there is no type {name}"));
            }
        }
    };
    for function in api.functions() {
        let params = function.params.iter().map(|param| &param.ty);
        let returns = function.returns.iter().map(|one| &one.ty);
        for ty in params.chain(returns).chain(&function.overloads) {
            check(&function.name, ty);
        }
    }
    for class in &api.classes {
        let fields = class.fields.iter().map(|field| &field.ty);
        for ty in fields.chain(&class.parents).chain(&class.overloads) {
            check(&class.name, ty);
        }
    }
    for module in &api.modules {
        let fields = module.fields.iter().map(|field| &field.ty);
        for ty in fields.chain(&module.overloads) {
            check(&module.name, ty);
        }
    }
    for alias in &api.aliases {
        check(&alias.name, &alias.ty);
    }
}

fn named_types(ty: &str) -> impl Iterator<Item = &str> {
    ty.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_')))
        .filter(|word| word.starts_with("rpitr."))
        .map(|word| word.trim_end_matches('.'))
}

/// Holds each `args.options(...)` against the table of the function it stands in.
fn options(api: &Api, found: &mut Vec<String>) {
    for (path, text) in &api.sources {
        for call in spec::calls(text) {
            let place = format!("{path}:{}", call.line);
            let Some(spec) = call.spec else {
                found.push(format!("{place}: cannot read the options of {}", call.name));
                continue;
            };
            for function in functions_of(api, path, &call.name, call.line) {
                match api.options(function) {
                    None => found.push(format!("{place}: {} describes no options", function.name)),
                    Some(class) => compare(api, (&place, function), class, &spec, found),
                }
            }
        }
    }
}

/// The functions a check of options belongs to: those it stands in, else the one it names.
fn functions_of<'a>(api: &'a Api, path: &str, name: &str, line: usize) -> Vec<&'a Function> {
    let around: Vec<&Function> = api
        .functions()
        .filter(|function| {
            let span = &function.span;
            span.file == path && (span.line..=span.end).contains(&line)
        })
        .collect();
    match around.is_empty() {
        true => api.function(name).into_iter().collect(),
        false => around,
    }
}

fn compare(
    api: &Api,
    (place, function): (&str, &Function),
    class: &Class,
    spec: &Spec,
    found: &mut Vec<String>,
) {
    let name = &function.name;
    let described: BTreeMap<&str, &Field> = api
        .fields(class)
        .into_iter()
        .filter(|field| !field.name.starts_with('['))
        .map(|field| (field.name.as_str(), field))
        .collect();
    for (key, optional) in spec {
        match described.get(key.as_str()) {
            None => found.push(format!(
                "{place}: option {key} of {name} is not in {}",
                class.name
            )),
            Some(field) if field.optional != *optional => {
                let is = if *optional { "optional" } else { "required" };
                found.push(format!(
                    "{place}: option {key} of {name} is {is}, {} says otherwise",
                    class.name
                ));
            }
            Some(_) => {}
        }
    }
    for key in described.keys() {
        if !spec.iter().any(|(known, _)| known == key) {
            found.push(format!(
                "{place}: {} describes {key}, which {name} does not take",
                class.name
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
--- Sells things.
---@class rpitr.shop
local shop = {}

---@class rpitr.shop.Options
---@field name? string
---@field size integer

local SPEC = {
  size = "integer", -- not { a brace }
  name = { "string", "x, y = {" },
}

--- Opens a shop.
---@param options rpitr.shop.Options
function shop.open(options)
  local opts = args.options("shop.open", options, SPEC)
end

--- The same.
---@param options rpitr.shop.Options
function shop.again(options)
  return helper(args.options("shop.again", options, {
    name = "string?",
    size = "integer",
  }))
end

---@private
function shop.hidden(a) end
"#;

    fn drift_of(text: String) -> Vec<String> {
        drift(&Api::of(vec![("rpitr/shop.lua".into(), text.into())]))
    }

    #[test]
    fn healthy_comments_pass() {
        assert_eq!(drift_of(GOOD.into()), Vec::<String>::new());
    }

    #[test]
    fn planted_drift_is_caught() {
        let cases = [
            ("--- Opens a shop.", "", "shop.open has no description"),
            ("--- Sells things.\n", "", "shop has no description"),
            (
                "---@param options rpitr.shop.Options\nfunction shop.open",
                "function shop.open",
                "shop.open: parameter options is not described",
            ),
            (
                "---@param options rpitr.shop.Options\nfunction shop.again",
                "---@param opts rpitr.shop.Options\nfunction shop.again",
                "rpitr/shop.lua:23: shop.again has no parameter opts",
            ),
            (
                "  size = \"integer\", --",
                "  siez = \"integer\", --",
                "rpitr/shop.lua:18: option siez of shop.open is not in rpitr.shop.Options",
            ),
            (
                "  size = \"integer\", --",
                "  siez = \"integer\", --",
                "rpitr/shop.lua:18: rpitr.shop.Options describes size, which shop.open does not take",
            ),
            (
                "---@field name? string",
                "---@field name? string\n---@field more? string",
                "rpitr/shop.lua:25: rpitr.shop.Options describes more, which shop.again does not take",
            ),
            (
                "    name = \"string?\"",
                "    name = \"string\"",
                "rpitr/shop.lua:24: option name of shop.again is required, rpitr.shop.Options says otherwise",
            ),
            (
                "---@field size integer",
                "---@field size rpitr.Sise",
                "rpitr.shop.Options: there is no type rpitr.Sise",
            ),
            (
                "---@param options rpitr.shop.Options\nfunction shop.open",
                "---@param options table\nfunction shop.open",
                "rpitr/shop.lua:18: shop.open describes no options",
            ),
            (
                "options, SPEC)",
                "options, MISSING)",
                "rpitr/shop.lua:18: cannot read the options of shop.open",
            ),
            (
                "---@private",
                "---@privat",
                "shop.hidden has no description",
            ),
        ];
        for (good, bad, expected) in cases {
            assert!(GOOD.contains(good), "{good}");
            let found = drift_of(GOOD.replace(good, bad));
            assert!(
                found.iter().any(|text| text == expected),
                "{expected}\nnot in {found:#?}"
            );
        }
    }
}
