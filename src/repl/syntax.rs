//! Whether what was typed is a whole statement, the beginning of one, or wrong.

use mlua::Lua;

/// See [`judge`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Whole,
    /// More lines may make it whole.
    Unfinished,
    /// No continuation can: Lua's message, without the chunk's name.
    Wrong(String),
}

/// Judges a line of a session. `lua` only parses; nothing is run.
///
/// `1 +` is unfinished only as an expression and `if x then` only as a statement, so both readings
/// are tried. Lua says of an unclosed `'abc` that it is unfinished, too, but no further line can close
/// it.
pub fn judge(lua: &Lua, source: &str) -> Verdict {
    let trimmed = source.trim_start();
    if trimmed.is_empty() || is_command(trimmed) {
        return Verdict::Whole;
    }
    let expression = parse(lua, &format!("return {source}"));
    let statement = parse(lua, source);
    match (expression, statement) {
        (Verdict::Whole, _) | (_, Verdict::Whole) => Verdict::Whole,
        (Verdict::Unfinished, _) | (_, Verdict::Unfinished) => Verdict::Unfinished,
        (_, wrong) => wrong,
    }
}

/// `:command`, `?name` and `h name` are the session's, not Lua's.
fn is_command(line: &str) -> bool {
    line.starts_with(':') && !line.starts_with("::")
        || line.starts_with('?')
        || line.strip_prefix("h ").is_some_and(|name| {
            !name
                .trim_start()
                .starts_with(['=', '.', ':', '(', '[', ','])
        })
}

fn parse(lua: &Lua, source: &str) -> Verdict {
    match lua.load(source).set_name("=input").into_function() {
        Ok(_) => Verdict::Whole,
        Err(mlua::Error::SyntaxError {
            message,
            incomplete_input,
        }) => {
            if incomplete_input && !message.contains("unfinished string") {
                return Verdict::Unfinished;
            }
            let text = message.strip_prefix("input:").unwrap_or(&message);
            Verdict::Wrong(text.split_once(": ").map_or(text, |(_, text)| text).into())
        }
        Err(error) => Verdict::Wrong(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_unfinished_or_wrong() {
        let lua = Lua::new();
        for whole in [
            "1 + 1",
            "x = 1",
            "",
            ":sql SELECT (",
            "?lab",
            "h lab.postgres",
            "h = 1",
            "f{}",
        ] {
            assert_eq!(judge(&lua, whole), Verdict::Whole, "{whole}");
        }
        for open in [
            "1 +",
            "{1, 2",
            "if x then",
            "function f()",
            "x = [[ a",
            "f(",
            "--[[ note",
        ] {
            assert_eq!(judge(&lua, open), Verdict::Unfinished, "{open}");
        }
        for wrong in ["'abc", "x = = 1", "end", "if x then )"] {
            assert!(matches!(judge(&lua, wrong), Verdict::Wrong(_)), "{wrong}");
        }
    }
}
