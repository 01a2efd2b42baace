//! `rpitr wal`: what is in an archive, whether it is whole, what happened in it.
//!
//! Exit codes: 0 when everything that was read is sound, 10 when a file is damaged or missing, 2
//! for a wrong argument, 12 when the machine lacks something. What was read before the damage is shown.

mod args;
mod commits;
mod filter;
mod find;
mod ls;
mod output;
mod snapshot;
mod stats;
mod timeline;
mod verify;
mod watch;

pub use args::WalCommand;

use self::output::Output;
use super::args::Global;
use crate::engine::show_failure;
use crate::exit;
use crate::failure::{Failure, Kind};
use crate::runtime::{Source, open_source};

/// Runs one WAL command to an exit code.
pub fn run(command: &WalCommand, global: &Global) -> i32 {
    if let WalCommand::Watch(watch) = command {
        return watch::run(watch, global);
    }
    let (place, json) = command.place();
    let mut output = Output::new(global, json);
    let outcome = open(place).and_then(|source| dispatch(command, &source, &mut output));
    let code = outcome.unwrap_or_else(|failure| {
        output.finish();
        let code = show_failure(&failure, global.color, global.error_format);
        code_of(&failure).unwrap_or(code)
    });
    output.finish();
    if output.closed() {
        exit::BROKEN_PIPE
    } else {
        code
    }
}

fn dispatch(command: &WalCommand, source: &Source, output: &mut Output) -> Result<i32, Failure> {
    match command {
        WalCommand::Ls(args) => ls::run(args, source, output),
        WalCommand::Stats(args) => stats::run(args, source, output),
        WalCommand::Verify(args) => verify::run(args, source, output),
        WalCommand::Commits(args) => commits::run(args, source, output),
        WalCommand::Find(args) => find::run(args, source, output),
        WalCommand::Timeline(args) => timeline::run(args, source, output),
        WalCommand::Snapshot(args) => snapshot::run(args, source, output),
        // It opens its place itself, and goes on.
        WalCommand::Watch(_) => Ok(exit::PASS),
    }
}

/// Damage is what these commands look for; a name that does not exist is a wrong argument.
fn code_of(failure: &Failure) -> Option<i32> {
    match failure.kind {
        Kind::Wal | Kind::Archive => Some(exit::FAILED),
        Kind::Arg => Some(exit::USAGE),
        Kind::Io if failure.code.as_deref() == Some("not_found") => Some(exit::USAGE),
        _ => None,
    }
}

fn open(place: &str) -> Result<Source, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Kind::Internal, error.to_string()))?;
    tokio::task::LocalSet::new().block_on(&runtime, open_source(place))
}
