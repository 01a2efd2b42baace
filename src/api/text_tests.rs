//! Help as it is shown, word for word.

use super::*;

const SHOP: &str = r#"
--- Sells things. And more.
---@class rpitr.shop
---@field limit integer  how many at most
local shop = {}

---@class rpitr.shop.Options
---@field name? string  what it is called
---@field secret? string

--- Opens a shop.
---
--- ```lua
--- shop.open()
--- ```
---@param options? rpitr.shop.Options
---@return rpitr.Shop
---@error arg, state  closed
function shop.open(options) end
"#;

fn help(name: &str, color: bool) -> String {
    let api = Api::of(vec![("rpitr/shop.lua".into(), SHOP.into())]);
    let help = Help { api: &api, color };
    help.entry(api.find(name).unwrap())
}

#[test]
fn a_function_with_its_options() {
    let expected = "\
shop.open(options?) -> Shop
  Opens a shop.

    shop.open()

parameters
  options?  shop.Options

options
  name?    string  what it is called
  secret?  string

errors
  arg
  state  closed";
    assert_eq!(help("shop.open", false), expected);
    assert!(help("shop.open", true).starts_with("\x1b[1mshop.open(options?)\x1b[0m"));
}

#[test]
fn a_module_and_a_value_of_it() {
    let expected = "\
shop
  Sells things. And more.

functions
  shop.open(options?)  Opens a shop.

values
  limit  integer  how many at most";
    assert_eq!(help("shop", false), expected);
    assert_eq!(
        help("shop.limit", false),
        "shop.limit : integer\n  how many at most"
    );
    assert_eq!(
        help("shop.open.name", false),
        "shop.Options.name : string\n  what it is called"
    );
}

#[test]
fn the_overview_has_a_line_for_each_module() {
    let api = Api::of(vec![("rpitr/shop.lua".into(), SHOP.into())]);
    let help = Help {
        api: &api,
        color: false,
    };
    assert_eq!(help.overview(), "modules\n  shop  Sells things.");
    let failure = help.named("shop.opne", false).unwrap_err();
    assert_eq!(failure.hint.as_deref(), Some("did you mean shop.open?"));
    let text = help.named("shop.open", true).unwrap();
    assert!(text.ends_with("function shop.open(options) end"), "{text}");
}
