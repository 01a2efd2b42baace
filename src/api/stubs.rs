//! The library as an editor's language server wants it in somebody's project: `---@meta` files with
//! everything that is public, and no bodies.

use std::fmt::Write as _;

use super::model::{Api, Class, Doc, Field, Function, Module};

/// Paths below a library folder, and texts.
pub fn stubs(api: &Api) -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = api
        .modules
        .iter()
        .map(|module| {
            (
                format!("rpitr/{}.lua", module.name),
                module_stub(api, module),
            )
        })
        .collect();
    files.push(("rpitr/handles.lua".into(), handles(api)));
    files.push(("rpitr/globals.lua".into(), globals(api)));
    files
}

/// A module is a global, and `require` gives the same table.
fn module_stub(api: &Api, module: &Module) -> String {
    let name = &module.name;
    let mut out = format!("---@meta rpitr.{name}\n\n");
    text(&mut out, &module.doc);
    let _ = writeln!(out, "---@class rpitr.{name}");
    fields(&mut out, &module.fields);
    for overload in &module.overloads {
        let _ = writeln!(out, "---@overload {overload}");
    }
    let _ = writeln!(out, "{name} = {{}}\n");
    let prefix = format!("rpitr.{name}.");
    for class in &api.classes {
        if class.name.starts_with(&prefix) {
            table(&mut out, class);
        }
    }
    for one in &module.functions {
        function(&mut out, one, &one.name);
    }
    let _ = writeln!(out, "return {name}");
    out
}

fn handles(api: &Api) -> String {
    let mut out = "---@meta\n\n".to_string();
    for class in &api.classes {
        let module = class.short_name().split_once('.').map(|(module, _)| module);
        let in_module = module.is_some_and(|module| api.module(module).is_some());
        if class.methods.is_empty() {
            if !in_module {
                table(&mut out, class);
            }
            continue;
        }
        class_head(&mut out, class);
        let variable = class.short_name().replace('.', "_");
        let _ = writeln!(out, "local {variable} = {{}}\n");
        for method in &class.methods {
            let separator = if method.name.contains(':') { ':' } else { '.' };
            let name = format!("{variable}{separator}{}", method.short_name());
            function(&mut out, method, &name);
        }
    }
    out
}

fn globals(api: &Api) -> String {
    let mut out = "---@meta\n\n".to_string();
    for alias in &api.aliases {
        text(&mut out, &alias.doc);
        let _ = writeln!(out, "---@alias {} {}\n", alias.name, alias.ty);
    }
    for one in &api.globals.functions {
        function(&mut out, one, &one.name);
    }
    for field in &api.globals.fields {
        text_lines(&mut out, &field.text);
        let _ = writeln!(out, "---@type {}\n{} = nil\n", field.ty, field.name);
    }
    out
}

fn table(out: &mut String, class: &Class) {
    class_head(out, class);
    out.push('\n');
}

fn class_head(out: &mut String, class: &Class) {
    text(out, &class.doc);
    let parents = match class.parents.is_empty() {
        true => String::new(),
        false => format!(" : {}", class.parents.join(", ")),
    };
    let _ = writeln!(out, "---@class {}{parents}", class.name);
    fields(out, &class.fields);
    for overload in &class.overloads {
        let _ = writeln!(out, "---@overload {overload}");
    }
    for operator in &class.operators {
        let _ = writeln!(out, "---@operator {operator}");
    }
}

fn fields(out: &mut String, fields: &[Field]) {
    for field in fields.iter().filter(|field| !field.private) {
        let mark = if field.optional { "?" } else { "" };
        let line = format!(
            "---@field {}{mark} {}  {}",
            field.name, field.ty, field.text
        );
        let _ = writeln!(out, "{}", line.replace('\n', " ").trim_end());
    }
}

fn function(out: &mut String, function: &Function, name: &str) {
    if function.private || function.inherited {
        return;
    }
    text(out, &function.doc);
    if !function.errors.is_empty() {
        // Language servers know no tag for it; as text it is shown when the mouse rests on a call.
        let kinds: Vec<String> = function
            .errors
            .iter()
            .map(|error| match error.text.is_empty() {
                true => error.kind.clone(),
                false => format!("{} ({})", error.kind, error.text),
            })
            .collect();
        let _ = writeln!(out, "---\n--- Errors: {}", kinds.join(", "));
    }
    for generic in &function.generics {
        let _ = writeln!(out, "---@generic {generic}");
    }
    for param in &function.params {
        let mark = if param.optional && param.name != "..." {
            "?"
        } else {
            ""
        };
        let line = format!(
            "---@param {}{mark} {}  {}",
            param.name, param.ty, param.text
        );
        let _ = writeln!(out, "{}", line.trim_end());
    }
    for one in &function.returns {
        let name = one
            .name
            .as_deref()
            .map_or(String::new(), |name| format!(" {name}"));
        let comment = match one.text.is_empty() {
            true => String::new(),
            false => format!(" # {}", one.text),
        };
        let _ = writeln!(out, "---@return {}{name}{comment}", one.ty);
    }
    for overload in &function.overloads {
        let _ = writeln!(out, "---@overload {overload}");
    }
    if function.deprecated {
        out.push_str("---@deprecated\n");
    }
    let names: Vec<&str> = function
        .params
        .iter()
        .map(|param| param.name.as_str())
        .collect();
    let _ = writeln!(out, "function {name}({}) end\n", names.join(", "));
}

fn text(out: &mut String, doc: &Doc) {
    text_lines(out, &doc.text);
}

fn text_lines(out: &mut String, text: &str) {
    for line in text.lines() {
        let _ = writeln!(out, "{}", format!("--- {line}").trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOP: &str = r#"
--- Sells things.
---@class rpitr.shop
---@field null lightuserdata
---@overload fun(name: string): rpitr.Shop
local shop = {}
---@class rpitr.shop.OpenOptions
---@field mode? "a"|"b"  how
---@class rpitr.Shop
local Shop = { __name = "rpitr.Shop" }
--- Shuts.
---@param now boolean
---@return integer n  how many
function Shop:shut(now) return 1 end
--- Opens a shop.
---
--- ```lua
--- shop.open()
--- ```
---@param options? rpitr.shop.OpenOptions
---@return rpitr.Shop
---@error arg, state  closed
function shop.open(options) end
---@private
function shop.hidden() end
"#;

    fn api() -> Api {
        let meta = "---@meta\n---@alias rpitr.Size integer|string  bytes\n\n--- Later.\n---@param f fun()\nfunction defer(f) end\n";
        Api::of(vec![
            ("rpitr/shop.lua".into(), SHOP.into()),
            ("meta/globals.lua".into(), meta.into()),
        ])
    }

    #[test]
    fn what_is_written_is_read_back_the_same() {
        let first = api();
        let files = stubs(&first);
        let again = Api::of(
            files
                .iter()
                .map(|(path, text)| {
                    // Handles and globals are meta files, modules are modules.
                    let path = match path.as_str() {
                        "rpitr/shop.lua" => path.clone(),
                        other => other.replace("rpitr/", "meta/"),
                    };
                    (path, text.clone().into())
                })
                .collect(),
        );
        assert_eq!(again.problems, Vec::<String>::new());
        let signatures = |api: &Api| -> Vec<String> {
            let public = api.functions().filter(|function| !function.private);
            public
                .map(|one| format!("{} {}", one.signature(), one.return_types()))
                .collect()
        };
        assert_eq!(signatures(&again), signatures(&first));
        assert_eq!(again.option_names("shop.open"), ["mode"]);
        assert_eq!(again.modules[0].overloads, first.modules[0].overloads);
        assert_eq!(again.aliases[0].ty, "integer|string");
        let shut = again.function("shop:shut").unwrap();
        assert_eq!(shut.returns[0].text, "how many");
        let open = again.function("shop.open").unwrap();
        assert!(open.doc.text.contains("shop.open()"), "{}", open.doc.text);
        assert!(open.doc.text.ends_with("Errors: arg, state (closed)"));
    }

    #[test]
    fn stubs_are_lua() {
        let lua = mlua::Lua::new();
        for (path, text) in stubs(&api()) {
            assert!(lua.load(&text).into_function().is_ok(), "{path}\n{text}");
        }
    }
}
