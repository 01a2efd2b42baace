//! What a run shows and leaves behind: the printer, and the files of `--report`.

mod checklist;
mod diff;
mod document;
mod history;
mod html;
mod junit;
mod metrics;
mod picture;
mod plot;
mod printer;
mod write;

pub use diff::{Change, Difference, diff};
pub use document::{Document, SCHEMA};
pub use history::{History, Run, median};
pub use printer::{Above, ColorChoice, Printer};
pub use write::{read, write};

/// Why a report cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {action} {path}: {source}")]
    Io {
        action: &'static str,
        path: String,
        source: std::io::Error,
    },
    #[error("{path} is not a report of rpitr: {reason}")]
    Unreadable { path: String, reason: String },
    #[error("{path} has report schema {found}; this rpitr reads up to {known}")]
    Newer {
        path: String,
        found: u64,
        known: u64,
    },
    #[error("cannot render the report: {0}")]
    Render(String),
    #[error("the history of runs: {0}")]
    History(#[from] rusqlite::Error),
}

impl From<Error> for crate::failure::Failure {
    fn from(error: Error) -> Self {
        use crate::failure::{Failure, Kind};
        let kind = match error {
            Error::Io { .. } | Error::History(_) => Kind::Io,
            Error::Unreadable { .. } | Error::Newer { .. } => Kind::Arg,
            Error::Render(_) => Kind::Internal,
        };
        Failure::new(kind, error.to_string())
    }
}
