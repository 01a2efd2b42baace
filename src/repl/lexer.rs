//! Lua tokens with their places, tolerant of text that is still being typed.

use std::ops::Range;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Name,
    Keyword,
    Number,
    String,
    Comment,
    /// Operators and punctuation, one character each: nobody here needs longer ones.
    Symbol,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub kind: Kind,
    pub range: Range<usize>,
}

impl Token {
    pub fn text<'a>(&self, source: &'a str) -> &'a str {
        &source[self.range.clone()]
    }
}

const KEYWORDS: [&str; 22] = [
    "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in",
    "local", "nil", "not", "or", "repeat", "return", "then", "true", "until", "while",
];

/// The tokens of `source`; white space is left out. A string or comment without its end reaches to
/// the end of the text.
pub fn tokens(source: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(first) = source[at..].chars().next() {
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let (kind, length) = token(&source[at..], first);
        found.push(Token {
            kind,
            range: at..at + length,
        });
        at += length;
    }
    found
}

fn token(rest: &str, first: char) -> (Kind, usize) {
    if let Some(comment) = rest.strip_prefix("--") {
        let length = long_bracket(comment)
            .map(|length| length + 2)
            .unwrap_or_else(|| rest.find('\n').unwrap_or(rest.len()));
        return (Kind::Comment, length);
    }
    if first == '"' || first == '\'' {
        return (Kind::String, quoted(rest, first));
    }
    if let Some(length) = long_bracket(rest) {
        return (Kind::String, length);
    }
    if first.is_ascii_alphabetic() || first == '_' {
        let length = length_while(rest, |c| c.is_ascii_alphanumeric() || c == '_');
        let kind = if KEYWORDS.contains(&&rest[..length]) {
            Kind::Keyword
        } else {
            Kind::Name
        };
        return (kind, length);
    }
    if first.is_ascii_digit() {
        return (
            Kind::Number,
            length_while(rest, |c| c.is_ascii_alphanumeric() || c == '.'),
        );
    }
    (Kind::Symbol, first.len_utf8())
}

fn length_while(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

/// The length of a quoted string; it ends with its quote, or unfinished with the line.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\n' => return at,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of `[[...]]` or `[==[...]==]` at the start of `text`.
fn long_bracket(text: &str) -> Option<usize> {
    let level = length_while(text.strip_prefix('[')?, |c| c == '=');
    if !text[1 + level..].starts_with('[') {
        return None;
    }
    let close = format!("]{}]", "=".repeat(level));
    let end = text.find(&close).map(|at| at + close.len());
    Some(end.unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(source: &str) -> Vec<(Kind, &str)> {
        let found = tokens(source);
        found.iter().map(|t| (t.kind, t.text(source))).collect()
    }

    #[test]
    fn every_kind_of_token() {
        assert_eq!(
            kinds("local é = \"a\\\"b\" -- x\n[==[ ]] ]==] 0x1F"),
            [
                (Kind::Keyword, "local"),
                (Kind::Symbol, "é"),
                (Kind::Symbol, "="),
                (Kind::String, "\"a\\\"b\""),
                (Kind::Comment, "-- x"),
                (Kind::String, "[==[ ]] ]==]"),
                (Kind::Number, "0x1F"),
            ]
        );
    }

    #[test]
    fn unfinished_text_is_one_token() {
        assert_eq!(kinds("'abc"), [(Kind::String, "'abc")]);
        assert_eq!(kinds("--[[ open"), [(Kind::Comment, "--[[ open")]);
        assert_eq!(kinds("[[ open"), [(Kind::String, "[[ open")]);
    }
}
