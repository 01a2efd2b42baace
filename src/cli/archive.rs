//! `rpitr archive-push` and `rpitr archive-fetch`: what a server's `archive_command` and
//! `restore_command` run.
//!
//! They start thousands of times in one recovery, so their arguments are parsed by hand and no
//! engine is built. Messages go to standard error, which is the server's log.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Instant;

use crate::archive::{self, Error, FetchOptions, Sabotage};
use crate::failure::Failure;

const PUSH: &str = "rpitr archive-push";
const FETCH: &str = "rpitr archive-fetch";

/// `rpitr archive-push --archive DIR [--log FILE] PATH NAME`
///
/// Exit code: 0 when the file is archived, 1 otherwise. PostgreSQL tries again after a 1, and
/// counts it in `pg_stat_archiver`; codes above 125 would kill its archiver process instead.
pub fn push_main(args: &[OsString]) -> i32 {
    guarded(PUSH, 1, || {
        let Some(parsed) = Parsed::new(PUSH, "PATH NAME", args, &["--archive", "--log"]) else {
            return 1;
        };
        let (path, name) = (
            PathBuf::from(&parsed.first),
            parsed.second.to_string_lossy(),
        );
        match archive::sabotage(&path, &parsed.archive, &name) {
            Sabotage::Honest => {}
            Sabotage::Lie => return 0,
            Sabotage::Fail(reason) => {
                say(PUSH, &format!("cannot archive {name}: {reason}"));
                return 1;
            }
        }
        let began = Instant::now();
        let result = archive::push(&path, &parsed.archive, &name);
        let outcome = match &result {
            Ok(pushed) if pushed.already => "already",
            Ok(_) => "pushed",
            Err(_) => "failed",
        };
        let bytes = result.as_ref().map_or(0, |pushed| pushed.bytes);
        parsed.record(PUSH, &name, outcome, result.as_ref().err(), bytes, began);
        match result {
            Ok(_) => 0,
            Err(error) => {
                complain(PUSH, error);
                1
            }
        }
    })
}

/// `rpitr archive-fetch --archive DIR [--log FILE] [--system-id N] [--tail SNAPSHOT] NAME DEST`
///
/// Exit code: 0 when the verified file is in place, 1 when it was proved not to exist, 255 for
/// everything else; see [`Error::fetch_exit_code`].
pub fn fetch_main(args: &[OsString]) -> i32 {
    guarded(FETCH, 255, || {
        let options = ["--archive", "--log", "--system-id", "--tail"];
        let Some(parsed) = Parsed::new(FETCH, "NAME DEST", args, &options) else {
            return 255;
        };
        let system_id = match parsed
            .system_id
            .as_ref()
            .map(|id| id.to_str().and_then(|t| t.parse().ok()))
        {
            Some(None) => {
                say(FETCH, "--system-id wants a number");
                return 255;
            }
            Some(id) => id,
            None => None,
        };
        let (name, dest) = (
            parsed.first.to_string_lossy(),
            PathBuf::from(&parsed.second),
        );
        let began = Instant::now();
        let options = FetchOptions {
            system_id,
            tail: parsed.tail.clone(),
        };
        let result = archive::fetch(&parsed.archive, &name, &dest, &options);
        let outcome = match &result {
            Ok(_) => "fetched",
            Err(Error::Absent { .. }) => "absent",
            Err(_) => "refused",
        };
        let bytes = *result.as_ref().unwrap_or(&0);
        parsed.record(FETCH, &name, outcome, result.as_ref().err(), bytes, began);
        match result {
            Ok(_) => 0,
            Err(error) => {
                let code = error.fetch_exit_code();
                // Recovery asks for files that do not exist all the time: no message for that.
                if code != 1 {
                    complain(FETCH, error);
                }
                code
            }
        }
    })
}

/// The arguments of either command.
struct Parsed {
    archive: PathBuf,
    log: Option<PathBuf>,
    system_id: Option<OsString>,
    tail: Option<PathBuf>,
    first: OsString,
    second: OsString,
}

impl Parsed {
    fn new(program: &str, operands: &str, args: &[OsString], allowed: &[&str]) -> Option<Parsed> {
        let usage = |problem: &str| {
            say(program, problem);
            let options: Vec<_> = allowed
                .iter()
                .map(|option| format!("[{option} VALUE]"))
                .collect();
            say(
                program,
                &format!("usage: {program} {} {operands}", options.join(" ")),
            );
        };
        let (mut archive, mut log, mut system_id, mut tail) = (None, None, None, None);
        let mut rest: Vec<OsString> = Vec::new();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let text = arg.to_string_lossy();
            if !text.starts_with("--") {
                rest.push(arg.clone());
                continue;
            }
            let (option, value) = match text.split_once('=') {
                Some((option, value)) => {
                    (option.to_string(), Some(OsStr::new(value).to_os_string()))
                }
                None => (text.to_string(), None),
            };
            if !allowed.contains(&option.as_str()) {
                usage(&format!("unknown option {option}"));
                return None;
            }
            let Some(value) = value.or_else(|| args.next().cloned()) else {
                usage(&format!("{option} wants a value"));
                return None;
            };
            match option.as_str() {
                "--archive" => archive = Some(PathBuf::from(value)),
                "--log" => log = Some(PathBuf::from(value)),
                "--tail" => tail = Some(PathBuf::from(value)),
                _ => system_id = Some(value),
            }
        }
        let Some(archive) = archive else {
            usage("--archive is missing");
            return None;
        };
        let Ok([first, second]) = <[OsString; 2]>::try_from(rest) else {
            usage(&format!("expected {operands}"));
            return None;
        };
        Some(Parsed {
            archive,
            log,
            system_id,
            tail,
            first,
            second,
        })
    }

    /// Writes the log line; a log that cannot be written must not stop an archive or a recovery.
    fn record(
        &self,
        program: &str,
        name: &str,
        outcome: &str,
        error: Option<&Error>,
        bytes: u64,
        began: Instant,
    ) {
        if let Some(log) = &self.log
            && let Err(problem) = archive::append(log, name, outcome, error, bytes, began.elapsed())
        {
            say(
                program,
                &format!("cannot write log {}: {problem}", log.display()),
            );
        }
    }
}

fn complain(program: &str, error: Error) {
    let failure = Failure::from(error);
    say(program, &failure.message);
    if let Some(detail) = &failure.detail {
        say(program, &format!("detail: {detail}"));
    }
    if let Some(hint) = &failure.hint {
        say(program, &format!("hint: {hint}"));
    }
}

/// One line; a standard error that is closed is no reason to fail.
fn say(program: &str, text: &str) {
    let _ = writeln!(std::io::stderr(), "{program}: {text}");
}

fn guarded(program: &str, code_of_a_panic: i32, body: impl FnOnce() -> i32) -> i32 {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| {
        say(program, "internal error");
        code_of_a_panic
    })
}
