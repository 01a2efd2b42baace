//! The parser on made-up modules: every form the library uses.

use super::*;

fn api(files: &[(&str, &'static str)]) -> Api {
    read(
        files
            .iter()
            .map(|(path, text)| (path.to_string(), Cow::Borrowed(*text)))
            .collect(),
    )
}

const SHOP: &str = r#"
-- A plain header.

local orders = require "rpitr.shop.orders"

--- Sells things.
---
--- More about it.
---@class rpitr.shop
---@field version string  what it is
---@overload fun(name: string): rpitr.Shop
local shop = {}

---@class rpitr.shop.OpenOptions : rpitr.shop.Base
---@field name? string  (default "shop") what it is called
---@field size rpitr.Size

--- Opens a shop. It stays open.
---
--- ```lua
--- local s = shop.open("x", { size = 1 })
--- ```
---@param where string|nil  the place
---@param options rpitr.shop.OpenOptions
---@return rpitr.Shop  open
---@return integer n  how many
---@error arg, state (closed, gone)
function shop.open(where, options)
  return where
end

---@private
function shop.internal() end

function shop.silent(a) end

--- Counts orders.
---@param pg rpitr.Node
---@return integer
shop.count = orders.count

shop.same = orders.total

--- Nothing.
---@type userdata
shop.null = other.null

local function helper() end

---@class rpitr.Shop
local Shop = { __name = "rpitr.Shop" }

--- Shuts it.
---@param mode? "now" | "later"  when
function Shop:shut(mode, ...) end

function Shop:__tostring() end

return shop
"#;

const ORDERS: &str = r#"
local x = {}
function x.count(pg) end

--- Adds up.
---@param list number[]
---@return number
function x.total(list)
  return 1
end
return x
"#;

const META: &str = r#"---@meta

---@alias rpitr.Size integer|string  bytes, or text such as "16MB"

---@alias rpitr.Mode
---| "fast"  at once
---| "slow"

--- Runs later.
---@param f fun(e?: rpitr.Error)
---@return rpitr.Deferred
function defer(f) end

---@class rpitr.Lsn
---@operator sub(rpitr.Lsn): integer
local Lsn = {}

--- As a number.
---@return integer
function Lsn:bytes() end
"#;

fn shop() -> Api {
    api(&[
        ("rpitr/shop.lua", SHOP),
        ("rpitr/shop/orders.lua", ORDERS),
        ("meta/globals.lua", META),
    ])
}

#[test]
fn a_module_with_its_functions() {
    let api = shop();
    assert_eq!(api.problems, Vec::<String>::new());
    assert_eq!(api.modules.len(), 1);
    let module = &api.modules[0];
    assert_eq!(module.doc.summary(), "Sells things.");
    assert_eq!(module.overloads, ["fun(name: string): rpitr.Shop"]);
    let names: Vec<&str> = module.functions.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "shop.open",
            "shop.internal",
            "shop.silent",
            "shop.count",
            "shop.same"
        ]
    );
    let fields: Vec<&str> = module.fields.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(fields, ["version", "null"]);
    assert_eq!(module.fields[1].ty, "userdata");

    let open = &module.functions[0];
    assert_eq!(open.signature(), "shop.open(where?, options)");
    assert_eq!(open.doc.summary(), "Opens a shop.");
    assert_eq!(
        open.doc.examples()[0].code,
        "local s = shop.open(\"x\", { size = 1 })\n"
    );
    assert_eq!(open.return_types(), "rpitr.Shop, integer");
    assert_eq!(open.returns[1].name.as_deref(), Some("n"));
    assert_eq!(open.errors.len(), 2);
    assert_eq!(open.errors[1].text, "closed, gone");
    let lines: Vec<&str> = SHOP.lines().collect();
    assert_eq!(
        lines[open.span.line - 1],
        "function shop.open(where, options)"
    );
    assert_eq!(lines[open.span.end - 1], "end");
    let example = open.doc.examples()[0].line;
    assert_eq!(
        lines[example - 1],
        "--- local s = shop.open(\"x\", { size = 1 })"
    );

    assert!(module.functions[1].private);
    assert!(module.functions[2].doc.is_empty());
}

#[test]
fn aliased_exports() {
    let api = shop();
    let [.., count, same] = &api.modules[0].functions[..] else {
        panic!("functions are missing");
    };
    assert_eq!(count.signature(), "shop.count(pg)");
    assert_eq!(count.doc.summary(), "Counts orders.");
    assert_eq!(count.params[0].ty, "rpitr.Node");
    // The source is that of the function, wherever it stands.
    assert_eq!(
        (count.span.file.as_str(), count.span.line),
        ("rpitr/shop/orders.lua", 3)
    );
    assert_eq!(
        (same.name.as_str(), same.doc.summary().as_str()),
        ("shop.same", "Adds up.")
    );
    assert_eq!(same.params[0].ty, "number[]");
}

#[test]
fn classes_and_methods() {
    let api = shop();
    let named = |name: &str| api.classes.iter().find(|class| class.name == name).unwrap();
    let options = named("rpitr.shop.OpenOptions");
    assert_eq!(options.parents, ["rpitr.shop.Base"]);
    assert_eq!(options.fields.len(), 2);
    assert!(options.fields[0].optional && !options.fields[1].optional);
    assert_eq!(
        options.fields[0].text,
        "(default \"shop\") what it is called"
    );
    assert!(!options.is_handle());
    let handle = named("rpitr.Shop");
    assert!(handle.is_handle());
    assert_eq!(handle.methods.len(), 1);
    assert_eq!(handle.methods[0].signature(), "Shop:shut(mode?, ...)");
    assert_eq!(handle.methods[0].params[0].ty, "\"now\" | \"later\"");
    let lsn = named("rpitr.Lsn");
    assert_eq!(lsn.operators, ["sub(rpitr.Lsn): integer"]);
    assert_eq!(lsn.methods[0].name, "Lsn:bytes");
}

#[test]
fn globals_and_aliases() {
    let api = shop();
    assert_eq!(api.globals.functions[0].name, "defer");
    let aliases: Vec<(&str, &str)> = api
        .aliases
        .iter()
        .map(|alias| (alias.name.as_str(), alias.ty.as_str()))
        .collect();
    assert_eq!(
        aliases,
        [
            ("rpitr.Mode", "\"fast\"|\"slow\""),
            ("rpitr.Size", "integer|string")
        ]
    );
    assert_eq!(api.aliases[0].doc.text, "- `\"fast\"`: at once");
}

#[test]
fn parts_add_to_the_class_they_are_given() {
    let part = "---@param N rpitr.Node\nreturn function(N)\n  --- Its place.\n  function N:lsn() end\nend\n";
    let other = "return function(Node)\n  --- Its line.\n  function Node:timeline() end\nend\n";
    let fault =
        "---@class rpitr.chaos\nlocal faults = {}\n--- Kills.\nfunction faults.kill(node) end\n";
    let api = api(&[
        ("rpitr/lab/a.lua", part),
        ("rpitr/lab/b.lua", other),
        ("rpitr/chaos.lua", "--- Chaos.\nlocal chaos = {}\n"),
        ("rpitr/chaos/faults.lua", fault),
    ]);
    let methods: Vec<&str> = api.classes[0]
        .methods
        .iter()
        .map(|m| m.name.as_str())
        .collect();
    assert_eq!(methods, ["Node:lsn", "Node:timeline"]);
    assert_eq!(api.modules[0].functions[0].signature(), "chaos.kill(node)");
}

#[test]
fn what_a_method_does_not_say_its_parent_says() {
    let source = r#"
---@class rpitr.Node
local Node = { __name = "rpitr.Node" }
--- Stops it.
---@param mode? string
function Node:stop(mode) end
---@package
function Node:admin() end
---@class rpitr.Attached : rpitr.Node
local Attached = setmetatable({ __name = "rpitr.Attached" }, x)
function Attached:stop(mode) end
function Attached:admin() end
function Attached:own() end
"#;
    let api = api(&[("rpitr/lab/node.lua", source)]);
    let [stop, admin, own] = &api.classes[0].methods[..] else {
        panic!("methods are missing");
    };
    assert_eq!(stop.signature(), "Attached:stop(mode?)");
    assert_eq!(stop.doc.summary(), "Stops it.");
    assert!(stop.inherited && !own.inherited);
    assert_eq!(stop.span.line, 11);
    assert!(admin.private);
    assert!(own.doc.is_empty());
}

#[test]
fn what_cannot_be_right_is_told() {
    let wrong = "local shop = {}\n--- X.\n---@parm a string\n---@param b string\nfunction shop.f(a) end\n--- Y.\nfunction shop.f(a) end\n";
    let problems = api(&[("rpitr/shop.lua", wrong)]).problems;
    assert_eq!(
        problems,
        [
            "rpitr/shop.lua:3: @parm is not a tag",
            "rpitr/shop.lua:5: shop.f has no parameter b",
            "rpitr/shop.lua: shop.f is described twice",
        ]
    );
}
