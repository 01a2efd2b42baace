//! Whether Lua can compile a script, without a state of the engine.

use mlua::{Lua, LuaOptions, StdLib};

use super::error_value::{ErrorValue, Frame};
use super::loader::Source;
use super::render::caret;

/// The error Lua itself has with a script's grammar, if any.
pub fn syntax_error(source: &Source) -> Option<ErrorValue> {
    let lua = Lua::new_with(StdLib::NONE, LuaOptions::default()).ok()?;
    let chunk = lua.load(&*source.lua()).set_name("=script").into_function();
    let text = chunk.err()?.to_string();
    let (line, message) = located(&text);
    let mut error = ErrorValue {
        kind: "script".into(),
        code: Some("syntax".into()),
        message: message.to_string(),
        ..ErrorValue::default()
    };
    let mut at = Frame {
        file: source.name.clone(),
        line,
        ..Frame::default()
    };
    if let Some(line) = source.text.lines().nth(line - 1) {
        let (start, width) = caret(line, &error, &at);
        (at.column, at.width) = (Some(start + 1), width);
    }
    error.at = Some(at);
    Some(error)
}

/// Line and message of `syntax error: script:2: unexpected symbol near '='`.
fn located(text: &str) -> (usize, &str) {
    let first = text.lines().next().unwrap_or_default();
    first
        .split_once("script:")
        .and_then(|(_, rest)| rest.split_once(": "))
        .and_then(|(line, message)| Some((line.parse().ok()?, message)))
        .map_or((1, first), |(line, message): (usize, &str)| {
            (line.max(1), message)
        })
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

    #[test]
    fn a_mistake_has_its_place() {
        let error = syntax_error(&source("#!/bin/rpitr\nlocal b = = 2")).unwrap();
        assert_eq!(error.message, "unexpected symbol near '='");
        let at = error.at.unwrap();
        assert_eq!((at.line, at.column), (2, Some(9)));
        assert_eq!(syntax_error(&source("\u{feff}#! x\nreturn 1")), None);
        assert_eq!(
            syntax_error(&source("goto nowhere"))
                .unwrap()
                .at
                .unwrap()
                .line,
            1
        );
    }
}
