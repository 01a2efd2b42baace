//! Exit codes, as documented in `docs/errors.md`.

use crate::failure::Kind;

/// Everything asked for was done and proved.
pub const PASS: i32 = 0;
/// A defect of rpitr.
pub const INTERNAL: i32 = 1;
/// A wrong flag, argument or file name.
pub const USAGE: i32 = 2;
/// A check, an expectation or a verification failed.
pub const FAILED: i32 = 10;
/// The script raised an error.
pub const SCRIPT: i32 = 11;
/// The machine lacks something: no PostgreSQL, port taken, disk full.
pub const ENVIRONMENT: i32 = 12;
/// The run's deadline passed.
pub const DEADLINE: i32 = 13;
/// Passed, but something could not be cleaned up.
pub const CLEANUP: i32 = 14;
/// The reader of the output went away (`rpitr ... | head`); cleanup was done. What a shell reports
/// for SIGPIPE, and no pass: the run did not reach its verdict.
pub const BROKEN_PIPE: i32 = 141;
/// Interrupted; cleanup was done.
pub const INTERRUPTED: i32 = 130;

/// The exit code for an error that ended the run.
pub fn for_error(kind: &str, code: Option<&str>) -> i32 {
    match (kind, code) {
        ("arg", Some("usage")) => USAGE,
        ("timeout", Some("deadline")) => DEADLINE,
        (kind, _) if kind == Kind::Interrupted.name() => INTERRUPTED,
        (kind, _) if kind == Kind::Environment.name() => ENVIRONMENT,
        (kind, _) if kind == Kind::Verify.name() || kind == Kind::Assert.name() => FAILED,
        (kind, _) if kind == Kind::Internal.name() => INTERNAL,
        _ => SCRIPT,
    }
}
