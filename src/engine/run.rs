//! One run: boots the engine, drives the script's main task, renders its error, yields an exit code.

use std::fmt;
use std::io::{self, Write};
use std::rc::Rc;

use mlua::{Function, Table, Value};
use tokio::task::LocalSet;

use super::error_value::ErrorValue;
use super::loader::Source;
use super::options::{ErrorFormat, RunOptions};
use super::render::{RenderOptions, render, render_json};
use super::scope::{CONTEXT, TaskContext};
use super::signals::{self, Deadline, Roots};
use super::state::Engine;
use crate::exit;
use crate::failure::{Failure, Kind};
use crate::report::{ColorChoice, Printer};

/// What to do with a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// Run it, or the drill it returns.
    Run,
    /// Print what the drill declares.
    Help,
    /// Parse it and check the drill's header.
    Check,
    /// An interactive session; the first argument, if any, is the lab to attach to.
    Repl,
    /// Run the tests it declares; the first argument, if any, selects them by name.
    Test,
}

/// How many tests of a file passed, failed, were skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        match self.skipped {
            0 => Ok(()),
            skipped => write!(f, ", {skipped} skipped"),
        }
    }
}

/// How a run ended.
#[derive(Debug, Default)]
pub struct Outcome {
    pub code: i32,
    /// Set when the tests of a file were run.
    pub tally: Option<Tally>,
    /// Whether the user asked to skip cleanup (a second Ctrl-C).
    pub cleanup_skipped: bool,
    /// What a script that was only checked is, or why it could not be loaded.
    pub checked: Option<Result<String, ErrorValue>>,
}

/// Runs a source to its end.
pub fn run(
    options: RunOptions,
    program: Program,
    source: &Source,
    arguments: &[String],
) -> Outcome {
    let printer = Rc::new(Printer::new(options.color, options.quiet));
    let roots = Roots::default();
    let deadline = options.timeout.map(|after| Deadline {
        after,
        spent: options.spent,
    });
    let _watcher = signals::watch(roots.clone(), deadline, notice);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            printer.notice(&format!(
                "error[internal]: cannot start the I/O driver: {error}"
            ));
            return Outcome {
                code: exit::INTERNAL,
                ..Outcome::default()
            };
        }
    };
    let local = LocalSet::new();
    let job = drive(
        options.clone(),
        printer.clone(),
        roots.clone(),
        program,
        source,
        arguments,
    );
    let mut outcome = local.block_on(&runtime, job).unwrap_or_else(|error| {
        printer.notice(&format!("error[internal]: {error}"));
        Outcome {
            code: exit::INTERNAL,
            ..Outcome::default()
        }
    });
    let _ = io::stdout().flush();
    outcome.cleanup_skipped = roots.hard.reason().is_some();
    outcome
}

async fn drive(
    options: RunOptions,
    printer: Rc<Printer>,
    roots: Roots,
    program: Program,
    source: &Source,
    arguments: &[String],
) -> mlua::Result<Outcome> {
    let options = RunOptions {
        inspecting: matches!(program, Program::Help | Program::Check)
            || (options.dry_run && matches!(program, Program::Run)),
        ..options
    };
    let engine = Engine::boot(options, printer, roots)?;
    let lua = &engine.lua;
    let request = lua.create_table()?;
    request.raw_set(
        "program",
        match program {
            Program::Run => "run",
            Program::Help => "help",
            Program::Check => "check",
            Program::Repl => "repl",
            Program::Test => "test",
        },
    )?;
    request.raw_set("source", source.text.as_str())?;
    request.raw_set("name", source.name.as_str())?;
    request.raw_set(
        "folder",
        source
            .folder
            .as_ref()
            .map(|folder| folder.display().to_string()),
    )?;
    request.raw_set("arguments", arguments)?;

    let main: Function = engine.boot.get("main")?;
    let context = TaskContext::new(engine.shared.next_id(), engine.shared.soft_scope.clone());
    let future = lua.create_thread(main)?.into_async::<Table>(request)?;
    let outcome = CONTEXT.scope(context, future).await?;
    engine.shared.printer.progress(None);
    let tally = outcome.get::<Option<Table>>("tally")?.map(read_tally);
    let tally = tally.transpose()?;
    if let (Some(tally), Program::Run) = (tally, program) {
        engine.shared.printer.line(&tally.to_string());
    }
    let checked = match (program, failure(&outcome)) {
        (Program::Check, Some(error)) => Some(Err(error)),
        (Program::Check, None) => Some(Ok(outcome.get("summary")?)),
        _ => None,
    };
    let code = match checked {
        Some(_) => exit::PASS,
        None => conclude(&engine, source, &outcome),
    };
    Ok(Outcome {
        code,
        tally,
        checked,
        ..Outcome::default()
    })
}

/// The error that ended the program.
fn failure(outcome: &Table) -> Option<ErrorValue> {
    match outcome.raw_get::<Value>("error") {
        Ok(Value::Nil) | Err(_) => None,
        Ok(value) => Some(ErrorValue::read(&value)),
    }
}

fn read_tally(table: Table) -> mlua::Result<Tally> {
    Ok(Tally {
        passed: table.get("passed")?,
        failed: table.get("failed")?,
        skipped: table.get("skipped")?,
    })
}

/// Shows the error, if any, and picks the exit code.
fn conclude(engine: &Engine, source: &Source, outcome: &Table) -> i32 {
    let options = &engine.shared.options;
    let printer = &engine.shared.printer;
    let leftovers = outcome.raw_get::<i64>("cleanup_failures").unwrap_or(0);
    let declared = outcome.raw_get::<Option<i32>>("code").ok().flatten();
    match failure(outcome) {
        None => match declared {
            Some(code) if code != exit::PASS => code,
            _ if leftovers > 0 => exit::CLEANUP,
            _ => exit::PASS,
        },
        Some(error) => {
            let text = match options.error_format {
                ErrorFormat::Human => {
                    let lookup = |name: &str| (name == source.name).then(|| source.text.clone());
                    render(
                        &error,
                        &lookup,
                        RenderOptions {
                            color: printer.error_color(),
                            trace: options.trace,
                        },
                    )
                }
                ErrorFormat::Json => render_json(&error),
            };
            printer.notice(&text);
            declared.unwrap_or_else(|| exit::for_error(&error.kind, error.code.as_deref()))
        }
    }
}

/// Prints from the signal thread, over whatever progress line is there.
fn notice(text: &str) {
    let terminal = io::IsTerminal::is_terminal(&io::stderr());
    let _ = writeln!(
        io::stderr().lock(),
        "{}rpitr: {text}",
        if terminal { "\r\x1b[K" } else { "" }
    );
}

/// Shows a failure that happened before or outside any script.
pub fn show_failure(failure: &Failure, color: ColorChoice, format: ErrorFormat) -> i32 {
    let printer = Printer::new(color, false);
    let mut error = ErrorValue {
        kind: failure.kind.name().into(),
        code: failure.code.clone(),
        message: failure.message.clone(),
        detail: failure.detail.clone(),
        hint: failure.hint.clone(),
        ..ErrorValue::default()
    };
    let code = exit::for_error(&error.kind, error.code.as_deref());
    if failure.kind == Kind::Arg {
        // "usage" is how the exit code is chosen; a person needs no tag for it.
        error.code = error.code.filter(|code| code != "usage");
    }
    let text = match format {
        ErrorFormat::Human => render(
            &error,
            &|_| None,
            RenderOptions {
                color: printer.error_color(),
                trace: false,
            },
        ),
        ErrorFormat::Json => render_json(&error),
    };
    printer.notice(&text);
    code
}
