//! The reference as Markdown: a page for each module, one for what they give (nodes, connections and
//! other handles), one for globals and types, and an index.

use std::fmt::Write as _;

use super::drift::named_types;
use super::model::{Alias, Api, Class, Field, Function, Module, Param, Return};

const NOTE: &str =
    "<!-- Written by `rpitr doc --markdown docs/reference` from the comments in stdlib/. -->\n";

/// File names and texts.
pub fn pages(api: &Api) -> Vec<(String, String)> {
    let writer = Writer { api };
    let mut pages = vec![("README.md".to_string(), writer.index())];
    for module in &api.modules {
        pages.push((format!("{}.md", module.name), writer.module(module)));
    }
    pages.push(("handles.md".into(), writer.handles()));
    pages.push(("globals.md".into(), writer.globals()));
    pages
}

struct Writer<'a> {
    api: &'a Api,
}

impl Writer<'_> {
    fn index(&self) -> String {
        let mut out = format!("{NOTE}\n# Reference\n\n");
        out.push_str("What scripts and the session can use. `rpitr doc NAME` shows the same on a terminal, `h NAME` in a session.\n\n");
        out.push_str("| module | |\n|---|---|\n");
        for module in &self.api.modules {
            let text = cell(&module.doc.summary());
            let _ = writeln!(out, "| [`{0}`]({0}.md) | {text} |", module.name);
        }
        out.push_str("\n| what they give | |\n|---|---|\n");
        for class in self.handle_classes() {
            let name = class.short_name();
            let text = cell(&class.doc.summary());
            let _ = writeln!(out, "| [`{name}`](handles.md#{}) | {text} |", anchor(name));
        }
        out.push_str("\n[Globals and types](globals.md)\n");
        out
    }

    fn module(&self, module: &Module) -> String {
        let mut out = format!("{NOTE}\n# {}\n\n{}\n", module.name, module.doc.text);
        self.calls(&mut out, "Called", &module.overloads);
        for function in public(&module.functions) {
            self.function(&mut out, function);
        }
        let values = module.fields.iter().filter(|field| !field.private);
        self.fields(&mut out, "\n## Values\n", values.collect());
        let tables: Vec<&Class> = self.tables_of(&module.name);
        let aliases = self.api.aliases.iter();
        let aliases: Vec<&Alias> = aliases
            .filter(|alias| self.home(&alias.name) == Some(&module.name))
            .collect();
        if !tables.is_empty() || !aliases.is_empty() {
            out.push_str("\n## Types\n");
        }
        for class in tables {
            self.class(&mut out, "###", class);
        }
        for alias in aliases {
            self.alias(&mut out, alias);
        }
        out
    }

    fn handles(&self) -> String {
        let mut out =
            format!("{NOTE}\n# Handles\n\nWhat functions give that has methods of its own.\n");
        for class in self.handle_classes() {
            self.class(&mut out, "##", class);
            for method in public(&class.methods) {
                self.function(&mut out, method);
            }
        }
        // Tables that belong to no module have no page of their own.
        let homeless = |class: &&Class| {
            !class.is_handle()
                && self.home(&class.name).is_none()
                && !self.stands_with_its_function(class)
        };
        for class in self.api.classes.iter().filter(homeless) {
            self.class(&mut out, "##", class);
        }
        out
    }

    fn globals(&self) -> String {
        let globals = &self.api.globals;
        let mut out = format!("{NOTE}\n# Globals and types\n");
        if !globals.doc.is_empty() {
            let _ = writeln!(out, "\n{}", globals.doc.text);
        }
        for function in public(&globals.functions) {
            self.function(&mut out, function);
        }
        self.fields(&mut out, "\n## Values\n", globals.fields.iter().collect());
        out.push_str("\n## Types\n");
        for alias in &self.api.aliases {
            if self.home(&alias.name).is_none() {
                self.alias(&mut out, alias);
            }
        }
        out
    }

    fn class(&self, out: &mut String, level: &str, class: &Class) {
        let _ = writeln!(out, "\n{level} {}", class.short_name());
        if !class.doc.is_empty() {
            let _ = writeln!(out, "\n{}", class.doc.text);
        }
        for parent in &class.parents {
            let _ = writeln!(out, "\nHas everything {} has.", self.ty(parent));
        }
        self.calls(out, "Called", &class.overloads);
        let fields = class.fields.iter().filter(|field| !field.private);
        self.fields(out, "", fields.collect());
        self.calls(out, "Operator", &class.operators);
    }

    fn alias(&self, out: &mut String, alias: &Alias) {
        let name = alias.name.trim_start_matches("rpitr.");
        let _ = writeln!(out, "\n### {name}\n\n`{}`", shorten(&alias.ty));
        if !alias.doc.is_empty() {
            let _ = writeln!(out, "\n{}", alias.doc.text);
        }
    }

    fn function(&self, out: &mut String, function: &Function) {
        let _ = writeln!(out, "\n### {}\n", function.name);
        let returns = match function.returns.is_empty() {
            true => String::new(),
            false => format!(" -> {}", shorten(&function.return_types())),
        };
        let _ = writeln!(out, "`{}{returns}`", function.signature());
        if function.deprecated {
            out.push_str("\nDeprecated.\n");
        }
        if !function.doc.is_empty() {
            let _ = writeln!(out, "\n{}", function.doc.text);
        }
        self.params(out, &function.params);
        if let Some(options) = self.api.options(function) {
            let fields = self.api.fields(options).into_iter();
            let title = "\nOptions:\n";
            self.fields(out, title, fields.filter(|field| !field.private).collect());
        }
        self.returns(out, &function.returns);
        self.calls(out, "Also", &function.overloads);
        if !function.errors.is_empty() {
            let kinds: Vec<String> = function
                .errors
                .iter()
                .map(|error| match error.text.is_empty() {
                    true => format!("`{}`", error.kind),
                    false => format!("`{}` ({})", error.kind, error.text),
                })
                .collect();
            let _ = writeln!(out, "\nErrors: {}", kinds.join(", "));
        }
        for see in &function.see {
            let _ = writeln!(out, "\nSee {see}.");
        }
    }

    fn params(&self, out: &mut String, params: &[Param]) {
        if params.is_empty() {
            return;
        }
        out.push_str("\n| parameter | type | |\n|---|---|---|\n");
        for param in params {
            let name = marked(&param.name, param.optional && param.name != "...");
            let _ = writeln!(
                out,
                "| `{name}` | {} | {} |",
                self.ty(&param.ty),
                cell(&param.text)
            );
        }
    }

    fn returns(&self, out: &mut String, returns: &[Return]) {
        for one in returns {
            let mut text = self.ty(&one.ty).replace("\\|", "|");
            if let Some(name) = &one.name {
                let _ = write!(text, " `{name}`");
            }
            if !one.text.is_empty() {
                let _ = write!(text, ": {}", one.text);
            }
            let _ = writeln!(out, "\nReturns {text}");
        }
    }

    fn fields(&self, out: &mut String, title: &str, fields: Vec<&Field>) {
        if fields.is_empty() {
            return;
        }
        out.push_str(title);
        out.push_str("\n| field | type | |\n|---|---|---|\n");
        for field in fields {
            let name = marked(&field.name, field.optional);
            let _ = writeln!(
                out,
                "| `{name}` | {} | {} |",
                self.ty(&field.ty),
                cell(&field.text)
            );
        }
    }

    fn calls(&self, out: &mut String, title: &str, calls: &[String]) {
        for call in calls {
            let _ = writeln!(out, "\n{title}: `{}`", shorten(call));
        }
    }

    fn handle_classes(&self) -> Vec<&Class> {
        let classes = self.api.classes.iter();
        classes.filter(|class| class.is_handle()).collect()
    }

    fn tables_of(&self, module: &str) -> Vec<&Class> {
        let classes = self.api.classes.iter();
        classes
            .filter(|class| self.home(&class.name) == Some(module))
            .filter(|class| !self.stands_with_its_function(class))
            .collect()
    }

    /// Whether a table is shown nowhere but with the functions that take it as options.
    fn stands_with_its_function(&self, class: &Class) -> bool {
        let is_options = |function: &Function| {
            let options = self.api.options(function);
            options.is_some_and(|options| options.name == class.name)
        };
        let names = |ty: &str| named_types(ty).any(|name| name == class.name);
        let mut classes = self.api.classes.iter();
        let mut functions = self.api.functions();
        self.api.functions().any(is_options)
            && !functions.any(|function| function.returns.iter().any(|one| names(&one.ty)))
            && !classes.any(|other| {
                other.parents.contains(&class.name)
                    || other.fields.iter().any(|field| names(&field.ty))
            })
            && !self.api.aliases.iter().any(|alias| names(&alias.ty))
    }

    /// The module a table or alias belongs to: `pitr` of `rpitr.pitr.Backup`.
    fn home<'c>(&self, name: &'c str) -> Option<&'c str> {
        let (module, _) = name.strip_prefix("rpitr.")?.split_once('.')?;
        self.api.module(module).map(|_| module)
    }

    /// A type in code; a link where it is one thing that has a place.
    fn ty(&self, ty: &str) -> String {
        let code = format!("`{}`", shorten(ty).replace('|', "\\|"));
        let bare = ty.trim_end_matches(['?', '[', ']']);
        let Some(name) = bare.strip_prefix("rpitr.") else {
            return code;
        };
        let class = self.api.class(bare);
        let page = if let Some(class) = class {
            if self.stands_with_its_function(class) {
                return code;
            }
            self.home(bare).unwrap_or("handles")
        } else if self.api.aliases.iter().any(|alias| alias.name == bare) {
            self.home(bare).unwrap_or("globals")
        } else {
            return code;
        };
        format!("[{code}]({page}.md#{})", anchor(name))
    }
}

fn public(functions: &[Function]) -> impl Iterator<Item = &Function> {
    functions
        .iter()
        .filter(|function| !function.private && !function.inherited)
}

fn marked(name: &str, optional: bool) -> String {
    format!("{name}{}", if optional { "?" } else { "" })
}

fn shorten(ty: &str) -> String {
    ty.replace("rpitr.", "")
}

/// The anchor a heading gets: lower case, without punctuation.
fn anchor(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, '_' | '-'))
        .collect()
}

fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_with_links_that_lead_somewhere() {
        let shop = r#"
--- Sells things.
---@class rpitr.shop
local shop = {}
---@class rpitr.shop.OpenOptions
---@field mode? "a"|"b"  how
---@class rpitr.shop.Report
---@field lines string[]
---@class rpitr.Shop
local Shop = {}
--- Shuts.
function Shop:shut() end
--- Opens a shop.
---@param options? rpitr.shop.OpenOptions
---@return rpitr.Shop
---@return rpitr.shop.Report? report  what happened
---@error arg, state  closed
function shop.open(options) end
---@private
function shop.hidden() end
"#;
        let api = Api::of(vec![("rpitr/shop.lua".into(), shop.into())]);
        let pages = pages(&api);
        let page = |name: &str| &pages.iter().find(|(file, _)| file == name).unwrap().1;
        let text = page("shop.md");
        for part in [
            "# shop\n\nSells things.\n",
            "### shop.open\n\n`shop.open(options?) -> Shop, shop.Report?`\n\nOpens a shop.\n",
            "| `options?` | `shop.OpenOptions` |  |",
            "Options:\n\n| field | type | |\n|---|---|---|\n| `mode?` | `\"a\"\\|\"b\"` | how |",
            "Returns [`Shop`](handles.md#shop)\n",
            "Returns [`shop.Report?`](shop.md#shopreport) `report`: what happened\n",
            "Errors: `arg`, `state` (closed)\n",
            "### shop.Report\n\n| field | type | |\n|---|---|---|\n| `lines` | `string[]` |  |",
        ] {
            assert!(text.contains(part), "{part}\nis not in\n{text}");
        }
        assert!(!text.contains("hidden") && !text.contains("### shop.OpenOptions"));
        assert!(
            page("handles.md").contains("## Shop\n\n### Shop:shut\n\n`Shop:shut()`\n\nShuts.\n")
        );
        assert!(page("README.md").contains("| [`shop`](shop.md) | Sells things. |"));
    }
}
