//! A Lua file as comments and what each stands above. Reads lines, not syntax: the library is laid
//! out by a formatter, so a function ends at the `end` that has its own indentation.

use super::comment::Comment;

/// What a line declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Declaration {
    /// A comment that stands alone.
    Nothing,
    /// `local name = value`.
    Local { name: String, value: String },
    /// `function owner.name(params)`, `function owner:name(params)`, `function name(params)`,
    /// `owner.name = function(params)`.
    Function {
        owner: Option<String>,
        method: bool,
        name: String,
        params: Vec<String>,
        local: bool,
    },
    /// `owner.name = value`, `name = value`.
    Assignment {
        owner: Option<String>,
        name: String,
        value: String,
    },
    /// `return function(Node)`: a part that adds to a table it is given.
    Part,
}

/// A declaration with the comment above it.
#[derive(Debug, Clone)]
pub struct Item {
    pub comment: Comment,
    pub declaration: Declaration,
    /// Where the declaration begins and ends.
    pub line: usize,
    pub end: usize,
}

/// Everything a file declares or comments on, in order.
pub fn scan(source: &str) -> Vec<Item> {
    let lines: Vec<&str> = source.lines().collect();
    let mut items = Vec::new();
    let mut pending: Vec<&str> = Vec::new();
    let mut first = 0;
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at].trim_start();
        if let Some(text) = documentation(line) {
            if pending.is_empty() {
                first = at + 1;
            }
            pending.push(text);
            at += 1;
            continue;
        }
        if !pending.is_empty() && line.starts_with("--") {
            at += 1;
            continue;
        }
        let declared = declaration(&lines, at);
        let comment = Comment::read(&pending, first);
        if declared != Declaration::Nothing || !pending.is_empty() {
            let last = match declared {
                Declaration::Nothing => first + pending.len() - 1,
                _ => end_of(&lines, at) + 1,
            };
            items.push(Item {
                comment,
                line: if declared == Declaration::Nothing {
                    first
                } else {
                    at + 1
                },
                end: last,
                declaration: declared,
            });
        }
        pending.clear();
        at += 1;
    }
    if !pending.is_empty() {
        items.push(Item {
            comment: Comment::read(&pending, first),
            declaration: Declaration::Nothing,
            line: first,
            end: lines.len(),
        });
    }
    items
}

/// The text after `---`; a line of dashes is a ruler, not text.
fn documentation(line: &str) -> Option<&str> {
    let text = line.strip_prefix("---")?;
    (!text.starts_with('-')).then_some(text)
}

fn declaration(lines: &[&str], at: usize) -> Declaration {
    let line = lines[at].trim_start();
    if line.starts_with("return function(") {
        return Declaration::Part;
    }
    let (local, rest) = match line.strip_prefix("local ") {
        Some(rest) => (true, rest),
        None => (false, line),
    };
    if let Some(rest) = rest.strip_prefix("function ") {
        let Some((path, _)) = rest.split_once('(') else {
            return Declaration::Nothing;
        };
        let (owner, method, name) = split_path(path);
        return Declaration::Function {
            owner,
            method,
            name,
            params: parameters(lines, at),
            local,
        };
    }
    let Some((path, value)) = rest.split_once('=') else {
        return Declaration::Nothing;
    };
    let (path, value) = (path.trim(), value.trim());
    if value.starts_with('=') || !is_path(path) {
        return Declaration::Nothing;
    }
    let (owner, _, name) = split_path(path);
    if local {
        return Declaration::Local {
            name,
            value: value.to_string(),
        };
    }
    if value.starts_with("function(") {
        return Declaration::Function {
            owner,
            method: false,
            name,
            params: parameters(lines, at),
            local,
        };
    }
    Declaration::Assignment {
        owner,
        name,
        value: value.to_string(),
    }
}

/// `a.b.c` and `a.b:c` as owner, whether it is a method, name.
fn split_path(path: &str) -> (Option<String>, bool, String) {
    match path.rfind(['.', ':']) {
        Some(at) => (
            Some(path[..at].to_string()),
            path[at..].starts_with(':'),
            path[at + 1..].to_string(),
        ),
        None => (None, false, path.to_string()),
    }
}

fn is_path(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'))
}

/// The names between the parentheses, which the formatter may have put on several lines.
fn parameters(lines: &[&str], at: usize) -> Vec<String> {
    let mut text = String::new();
    for line in &lines[at..] {
        text.push_str(line);
        if line.contains(')') {
            break;
        }
    }
    let inside = text
        .split_once('(')
        .and_then(|(_, rest)| rest.split_once(')'))
        .map_or("", |(inside, _)| inside);
    inside
        .split(',')
        .map(|name| name.trim().to_string())
        .filter(|name| !name.is_empty())
        .collect()
}

/// The line (from 0) on which what begins at `at` ends.
fn end_of(lines: &[&str], at: usize) -> usize {
    let line = lines[at];
    let indent = line.len() - line.trim_start().len();
    let text = line.trim_end();
    let is_function = text.contains("function");
    let closer = if is_function && !text.ends_with(" end") {
        "end"
    } else if text.ends_with('{') {
        "}"
    } else {
        return at;
    };
    let closes = |line: &&str| {
        let inner = line.trim_start();
        line.len() - inner.len() == indent
            && inner
                .strip_prefix(closer)
                .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    };
    lines[at + 1..]
        .iter()
        .position(closes)
        .map_or(at, |after| at + 1 + after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(items: &[Item], name: &str) -> Item {
        let is = |item: &&Item| matches!(&item.declaration, Declaration::Function { name: n, .. } if n == name);
        items.iter().find(is).cloned().unwrap()
    }

    #[test]
    fn functions_with_their_comments_and_ends() {
        let source = "\
--- Head of the file.

local m = {}
------------------------------------
--- Does it.
---@param a string
function m.f(a, ...)
  if a then
    return 1
  end
end

function m.one() return 1 end

return function(Node)
  --- A method.
  -- luacheck: ignore
  function Node:g(
    first,
    second
  )
    return first
  end
end
";
        let items = scan(source);
        assert_eq!(items[0].declaration, Declaration::Nothing);
        assert_eq!(items[0].comment.doc.text, "Head of the file.");
        let f = function(&items, "f");
        assert_eq!((f.line, f.end, f.comment.doc.line), (7, 11, 5));
        assert_eq!(f.comment.tags.len(), 1);
        let one = function(&items, "one");
        assert_eq!((one.line, one.end), (13, 13));
        assert_eq!(one.comment, Comment::default());
        let g = function(&items, "g");
        assert_eq!((g.line, g.end), (18, 23));
        assert_eq!(g.comment.doc.text, "A method.");
        let Declaration::Function {
            owner,
            method,
            params,
            ..
        } = g.declaration
        else {
            panic!("not a function");
        };
        assert_eq!(owner.as_deref(), Some("Node"));
        assert!(method);
        assert_eq!(params, ["first", "second"]);
    }

    #[test]
    fn assignments_and_locals() {
        let items = scan(
            "local x = { __name = \"rpitr.X\" }\nm.y = other.y\nif a == b then\nx.f = function(a) end\nz = nil\n",
        );
        let declared: Vec<_> = items.into_iter().map(|item| item.declaration).collect();
        assert_eq!(declared.len(), 4);
        assert!(matches!(&declared[0], Declaration::Local { name, .. } if name == "x"));
        assert!(
            matches!(&declared[1], Declaration::Assignment { owner: Some(owner), name, value }
            if owner == "m" && name == "y" && value == "other.y")
        );
        assert!(
            matches!(&declared[2], Declaration::Function { name, params, .. }
            if name == "f" && params == &["a"])
        );
        assert!(
            matches!(&declared[3], Declaration::Assignment { owner: None, name, .. } if name == "z")
        );
    }
}
