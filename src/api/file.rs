//! A file of the library, scanned, and what its local names stand for.

use std::collections::HashMap;

use super::comment;
use super::model::Span;
use super::scan::{Declaration, Item, scan};

/// `pitr` of `rpitr/pitr.lua`; the parts below a module's folder are no modules.
pub fn module_of(path: &str) -> Option<&str> {
    let name = path.strip_prefix("rpitr/")?.strip_suffix(".lua")?;
    (!name.contains('/')).then_some(name)
}

/// A file, scanned, with what its local names stand for.
pub struct File {
    pub path: String,
    pub items: Vec<Item>,
    pub is_meta: bool,
    /// Local name -> class.
    pub classes: HashMap<String, String>,
    /// Local name -> path of the file it requires.
    pub requires: HashMap<String, String>,
}

impl File {
    pub fn read(path: &str, text: &str) -> File {
        let mut file = File {
            path: path.to_string(),
            items: scan(text),
            is_meta: path.starts_with("meta/"),
            classes: HashMap::new(),
            requires: HashMap::new(),
        };
        for item in &mut file.items {
            item.comment.doc.file = path.to_string();
        }
        if let Some(module) = module_of(path) {
            file.classes
                .insert(module.to_string(), format!("rpitr.{module}"));
        }
        for item in &file.items {
            match &item.declaration {
                Declaration::Local { name, value } => {
                    if let Some(class) = item.comment.all("class").last() {
                        let class = class_name(&class.rest).to_string();
                        file.classes.insert(name.clone(), class);
                    } else if let Some(class) = quoted_after(value, "__name = ") {
                        file.classes.insert(name.clone(), class.to_string());
                    } else if let Some(module) = quoted_after(value, "require ") {
                        let path = format!("{}.lua", module.replace('.', "/"));
                        file.requires.insert(name.clone(), path);
                    }
                }
                // What a part adds to: `---@param Node rpitr.Node`.
                Declaration::Part => {
                    for tag in item.comment.all("param") {
                        let param = comment::param(&tag.rest);
                        file.classes.insert(param.name, param.ty);
                    }
                }
                _ => {}
            }
        }
        if file
            .items
            .iter()
            .any(|item| item.declaration == Declaration::Part)
        {
            file.classes
                .entry("Node".into())
                .or_insert_with(|| "rpitr.Node".into());
        }
        file
    }

    /// The function that stands under that name, whatever its owner.
    pub fn implementation(&self, wanted: &str) -> Option<&Item> {
        self.items.iter().find(|item| {
            matches!(&item.declaration, Declaration::Function { name, .. } if name == wanted)
        })
    }

    pub fn span(&self, item: &Item) -> Span {
        Span {
            file: self.path.clone(),
            line: item.line,
            end: item.end,
        }
    }
}

/// The name in `rpitr.Node : rpitr.Base` and `(exact) rpitr.Node`.
pub fn class_name(rest: &str) -> &str {
    let rest = rest.trim_start_matches("(exact)").trim();
    let end = rest
        .find(|c: char| c.is_whitespace() || c == ':')
        .unwrap_or(rest.len());
    &rest[..end]
}

fn quoted_after<'a>(text: &'a str, before: &str) -> Option<&'a str> {
    let rest = text.split_once(before)?.1.strip_prefix('"')?;
    Some(rest.split_once('"')?.0)
}
