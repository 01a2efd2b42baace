//! One LuaCATS comment: its text and its tags, and the small grammar of types and descriptions.

use super::model::{Doc, ErrorKind, Field, Param, Return, Span};
use crate::failure::Kind;

/// A tag with what follows it; lines of plain text below a tag belong to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    pub name: String,
    pub rest: String,
    pub line: usize,
}

/// The `---` lines that stand together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Comment {
    pub doc: Doc,
    pub tags: Vec<Tag>,
}

impl Comment {
    /// Reads lines without their `---`; `first` is the file's line of the first.
    pub fn read(lines: &[&str], first: usize) -> Comment {
        let mut comment = Comment::default();
        let mut text: Vec<&str> = Vec::new();
        let mut fence = false;
        for (number, raw) in lines.iter().enumerate() {
            let line = raw.strip_prefix(' ').unwrap_or(raw);
            fence ^= line.starts_with("```");
            let tag = (!fence).then(|| line.strip_prefix('@')).flatten();
            if let Some(tag) = tag {
                let (name, rest) = tag.split_once(' ').unwrap_or((tag, ""));
                comment.tags.push(Tag {
                    name: name.to_string(),
                    rest: rest.trim().to_string(),
                    line: first + number,
                });
            } else if let Some(tag) = comment.tags.last_mut() {
                if !line.trim().is_empty() {
                    // The members of an alias stand below it, one a line.
                    let member = tag.name == "alias" && line.starts_with('|');
                    tag.rest.push(if member { '\n' } else { ' ' });
                    tag.rest.push_str(line.trim());
                }
            } else {
                if text.is_empty() {
                    comment.doc.line = first + number;
                }
                text.push(line);
            }
        }
        comment.doc.text = text.join("\n").trim_end().to_string();
        comment
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Tag> {
        self.tags.iter().filter(move |tag| tag.name == name)
    }

    pub fn first(&self, name: &str) -> Option<&Tag> {
        self.tags.iter().find(|tag| tag.name == name)
    }

    pub fn has(&self, name: &str) -> bool {
        self.first(name).is_some()
    }

    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        self.doc.is_empty() && self.tags.is_empty()
    }

    /// Whether scripts are asked to keep away from it.
    pub fn is_private(&self) -> bool {
        ["private", "package", "protected"]
            .iter()
            .any(|name| self.has(name))
    }
}

/// Splits a type from what follows it. A type ends at white space that stands outside brackets and
/// next to no `|`, `,` or `:`.
pub fn split_type(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let mut depth = 0usize;
    let mut quote = None;
    let mut last = ' ';
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '(' | '<' | '{' | '[') => depth += 1,
            (None, ')' | '>' | '}' | ']') => depth = depth.saturating_sub(1),
            (None, c) if c.is_whitespace() && depth == 0 => {
                let goes_on = text[at..].trim_start().starts_with(['|', ':']);
                if !goes_on && !matches!(last, '|' | ',' | ':') {
                    return (&text[..at], &text[at..]);
                }
            }
            _ => {}
        }
        if !c.is_whitespace() {
            last = c;
        }
    }
    (text, "")
}

fn description(rest: &str) -> String {
    let rest = rest.trim_start();
    rest.strip_prefix('#').unwrap_or(rest).trim().to_string()
}

/// `options? rpitr.pitr.BackupOptions  text`.
pub fn param(rest: &str) -> Param {
    let (name, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let (ty, text) = split_type(rest);
    Param {
        name: name.trim_end_matches('?').to_string(),
        optional: name.ends_with('?') || allows_nil(ty),
        ty: ty.to_string(),
        text: description(text),
    }
}

/// `private label? string  text`, `[integer] string  text`.
pub fn field(rest: &str, file: &str, line: usize) -> Field {
    let (private, rest) = ["private", "protected", "package", "public"]
        .iter()
        .find_map(|word| {
            Some((
                *word != "public",
                rest.strip_prefix(word)?.strip_prefix(' ')?,
            ))
        })
        .unwrap_or((false, rest));
    // The name may be a bracketed key with spaces of its own.
    let (name, rest) = split_type(rest);
    let (ty, text) = split_type(rest);
    Field {
        name: name.trim_end_matches('?').to_string(),
        optional: name.ends_with('?') || allows_nil(ty),
        ty: ty.to_string(),
        text: description(text),
        private,
        span: Span {
            file: file.to_string(),
            line,
            end: line,
        },
    }
}

/// `string name  text`, `string  text`, `string # text`.
pub fn returned(rest: &str) -> Return {
    let (ty, rest) = split_type(rest);
    let named = rest.strip_prefix(' ').filter(|rest| {
        rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') || rest.starts_with("...")
    });
    let (name, text) = match named {
        Some(rest) => {
            let (name, text) = rest.split_once(' ').unwrap_or((rest, ""));
            (Some(name.to_string()), text)
        }
        None => (None, rest),
    };
    Return {
        ty: ty.to_string(),
        name,
        text: description(text),
    }
}

/// `state (not up), environment  no engine, arg`: kinds, each with what it is about.
pub fn errors(rest: &str) -> Vec<ErrorKind> {
    let mut found: Vec<ErrorKind> = Vec::new();
    let mut depth = 0usize;
    let parts = rest.split(|c| {
        match c {
            '(' | '{' => depth += 1,
            ')' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    for part in parts.map(str::trim) {
        let (kind, text) = part.split_once(char::is_whitespace).unwrap_or((part, ""));
        let text = text.trim();
        let whole = text
            .strip_prefix('(')
            .and_then(|text| text.strip_suffix(')'));
        let text = whole
            .filter(|inner| !inner.contains(['(', ')']))
            .unwrap_or(text);
        match found.last_mut() {
            // A comma in a reason does not begin another kind.
            Some(last) if !is_kind(kind) => {
                last.text.push_str(", ");
                last.text.push_str(part);
            }
            _ => found.push(ErrorKind {
                kind: kind.to_string(),
                text: text.to_string(),
            }),
        }
    }
    found
}

fn is_kind(word: &str) -> bool {
    Kind::ALL.iter().any(|kind| kind.name() == word)
}

fn allows_nil(ty: &str) -> bool {
    ty.ends_with('?') || ty.split('|').any(|part| part.trim() == "nil")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_end_where_text_begins() {
        let cases = [
            ("string  text", "string"),
            ("string | nil  text", "string | nil"),
            (
                "fun(a: string, b?: integer): boolean, string  text",
                "fun(a: string, b?: integer): boolean, string",
            ),
            ("\"promote\" | \"pause\" text", "\"promote\" | \"pause\""),
            (
                "table<string, rpitr.Node> text",
                "table<string, rpitr.Node>",
            ),
            (
                "{ label: string, n?: integer }[] text",
                "{ label: string, n?: integer }[]",
            ),
            ("\"a b\"|string", "\"a b\"|string"),
        ];
        for (text, ty) in cases {
            assert_eq!(split_type(text).0, ty, "{text}");
        }
    }

    #[test]
    fn parameters_and_fields() {
        let found = param("options? rpitr.pitr.BackupOptions");
        assert_eq!(
            (found.name.as_str(), found.ty.as_str(), found.optional),
            ("options", "rpitr.pitr.BackupOptions", true)
        );
        assert!(param("x string|nil  perhaps").optional);
        assert_eq!(param("... any  the rest").name, "...");
        let found = field("private handle userdata  hidden", "f", 3);
        assert_eq!((found.name.as_str(), found.private), ("handle", true));
        let found = field("[integer] string  arguments", "f", 3);
        assert_eq!(
            (found.name.as_str(), found.text.as_str()),
            ("[integer]", "arguments")
        );
        let found = field("verify? boolean  (default true) reads it", "f", 3);
        assert_eq!(
            (found.name.as_str(), found.optional, found.text.as_str()),
            ("verify", true, "(default true) reads it")
        );
    }

    #[test]
    fn returns_may_have_names() {
        let found = returned("rpitr.pitr.Backup  what was taken");
        assert_eq!((found.name, found.text.as_str()), (None, "what was taken"));
        let found = returned("integer n  how many");
        assert_eq!(
            (found.name.as_deref(), found.text.as_str()),
            (Some("n"), "how many")
        );
        assert_eq!(returned("string # text").text, "text");
        assert_eq!(returned("any ...").name.as_deref(), Some("..."));
    }

    #[test]
    fn kinds_of_errors_and_their_reasons() {
        let text: Vec<(String, String)> =
            errors("state (not up, unhealthy), environment  no engine, no image, arg")
                .into_iter()
                .map(|error| (error.kind, error.text))
                .collect();
        let expected = [
            ("state", "not up, unhealthy"),
            ("environment", "no engine, no image"),
            ("arg", ""),
        ];
        assert_eq!(
            text,
            expected.map(|(kind, text)| (kind.to_string(), text.to_string()))
        );
    }

    #[test]
    fn text_below_a_tag_belongs_to_it() {
        let comment = Comment::read(
            &[
                " Text.",
                "",
                " ```lua",
                " @x",
                " ```",
                "@param a string  one",
                "   two",
            ],
            5,
        );
        assert_eq!(comment.doc.text, "Text.\n\n```lua\n@x\n```");
        assert_eq!(comment.tags.len(), 1);
        assert_eq!(comment.tags[0].rest, "a string  one two");
        assert_eq!(comment.tags[0].line, 10);
    }
}
