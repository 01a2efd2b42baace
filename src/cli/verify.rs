//! `rpitr verify DIR`: judges a finished run again, from its bundle alone.

use std::io::Write;
use std::path::Path;

use super::args::Global;
use crate::engine::show_failure;
use crate::exit;
use crate::failure::{Failure, Kind};
use crate::verify::{Bundle, Word, judge};

/// Prints the verdict and writes `verdict.json`; 0 for a pass, 10 for anything else. The same bundle
/// gives the same bytes.
pub fn verify(global: &Global, folder: &Path, json: bool) -> i32 {
    match run(folder, json) {
        Ok(Word::Pass) => exit::PASS,
        Ok(Word::Fail | Word::Unknown) => exit::FAILED,
        Err(failure) => show_failure(&failure, global.color, global.error_format),
    }
}

fn run(folder: &Path, json: bool) -> Result<Word, Failure> {
    let verdict = judge(Bundle::open(folder)?)?;
    let data = serde_json::to_string_pretty(&verdict)
        .map_err(|error| Failure::new(Kind::Internal, error.to_string()))?
        + "\n";
    let path = folder.join("verdict.json");
    std::fs::write(&path, &data).map_err(|error| Failure::io("write", &path, &error))?;
    let shown = if json { data } else { verdict.text() };
    // A reader that went away has seen enough.
    let _ = std::io::stdout().write_all(shown.as_bytes());
    Ok(verdict.verdict)
}
