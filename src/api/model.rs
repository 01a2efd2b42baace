//! The index: plain data, in the order of the source.

use std::borrow::Cow;

/// Where something stands in the standard library: lines count from 1, the end is inclusive.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Span {
    /// The path inside `stdlib/`: `rpitr/pitr.lua`.
    pub file: String,
    pub line: usize,
    pub end: usize,
}

/// The text of a comment, in Markdown, without its tags.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Doc {
    pub text: String,
    /// The path inside `stdlib/`; what a method inherits stands in its parent's file.
    pub file: String,
    /// The file's line on which the text begins.
    pub line: usize,
}

/// A Lua fence of a comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    pub code: String,
    /// What it needs that a lab of its own cannot give, from its first line: `-- needs: ...`.
    pub needs: Option<String>,
    pub file: String,
    /// The file's line on which the code begins.
    pub line: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Param {
    pub name: String,
    pub ty: String,
    pub optional: bool,
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Return {
    pub ty: String,
    pub name: Option<String>,
    pub text: String,
}

/// A kind of error a function raises, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorKind {
    pub kind: String,
    pub text: String,
}

/// A function, or a method of a handle.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Function {
    /// As it is called: `pitr.restore`, `Node:stop`, `defer`.
    pub name: String,
    pub doc: Doc,
    pub params: Vec<Param>,
    pub returns: Vec<Return>,
    pub errors: Vec<ErrorKind>,
    pub generics: Vec<String>,
    pub overloads: Vec<String>,
    pub see: Vec<String>,
    /// There, but not for scripts: `---@private`, `---@package` or `---@protected`.
    pub private: bool,
    pub deprecated: bool,
    /// What it says its parent says: it does the same in another way.
    pub inherited: bool,
    pub span: Span,
}

/// A field of a table or handle, an option, or a value a module offers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Field {
    /// `label`, or `[integer]` for what stands at keys of that type.
    pub name: String,
    pub ty: String,
    pub optional: bool,
    pub text: String,
    pub private: bool,
    pub span: Span,
}

/// A handle with methods (`rpitr.Node`), or a table with fields (`rpitr.pitr.BackupOptions`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Class {
    pub name: String,
    pub parents: Vec<String>,
    pub doc: Doc,
    pub fields: Vec<Field>,
    pub methods: Vec<Function>,
    /// What calling it does: `fun(text: string): rpitr.Lsn`.
    pub overloads: Vec<String>,
    /// `sub(rpitr.Lsn): integer`.
    pub operators: Vec<String>,
    pub span: Span,
}

/// A module (`pitr`), or what is there without one: the globals, under the name `globals`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Module {
    pub name: String,
    pub doc: Doc,
    pub functions: Vec<Function>,
    pub fields: Vec<Field>,
    pub overloads: Vec<String>,
    pub span: Span,
}

/// A name for a type: `rpitr.Duration` is `number|string`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Alias {
    pub name: String,
    pub ty: String,
    pub doc: Doc,
    pub span: Span,
}

/// Everything, sorted by name where the source has no order of its own.
#[derive(Debug, Clone, Default)]
pub struct Api {
    pub modules: Vec<Module>,
    pub globals: Module,
    pub classes: Vec<Class>,
    pub aliases: Vec<Alias>,
    /// What the parser could not make sense of: `rpitr/pitr.lua:12: ...`.
    pub problems: Vec<String>,
    pub(super) sources: Vec<(String, Cow<'static, str>)>,
}

impl Doc {
    /// The first sentence.
    pub fn summary(&self) -> String {
        let paragraph: Vec<&str> = self
            .text
            .lines()
            .take_while(|line| !line.trim().is_empty() && !line.starts_with("```"))
            .map(str::trim)
            .collect();
        let paragraph = paragraph.join(" ");
        let end = paragraph
            .match_indices(". ")
            .map(|(at, _)| at)
            .find(|at| !paragraph[..*at].ends_with("e.g") && !paragraph[..*at].ends_with("i.e"));
        match end {
            Some(at) => paragraph[..=at].to_string(),
            None => paragraph,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// The Lua fences of the text.
    pub fn examples(&self) -> Vec<Example> {
        let mut found = Vec::new();
        let mut open: Option<Example> = None;
        for (number, line) in self.text.lines().enumerate() {
            match &mut open {
                None if line.trim_end() == "```lua" => {
                    open = Some(Example {
                        code: String::new(),
                        needs: None,
                        file: self.file.clone(),
                        line: self.line + number + 1,
                    });
                }
                None => {}
                Some(_) if line.trim_end() == "```" => found.extend(open.take()),
                Some(example) => {
                    if example.code.is_empty() {
                        let needs = line.strip_prefix("-- needs:");
                        example.needs = needs.map(|what| what.trim().to_string());
                    }
                    example.code.push_str(line);
                    example.code.push('\n');
                }
            }
        }
        found
    }
}

impl Function {
    /// `pitr.restore(pg, options?)`.
    pub fn signature(&self) -> String {
        let names: Vec<String> = self
            .params
            .iter()
            .map(|param| match param.optional && param.name != "..." {
                true => format!("{}?", param.name),
                false => param.name.clone(),
            })
            .collect();
        format!("{}({})", self.name, names.join(", "))
    }

    /// The name without what it belongs to: `restore`, `stop`.
    pub fn short_name(&self) -> &str {
        self.name.rsplit(['.', ':']).next().unwrap_or(&self.name)
    }

    /// The types it returns: `rpitr.Node`, `string, integer`; nothing when it returns nothing.
    pub fn return_types(&self) -> String {
        let types: Vec<&str> = self.returns.iter().map(|one| one.ty.as_str()).collect();
        types.join(", ")
    }
}

impl Class {
    /// `Node` of `rpitr.Node`, `pitr.BackupOptions` of `rpitr.pitr.BackupOptions`.
    pub fn short_name(&self) -> &str {
        self.name.strip_prefix("rpitr.").unwrap_or(&self.name)
    }

    /// Whether it is a handle, `rpitr.Thing`, and not a table that belongs to a module.
    pub fn is_handle(&self) -> bool {
        !self.short_name().contains('.')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_the_first_sentence() {
        let doc = |text: &str| Doc {
            text: text.into(),
            line: 1,
            ..Doc::default()
        };
        assert_eq!(
            doc("Takes a\nbackup. Then more.").summary(),
            "Takes a backup."
        );
        assert_eq!(doc("One line\n\nAnother").summary(), "One line");
        assert_eq!(doc("").summary(), "");
    }

    #[test]
    fn examples_know_their_lines_and_needs() {
        let doc = Doc {
            text:
                "Text.\n\n```lua\nprint(1)\n```\n\n```lua\n-- needs: an engine\ndocker.run()\n```"
                    .into(),
            file: "rpitr/x.lua".into(),
            line: 10,
        };
        let found = doc.examples();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].line, found[0].code.as_str()), (13, "print(1)\n"));
        assert_eq!(found[0].needs, None);
        assert_eq!(found[1].needs.as_deref(), Some("an engine"));
    }
}
