//! A log of what recovery asked for: one JSON object on a line for each call.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use super::Error;

/// Appends one line; a single write, so that concurrent calls do not mix.
pub fn append(
    log: &Path,
    name: &str,
    result: &str,
    reason: Option<&Error>,
    bytes: u64,
    took: Duration,
) -> std::io::Result<()> {
    let line = serde_json::json!({
        "name": name,
        "result": result,
        "code": reason.map(Error::code),
        "reason": reason.map(Error::to_string),
        "bytes": bytes,
        "micros": took.as_micros() as u64,
    });
    let mut file = OpenOptions::new().append(true).create(true).open(log)?;
    file.write_all(format!("{line}\n").as_bytes())
}
