//! Whether the comments still say what the code does, as far as text shows it: everything public is
//! described, every type has a name that exists, the options a function checks are those of the table
//! its comment names. Names are held against the living modules in `tests/api.rs`.

use std::collections::{BTreeMap, BTreeSet};

use super::lookup::Entry;
use super::model::{Api, Class, Doc, Field};
use super::spec::{self, Call, Spec};

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

pub fn named_types(ty: &str) -> impl Iterator<Item = &str> {
    ty.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_')))
        .filter(|word| word.starts_with("rpitr."))
        .map(|word| word.trim_end_matches('.'))
}

/// Specs that are put together while the library runs; `tests/api` asks the living functions instead.
const BUILT: [&str; 1] = ["rpitr/chaos/faults.lua"];

/// Holds each `args.options(...)` against the table of the function it stands in.
fn options(api: &Api, found: &mut Vec<String>) {
    for (path, text) in &api.sources {
        if BUILT.contains(&path.as_str()) {
            continue;
        }
        for call in spec::calls(text) {
            let place = format!("{path}:{}", call.line);
            let targets = targets(api, path, text, &call);
            if targets.is_empty() {
                let name = &call.name;
                found.push(format!("{place}: {name} is no function that is described"));
            }
            for (name, class) in targets {
                match (class, &call.spec) {
                    (None, _) => found.push(format!("{place}: {name} describes no options")),
                    (_, None) => found.push(format!("{place}: cannot read the options of {name}")),
                    (Some(class), Some(spec)) => compare(api, (&place, &name), class, spec, found),
                }
            }
        }
    }
}

type Target<'a> = (String, Option<&'a Class>);

/// The functions a check of options belongs to, with their tables: those it stands in, else those it
/// names, else those that name themselves to the helper it stands in.
fn targets<'a>(api: &'a Api, path: &str, text: &str, call: &Call) -> Vec<Target<'a>> {
    let around: Vec<Target<'_>> = api
        .functions()
        .filter(|function| {
            let span = &function.span;
            span.file == path && (span.line..=span.end).contains(&call.line)
        })
        .map(|function| {
            (
                function.name.clone(),
                api.options_in(function, &call.subject),
            )
        })
        .collect();
    if !around.is_empty() {
        return around;
    }
    if call.is_prefix {
        let functions = api.functions();
        return functions
            .filter(|function| function.name.starts_with(&call.name))
            .filter_map(|function| Some((function.name.clone(), Some(api.options(function)?))))
            .collect();
    }
    if call.is_literal {
        return named(api, &call.name).into_iter().collect();
    }
    let names = spec::names_given(text, call).into_iter();
    names.filter_map(|name| named(api, &name)).collect()
}

/// `pitr.restore`; `drill`, a module that is called; `chaos.run: require`, a table in an option.
fn named<'a>(api: &'a Api, name: &str) -> Option<Target<'a>> {
    if let Some((function, option)) = name.split_once(": ") {
        let options = api.options(api.function(function)?)?;
        let fields = api.fields(options);
        let field = fields.iter().find(|field| field.name == option)?;
        return Some((name.to_string(), api.class(field.ty.trim_end_matches('?'))));
    }
    let name = name.split(' ').next().unwrap_or(name);
    match api.find(name)? {
        Entry::Function(function) => Some((function.name.clone(), api.options(function))),
        Entry::Module(module) => {
            let types = module.overloads.iter().flat_map(|call| named_types(call));
            let mut tables = types.filter_map(|name| api.class(name));
            let table = tables.find(|class| !class.is_handle());
            Some((module.name.clone(), table))
        }
        _ => None,
    }
}

fn compare(
    api: &Api,
    (place, name): (&str, &str),
    class: &Class,
    spec: &Spec,
    found: &mut Vec<String>,
) {
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
