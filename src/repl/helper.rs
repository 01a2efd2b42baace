//! What the line editor asks while a line is typed: colours, hints, completion, whether it is whole.

use std::borrow::Cow;
use std::fmt::Write as _;

use mlua::Lua;
use rustyline::completion::{Completer, Pair};
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::{Hinter, HistoryHinter};
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Result};

use super::editor::Asker;
use super::hint::{Hint, reminder};
use super::lexer::{Kind, tokens};
use super::syntax::{Verdict, judge};

#[derive(rustyline::Helper)]
pub struct Helper {
    // A state of its own, for parsing only: the session's lives on another thread.
    lua: Lua,
    asker: Asker,
    hinter: HistoryHinter,
    color: bool,
}

impl Helper {
    pub fn new(asker: Asker, color: bool) -> Self {
        Helper {
            lua: Lua::new(),
            asker,
            hinter: HistoryHinter::new(),
            color,
        }
    }
}

impl Completer for Helper {
    type Candidate = Pair;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> Result<(usize, Vec<Pair>)> {
        let (start, found) = self.asker.complete(line, pos);
        // What the list shows may be more than what is typed: it stands behind a tab.
        let pairs = found.into_iter().map(|text| {
            let (replacement, display) = text.split_once('\t').unwrap_or((&text, &text));
            Pair {
                display: display.to_string(),
                replacement: replacement.to_string(),
            }
        });
        Ok((start, pairs.collect()))
    }
}

impl Hinter for Helper {
    type Hint = Hint;

    fn hint(&self, line: &str, pos: usize, context: &Context<'_>) -> Option<Hint> {
        if let Some(rest) = self.hinter.hint(line, pos, context) {
            return Some(Hint::Earlier(rest));
        }
        if pos < line.len() {
            return None;
        }
        match judge(&self.lua, line) {
            // What ends too early may only not be typed yet.
            Verdict::Wrong(message) if !message.ends_with("near <eof>") => {
                Some(Hint::Wrong(beside(&message)))
            }
            _ => reminder(line).map(Hint::Reminder),
        }
    }
}

/// A message as it stands behind the line it is about.
fn beside(message: &str) -> String {
    format!("  <- {message}")
}

impl Validator for Helper {
    fn validate(&self, context: &mut ValidationContext) -> Result<ValidationResult> {
        Ok(match judge(&self.lua, context.input()) {
            Verdict::Whole => ValidationResult::Valid(None),
            Verdict::Unfinished => ValidationResult::Incomplete,
            Verdict::Wrong(message) => ValidationResult::Invalid(Some(beside(&message))),
        })
    }
}

impl Highlighter for Helper {
    fn highlight<'l>(&self, line: &'l str, pos: usize) -> Cow<'l, str> {
        if !self.color || line.starts_with(':') {
            return Cow::Borrowed(line);
        }
        let brackets = bracket_pair(line, pos);
        let wrong = match judge(&self.lua, line) {
            Verdict::Wrong(message) => near(&message),
            _ => None,
        };
        Cow::Owned(paint(line, &brackets, wrong.as_deref()))
    }

    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        Cow::Owned(format!("\x1b[2m{hint}\x1b[0m"))
    }

    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(
        &'s self,
        prompt: &'p str,
        _default: bool,
    ) -> Cow<'b, str> {
        if self.color {
            Cow::Owned(format!("\x1b[1;36m{prompt}\x1b[0m"))
        } else {
            Cow::Borrowed(prompt)
        }
    }

    fn highlight_char(&self, _line: &str, _pos: usize, kind: CmdKind) -> bool {
        self.color && kind != CmdKind::ForcedRefresh
    }
}

/// The token Lua's message points at.
fn near(message: &str) -> Option<String> {
    let (_, rest) = message.rsplit_once("near '")?;
    Some(rest.trim_end_matches('\'').to_string())
}

fn paint(line: &str, brackets: &[usize], wrong: Option<&str>) -> String {
    let found = tokens(line);
    let culprit = wrong.and_then(|text| found.iter().rposition(|token| token.text(line) == text));
    let mut out = String::with_capacity(line.len() * 2);
    let mut at = 0;
    for (index, token) in found.iter().enumerate() {
        out.push_str(&line[at..token.range.start]);
        let text = token.text(line);
        let code = if culprit == Some(index) {
            "4;31"
        } else if brackets.contains(&token.range.start) {
            "1;34"
        } else {
            match token.kind {
                Kind::Keyword => "35",
                Kind::Number => "33",
                Kind::String => "32",
                Kind::Comment => "2",
                Kind::Name | Kind::Symbol => "",
            }
        };
        if code.is_empty() {
            out.push_str(text);
        } else {
            let _ = write!(out, "\x1b[{code}m{text}\x1b[0m");
        }
        at = token.range.end;
    }
    out.push_str(&line[at..]);
    out
}

/// The places of the bracket at or before the cursor and of the one that matches it.
fn bracket_pair(line: &str, pos: usize) -> Vec<usize> {
    let mut open = Vec::new();
    for token in tokens(line) {
        let start = token.range.start;
        match token.text(line) {
            "(" | "[" | "{" if token.kind == Kind::Symbol => open.push(start),
            ")" | "]" | "}" if token.kind == Kind::Symbol => {
                if let Some(begin) = open.pop()
                    && [begin, begin + 1, start, start + 1].contains(&pos)
                {
                    return vec![begin, start];
                }
            }
            _ => {}
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_keep_the_text() {
        let line = "local x = f('a', 1) -- note";
        let painted = paint(line, &bracket_pair(line, 11), None);
        let mut plain = String::new();
        let mut inside = false;
        for c in painted.chars() {
            match c {
                '\x1b' => inside = true,
                'm' if inside => inside = false,
                c if !inside => plain.push(c),
                _ => {}
            }
        }
        assert_eq!(plain, line);
        assert!(painted.contains("\x1b[35mlocal"));
        assert!(painted.contains("\x1b[1;34m("));
    }

    #[test]
    fn the_wrong_token_is_marked() {
        assert_eq!(near("unexpected symbol near '='").as_deref(), Some("="));
        assert!(paint("x = = 1", &[], Some("=")).contains("x = \x1b[4;31m=\x1b[0m "));
    }
}
