//! Whether Lua can compile a script, without a state of the engine.

use mlua::{Lua, LuaOptions, StdLib};

use super::error_value::{ErrorValue, Frame};
use super::loader::Source;
use super::render::caret;

/// The error Lua itself has with a script's grammar, if any.
pub fn syntax_error(source: &Source) -> Option<ErrorValue> {
    let lua = Lua::new_with(StdLib::NONE, LuaOptions::default()).ok()?;
    let text = source.lua();
    let (line, message) = compile(&lua, &text)?;
    let mut error = ErrorValue {
        kind: "script".into(),
        code: Some("syntax".into()),
        message,
        ..ErrorValue::default()
    };
    let mut at = Frame {
        file: source.name.clone(),
        line,
        ..Frame::default()
    };
    let shown = text.lines().nth(line - 1).unwrap_or_default();
    let (column, width) =
        token(&lua, &text, line, &error.message).unwrap_or_else(|| caret(shown, &error, &at));
    (at.column, at.width) = (Some(column + 1), width);
    error.at = Some(at);
    Some(error)
}

/// Line and message of what is wrong with a text.
fn compile(lua: &Lua, text: &str) -> Option<(usize, String)> {
    let chunk = lua.load(text).set_name("=script").into_function();
    let text = chunk.err()?.to_string();
    let first = text.lines().next().unwrap_or_default();
    // `syntax error: script:2: unexpected symbol near '='`
    let located = first
        .split_once("script:")
        .and_then(|(_, rest)| rest.split_once(": "))
        .and_then(|(line, message)| Some((line.parse().ok()?, message)));
    let (line, message): (usize, &str) = located.unwrap_or((1, first));
    Some((line.max(1), message.to_string()))
}

/// Lua tells the word an error is near to, but not which one of its kind on the line: it is the first
/// with which the text, cut off behind it, has the same error.
fn token(lua: &Lua, text: &str, line: usize, message: &str) -> Option<(usize, usize)> {
    let (_, near) = message.rsplit_once("near '")?;
    let near = near.strip_suffix('\'')?;
    let start: usize = text
        .split_inclusive('\n')
        .take(line - 1)
        .map(str::len)
        .sum();
    let shown = text[start..].lines().next()?;
    let same =
        |end: usize| compile(lua, &text[..start + end]).is_some_and(|(_, found)| found == message);
    let places = shown.match_indices(near).map(|(at, _)| at);
    let at = places.into_iter().find(|at| same(at + near.len()))?;
    Some((shown[..at].chars().count(), near.chars().count()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source {
            name: "x.lua".into(),
            text: text.into(),
            folder: None,
        }
    }

    fn place(text: &str) -> Option<(usize, Option<usize>)> {
        let at = syntax_error(&source(text))?.at.unwrap();
        Some((at.line, at.column))
    }

    #[test]
    fn a_mistake_has_its_place() {
        let error = syntax_error(&source("#!/bin/rpitr\nlocal b = = 2")).unwrap();
        assert_eq!(error.message, "unexpected symbol near '='");
        assert_eq!(place("#!/bin/rpitr\nlocal b = = 2"), Some((2, Some(11))));
        assert_eq!(place("local end = 'end'"), Some((1, Some(7))));
        assert_eq!(place("x = 1 x = 2 x x = 3"), Some((1, Some(15))));
        assert_eq!(place("if x then\n"), Some((2, Some(1))));
        assert_eq!(place("\u{feff}#! x\nreturn 1"), None);
        assert_eq!(place("goto nowhere").unwrap().0, 1);
    }
}
