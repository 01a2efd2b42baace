//! Keeps `local` names alive from one line of a session to the next.
//!
//! Each line is a chunk of its own, so a local would be gone with it. At the top level of a line the
//! keyword is therefore taken out: the name becomes a variable of the session, which closures of this
//! line and later lines share.

use super::lexer::{Kind, Token, tokens};

/// A line as the session runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Globalized {
    pub source: String,
    /// Names declared `<close>`: a session keeps them open, and should say so.
    pub closed: Vec<String>,
}

/// Rewrites the top-level `local` statements of `source`. Places of everything else stay the same.
pub fn globalize(source: &str) -> Globalized {
    let tokens: Vec<Token> = tokens(source)
        .into_iter()
        .filter(|token| token.kind != Kind::Comment)
        .collect();
    let mut text = source.as_bytes().to_vec();
    let (mut inserts, mut closed) = (Vec::new(), Vec::new());
    let mut depth = 0i32;
    for (at, token) in tokens.iter().enumerate() {
        match token.text(source) {
            "local" if depth == 0 && token.kind == Kind::Keyword => {
                blank(&mut text, token);
                let rest = &tokens[at + 1..];
                let declared = Declaration::read(source, rest);
                declared
                    .attributes
                    .iter()
                    .for_each(|token| blank(&mut text, token));
                closed.extend(declared.closed);
                inserts.extend(declared.needs_value_at);
            }
            "function" | "do" | "if" | "repeat" if token.kind == Kind::Keyword => depth += 1,
            "end" | "until" if token.kind == Kind::Keyword => depth -= 1,
            _ => {}
        }
    }
    let mut source = String::from_utf8(text).unwrap_or_else(|_| source.to_string());
    for at in inserts.into_iter().rev() {
        source.insert_str(at, " = nil");
    }
    Globalized { source, closed }
}

fn blank(text: &mut [u8], token: &Token) {
    text[token.range.clone()].fill(b' ');
}

/// What stands behind a `local`.
#[derive(Debug, Default)]
struct Declaration {
    /// The tokens of `<const>` and `<close>`.
    attributes: Vec<Token>,
    closed: Vec<String>,
    /// Where ` = nil` must go: `local a, b` alone is no statement without its keyword.
    needs_value_at: Option<usize>,
}

impl Declaration {
    fn read(source: &str, rest: &[Token]) -> Declaration {
        let mut declaration = Declaration::default();
        let mut at = 0;
        let text = |at: usize| rest.get(at).map(|token: &Token| token.text(source));
        if text(0) == Some("function") {
            return declaration;
        }
        loop {
            let Some(name) = rest.get(at).filter(|token| token.kind == Kind::Name) else {
                return declaration;
            };
            let mut end = name.range.end;
            at += 1;
            if text(at) == Some("<") && text(at + 2) == Some(">") {
                if text(at + 1) == Some("close") {
                    declaration.closed.push(name.text(source).to_string());
                }
                declaration.attributes.extend_from_slice(&rest[at..at + 3]);
                end = rest[at + 2].range.end;
                at += 3;
            }
            match text(at) {
                Some(",") => at += 1,
                Some("=") => return declaration,
                _ => {
                    declaration.needs_value_at = Some(end);
                    return declaration;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn top_level_locals_lose_their_keyword() {
        let run = |source| globalize(source).source;
        assert_eq!(run("local a, b = 1, 2"), "      a, b = 1, 2");
        assert_eq!(run("local x"), "      x = nil");
        assert_eq!(run("local a, b; print(a)"), "      a, b = nil; print(a)");
        assert_eq!(run("local function f() end"), "      function f() end");
        assert_eq!(run("local x <const> = 1"), "      x         = 1");
        assert_eq!(run("local x local y = 2"), "      x = nil       y = 2");
    }

    #[test]
    fn inner_locals_and_look_alikes_stay() {
        for source in [
            "do local a = 1 end",
            "for i = 1, 2 do local a = i end",
            "f = function() local a end",
            "print 'local a = 1' -- local b",
            "repeat local a = 1 until a",
        ] {
            assert_eq!(globalize(source).source, source);
        }
        assert_eq!(
            globalize("if x then local a = 1 end local b = 2").source,
            "if x then local a = 1 end       b = 2"
        );
    }

    #[test]
    fn closed_names_are_told() {
        let found = globalize("local db <close>, n = connect(), 1");
        assert_eq!(found.closed, ["db"]);
        assert_eq!(found.source, "      db        , n = connect(), 1");
    }
}
