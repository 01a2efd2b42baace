//! Error tables: how a [`Failure`] becomes a Lua value, and how a Lua error is read back.

use mlua::{Lua, Table, Value};

use super::host::HostTable;
use crate::failure::{Failure, Kind};

/// Builds the table a host function returns; the prelude adds `where` and `trace` and raises it.
pub fn to_lua(lua: &Lua, failure: &Failure) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("kind", failure.kind.name())?;
    table.raw_set("message", failure.message.as_str())?;
    table.raw_set("code", failure.code.as_deref())?;
    table.raw_set("detail", failure.detail.as_deref())?;
    table.raw_set("hint", failure.hint.as_deref())?;
    if failure.retryable {
        table.raw_set("retryable", true)?;
    }
    if let Some(cause) = &failure.cause {
        table.raw_set("cause", to_lua(lua, cause)?)?;
    }
    Ok(table)
}

/// `error_fields(e)`: what a Rust error inside Lua (from a userdata's method) says, as the fields of
/// an error table; nothing for any other value.
pub fn register(host: &HostTable) -> mlua::Result<()> {
    host.function("error_fields", |lua, value: Value| {
        let Value::Error(error) = value else {
            return Ok(None);
        };
        let failure = error.downcast_ref::<Failure>().cloned();
        let failure = failure.unwrap_or_else(|| {
            let text = first_line(&error.to_string());
            Failure::new(Kind::Script, text.trim_start_matches("runtime error: "))
        });
        to_lua(lua, &failure)
            .map(Some)
            .map_err(|error| Failure::new(Kind::Internal, error.to_string()))
    })
}

/// One line of a script on the way to the error.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Frame {
    pub file: String,
    pub line: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// Where on the line, counted from 1, when that is known: Lua itself keeps lines only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// How many characters from there.
    #[serde(skip)]
    pub width: usize,
}

/// A Lua error as the renderer and the exit code see it.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct ErrorValue {
    pub kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    pub at: Option<Frame>,
    /// Script frames, innermost first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trace: Vec<Frame>,
    /// Every frame, for `--trace`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full_trace: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Box<ErrorValue>>,
}

impl ErrorValue {
    /// Reads any Lua value that was raised. Raw access only: no metamethod of the script runs.
    pub fn read(value: &Value) -> ErrorValue {
        match value {
            Value::Table(table) => Self::read_table(table, 0),
            other => ErrorValue {
                kind: "script".into(),
                message: text(other)
                    .unwrap_or_else(|| format!("a {} value was raised", other.type_name())),
                ..ErrorValue::default()
            },
        }
    }

    fn read_table(table: &Table, depth: usize) -> ErrorValue {
        let string = |key: &str| text(&table.raw_get::<Value>(key).unwrap_or(Value::Nil));
        let frames = table
            .raw_get::<Option<Table>>("trace")
            .ok()
            .flatten()
            .map(|list| {
                list.sequence_values::<Table>()
                    .flatten()
                    .map(|t| frame(&t))
                    .collect()
            })
            .unwrap_or_default();
        // A chain that loops back on itself must not hang the renderer.
        let cause = match table.raw_get::<Value>("cause") {
            Ok(Value::Table(cause)) if depth < 8 => {
                Some(Box::new(Self::read_table(&cause, depth + 1)))
            }
            Ok(value @ (Value::String(_) | Value::Integer(_))) => {
                Some(Box::new(Self::read(&value)))
            }
            _ => None,
        };
        ErrorValue {
            kind: string("kind").unwrap_or_else(|| "script".into()),
            code: string("code"),
            message: string("message")
                .unwrap_or_else(|| "a table without a message was raised".into()),
            detail: string("detail"),
            hint: string("hint"),
            step: string("step"),
            at: table
                .raw_get::<Option<Table>>("where")
                .ok()
                .flatten()
                .map(|t| frame(&t)),
            trace: frames,
            full_trace: string("full_trace"),
            retryable: table.raw_get::<bool>("retryable").unwrap_or(false),
            cause,
        }
    }
}

fn frame(table: &Table) -> Frame {
    Frame {
        file: table.raw_get("file").unwrap_or_default(),
        line: table.raw_get("line").unwrap_or_default(),
        function: table.raw_get("name").unwrap_or_default(),
        column: None,
        width: 0,
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.to_string_lossy()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Boolean(flag) => Some(flag.to_string()),
        Value::Error(error) => Some(first_line(&error.to_string())),
        _ => None,
    }
}

/// mlua's `Display` embeds the whole traceback after the first line.
fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_string()
}
