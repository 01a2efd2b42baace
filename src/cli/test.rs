//! `rpitr test`: runs the Lua test files, each in an engine of its own, and counts.

use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::args::Global;
use super::run::options;
use crate::engine::{Program, Tally, find_script, run, show_failure};
use crate::exit;
use crate::failure::{Failure, Kind};

/// Runs every test below `paths`; `only` selects by a part of "file: name". Ends with the tally
/// alone on a line. No test at all is a failure: a typo in a path must not look like a pass.
pub fn test(global: &Global, paths: &[PathBuf], only: Option<String>) -> i32 {
    let files = match collect(paths) {
        Ok(files) => files,
        Err(failure) => return show_failure(&failure, global.color, global.error_format),
    };
    let arguments: Vec<String> = only.into_iter().collect();
    let mut total = Tally::default();
    for file in &files {
        let source = match find_script(&file.to_string_lossy()) {
            Ok(source) => source,
            Err(failure) => return show_failure(&failure, global.color, global.error_format),
        };
        let outcome = run(options(global), Program::Test, &source, &arguments);
        match outcome.tally {
            Some(tally) => total += tally,
            // The file itself failed; its error has been shown.
            None if outcome.code != exit::PASS => total.failed += 1,
            None => {}
        }
        if matches!(outcome.code, exit::INTERRUPTED | exit::DEADLINE) {
            outln!("{total}");
            return outcome.code;
        }
    }
    if total == Tally::default() {
        let failure = Failure::new(Kind::Arg, "no test was run").code("usage");
        let failure = if arguments.is_empty() {
            failure.hint("test files end in _test.lua and call test.it")
        } else {
            failure.hint("--only compares with \"file: name\", letter case included")
        };
        return show_failure(&failure, global.color, global.error_format);
    }
    outln!("{total}");
    if total.failed > 0 {
        exit::FAILED
    } else {
        exit::PASS
    }
}

/// Files as they were named, and `*_test.lua` below folders in a stable order.
fn collect(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        for entry in WalkDir::new(path).sort_by_file_name() {
            let entry = entry.map_err(|error| {
                Failure::new(
                    Kind::Arg,
                    format!("cannot list {}: {error}", path.display()),
                )
                .code("usage")
            })?;
            let named = entry.depth() == 0;
            if entry.file_type().is_file() && (named || is_test(entry.path())) {
                files.push(entry.into_path());
            }
        }
    }
    Ok(files)
}

fn is_test(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().ends_with("_test.lua"))
}
