//! What can go wrong around writers; what goes wrong inside one is an outcome, not an error.

use std::path::PathBuf;

use crate::failure::{Failure, Kind};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("line {number} of {} is not an operation: {reason}", path.display())]
    Line {
        path: PathBuf,
        number: usize,
        reason: String,
    },
    #[error("the writers' thread ended early: {0}")]
    Thread(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match &error {
            Error::Io {
                doing,
                path,
                source,
            } => Failure::io(doing, path, source),
            Error::Line { .. } => Failure::new(Kind::Verify, error.to_string())
                .code("bad_log")
                .hint("the log was changed after the run; only a torn last line is expected"),
            Error::Thread(_) => Failure::new(Kind::Internal, error.to_string()),
        }
    }
}
