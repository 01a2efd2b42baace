//! The one error renderer: kind and SQLSTATE, message, the script line with a caret, script frames,
//! causes, hint. Never a Rust backtrace.

use std::fmt::Write as _;
use std::fs;

use super::error_value::{ErrorValue, Frame};
use super::host::HostTable;
use super::state::shared;

#[derive(Debug, Clone, Copy, Default)]
pub struct RenderOptions {
    pub color: bool,
    /// Every frame, not only the script's.
    pub trace: bool,
}

/// `render_error(e)`: an error as text, for those who show one and carry on.
pub fn register(host: &HostTable) -> mlua::Result<()> {
    // `name` and `text`: the source an error may point into.
    type Arguments = (mlua::Value, Option<String>, Option<String>);
    host.function("render_error", |lua, (value, name, text): Arguments| {
        let shared = shared(lua)?;
        let options = RenderOptions {
            color: shared.printer.color(),
            trace: shared.options.trace,
        };
        let lookup = |wanted: &str| text.clone().filter(|_| name.as_deref() == Some(wanted));
        Ok(render(&ErrorValue::read(&value), &lookup, options))
    })
}

struct Paint(bool);

impl Paint {
    fn wrap(&self, code: &str, text: &str) -> String {
        if self.0 {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_string()
        }
    }
    fn red(&self, text: &str) -> String {
        self.wrap("1;31", text)
    }
    fn dim(&self, text: &str) -> String {
        self.wrap("2", text)
    }
    fn cyan(&self, text: &str) -> String {
        self.wrap("36", text)
    }
}

/// The error as a person reads it, ending in a newline.
pub fn render(
    error: &ErrorValue,
    sources: &dyn Fn(&str) -> Option<String>,
    options: RenderOptions,
) -> String {
    let paint = Paint(options.color);
    let mut out = String::new();
    let _ = writeln!(out, "{}: {}", paint.red(&title(error)), error.message);
    if let Some(at) = &error.at {
        location(&mut out, &paint, error, at, sources);
    }
    if let Some(detail) = &error.detail {
        block(&mut out, "detail", detail);
    }
    if let Some(step) = &error.step {
        let _ = writeln!(out, "  step: {step}");
    }
    frames(&mut out, &paint, error, options.trace);
    let mut cause = error.cause.as_deref();
    while let Some(inner) = cause {
        let place = inner
            .at
            .as_ref()
            .map(|at| format!(" ({}:{})", at.file, at.line))
            .unwrap_or_default();
        let _ = writeln!(
            out,
            "  caused by: {}: {}{place}",
            title(inner),
            inner.message
        );
        if let Some(detail) = &inner.detail {
            block(&mut out, "detail", detail);
        }
        cause = inner.cause.as_deref();
    }
    if let Some(hint) = hint(error) {
        let _ = writeln!(out, "  {}: {hint}", paint.cyan("hint"));
    }
    out
}

/// The same fields as JSON, on one line.
pub fn render_json(error: &ErrorValue) -> String {
    serde_json::to_string(&serde_json::json!({ "error": error })).unwrap_or_default()
}

fn title(error: &ErrorValue) -> String {
    // Codes with a colon are the engine's own bookkeeping.
    match error.code.as_deref().filter(|code| !code.contains(':')) {
        Some(code) => format!("error[{}/{code}]", error.kind),
        None => format!("error[{}]", error.kind),
    }
}

fn location(
    out: &mut String,
    paint: &Paint,
    error: &ErrorValue,
    at: &Frame,
    sources: &dyn Fn(&str) -> Option<String>,
) {
    let column = at.column.map(|column| format!(":{column}"));
    let column = column.unwrap_or_default();
    let _ = writeln!(
        out,
        "  {} {}:{}{column}",
        paint.dim("-->"),
        at.file,
        at.line
    );
    let text = sources(&at.file).or_else(|| fs::read_to_string(&at.file).ok());
    let Some(line) = text
        .as_deref()
        .and_then(|text| text.lines().nth(at.line.checked_sub(1)?))
    else {
        return;
    };
    let at_column = |column: usize| {
        // Tabs are shown as four spaces.
        let before = line.chars().take(column - 1);
        before.map(|c| if c == '\t' { 4 } else { 1 }).sum::<usize>()
    };
    let place = at.column.map(|column| (at_column(column.max(1)), at.width));
    let line = line.replace('\t', "    ");
    let number = at.line.to_string();
    let margin = " ".repeat(number.len());
    let (start, length) = place.unwrap_or_else(|| caret(&line, error, at));
    let _ = writeln!(out, "   {} {} {line}", paint.dim(&number), paint.dim("|"));
    let _ = writeln!(
        out,
        "   {margin} {} {}{}",
        paint.dim("|"),
        " ".repeat(start),
        paint.red(&"^".repeat(length.max(1)))
    );
}

/// Where the caret goes, as (column, width) in characters. Lua keeps line numbers only, so the word
/// the message or the failing call names is looked up in the line.
pub(super) fn caret(line: &str, error: &ErrorValue, at: &Frame) -> (usize, usize) {
    let from_message = [
        "local '",
        "global '",
        "field '",
        "method '",
        "upvalue '",
        "near '",
        "constant '",
    ]
    .iter()
    .find_map(|opening| error.message.split_once(opening)?.1.split('\'').next());
    let words = from_message.into_iter().chain(at.function.as_deref());
    for word in words.filter(|word| !word.is_empty()) {
        if let Some(byte) = find_word(line, word) {
            return (line[..byte].chars().count(), word.chars().count());
        }
    }
    let start = line.chars().take_while(|c| c.is_whitespace()).count();
    (start, line.trim().chars().count().min(60))
}

fn find_word(line: &str, word: &str) -> Option<usize> {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    let alone = |byte: usize| {
        let before = line[..byte].chars().next_back();
        let after = line[byte + word.len()..].chars().next();
        !(word.starts_with(part_of_word) && before.is_some_and(part_of_word)
            || word.ends_with(part_of_word) && after.is_some_and(part_of_word))
    };
    line.match_indices(word)
        .map(|(byte, _)| byte)
        .find(|byte| alone(*byte))
}

fn frames(out: &mut String, paint: &Paint, error: &ErrorValue, all: bool) {
    if all && let Some(full) = &error.full_trace {
        block(out, "trace", full);
        return;
    }
    // The first frame is the location itself.
    let here = error.at.as_ref();
    for frame in error
        .trace
        .iter()
        .filter(|frame| here.is_none_or(|at| (&at.file, at.line) != (&frame.file, frame.line)))
    {
        let name = frame
            .function
            .as_deref()
            .map(|name| format!(" in {name}"))
            .unwrap_or_default();
        let _ = writeln!(
            out,
            "  {} {}:{}{name}",
            paint.dim("from"),
            frame.file,
            frame.line
        );
    }
}

fn block(out: &mut String, label: &str, text: &str) {
    let mut lines = text.trim_end().lines();
    let _ = writeln!(out, "  {label}: {}", lines.next().unwrap_or_default());
    for line in lines {
        let _ = writeln!(out, "    {}", line.replace('\t', "  "));
    }
}

fn hint(error: &ErrorValue) -> Option<String> {
    if error.hint.is_some() {
        return error.hint.clone();
    }
    let mut cause = error.cause.as_deref();
    while let Some(inner) = cause {
        if inner.hint.is_some() {
            return inner.hint.clone();
        }
        cause = inner.cause.as_deref();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> ErrorValue {
        ErrorValue {
            kind: "sql".into(),
            code: Some("42P01".into()),
            message: "relation \"orderz\" does not exist".into(),
            hint: Some("check the table's name".into()),
            at: Some(Frame {
                file: "drill.lua".into(),
                line: 2,
                function: Some("query".into()),
                ..Frame::default()
            }),
            trace: vec![
                Frame {
                    file: "drill.lua".into(),
                    line: 2,
                    function: None,
                    ..Frame::default()
                },
                Frame {
                    file: "drill.lua".into(),
                    line: 9,
                    function: Some("count".into()),
                    ..Frame::default()
                },
            ],
            ..ErrorValue::default()
        }
    }

    #[test]
    fn shows_line_caret_frames_and_hint() {
        let source = |_: &str| Some("local n\nlocal rows = db:query(\"SELECT\")\n".to_string());
        let text = render(&sample(), &source, RenderOptions::default());
        let expected = "\
error[sql/42P01]: relation \"orderz\" does not exist
  --> drill.lua:2
   2 | local rows = db:query(\"SELECT\")
     |                 ^^^^^
  from drill.lua:9 in count
  hint: check the table's name
";
        assert_eq!(text, expected);
    }

    #[test]
    fn caret_prefers_the_word_the_message_names() {
        let error = ErrorValue {
            message: "attempt to index a nil value (local 'row')".into(),
            ..sample()
        };
        let at = Frame {
            file: String::new(),
            line: 1,
            ..Frame::default()
        };
        assert_eq!(caret("print(rows, row.id)", &error, &at), (12, 3));
    }
}
