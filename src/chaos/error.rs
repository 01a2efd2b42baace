//! What can go wrong with faults and their healing.

use std::io;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use crate::failure::{Failure, Kind};
use crate::runtime;

/// An error of the `chaos` module.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(transparent)]
    Runtime(#[from] runtime::Error),
    /// A line in the middle of a journal cannot be read.
    #[error("journal {} cannot be read: line {line}: {reason}", path.display())]
    BadJournal {
        path: PathBuf,
        line: usize,
        reason: String,
    },
    #[error("the guardian of {} did not start: {reason}", path.display())]
    NoGuardian { path: PathBuf, reason: String },
    #[error("{what} could not be undone: {reason}")]
    Undo { what: String, reason: String },
    /// A supervised process was killed while it had no run to go on with: before, or after the verdict.
    #[error("rpitr was killed by {signal} when no run was under way")]
    NothingToResume { signal: Signal },
    #[error("rpitr was killed {times} times, the last time by {signal}")]
    KilledTooOften { signal: Signal, times: u32 },
    #[error("somebody else has been healing {} for {seconds} s", path.display())]
    Busy { path: PathBuf, seconds: u64 },
    #[error("the proxy to {target} cannot listen on {address}: {source}")]
    Listen {
        target: String,
        address: String,
        source: io::Error,
    },
}

impl Error {
    pub(super) fn io(
        doing: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Error::Io {
            doing,
            path,
            source,
        }
    }

    pub(super) fn undo(what: impl Into<String>, reason: impl ToString) -> Self {
        Error::Undo {
            what: what.into(),
            reason: reason.to_string(),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::Io {
                doing,
                path,
                source,
            } => Failure::io(doing, path, &source),
            Error::Runtime(error) => error.into(),
            Error::BadJournal { .. } => Failure::new(Kind::State, text)
                .code("bad_journal")
                .hint("look at the servers it names, then remove the file"),
            Error::NoGuardian { .. } => Failure::new(Kind::Environment, text).code("no_guardian"),
            Error::Undo { .. } => Failure::new(Kind::State, text)
                .code("heal_failed")
                .hint("rpitr chaos heal tries again; rpitr lab rm removes the lab"),
            Error::NothingToResume { .. } => Failure::new(Kind::State, text)
                .code("killed")
                .hint("start it again: nothing is there to go on with"),
            Error::KilledTooOften { .. } => Failure::new(Kind::State, text)
                .code("killed")
                .hint("rpitr chaos resume DIR goes on with the run"),
            Error::Busy { .. } => Failure::new(Kind::State, text).code("busy"),
            Error::Listen { .. } => Failure::new(Kind::Environment, text).code("listen"),
        }
    }
}
