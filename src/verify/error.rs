//! A bundle that cannot be judged at all.

use std::path::PathBuf;

use crate::failure::{Failure, Kind};
use crate::{wal, workload};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {}: {source}", path.display())]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{} is not what a run wrote: {reason}", path.display())]
    Format { path: PathBuf, reason: String },
    #[error("the run in {} did not end: there is nothing to judge", path.display())]
    Unfinished { path: PathBuf },
    #[error(transparent)]
    Log(#[from] workload::Error),
    #[error(transparent)]
    Wal(#[from] wal::Error),
}

impl Error {
    pub(super) fn io(path: &std::path::Path, source: std::io::Error) -> Error {
        Error::Io {
            path: path.to_path_buf(),
            source,
        }
    }

    pub(super) fn format(path: &std::path::Path, reason: impl ToString) -> Error {
        Error::Format {
            path: path.to_path_buf(),
            reason: reason.to_string(),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match error {
            Error::Io { path, source } => Failure::io("read", &path, &source),
            Error::Format { .. } => Failure::new(Kind::Verify, error.to_string())
                .code("bad_bundle")
                .hint("give the folder a chaos or stress run wrote"),
            Error::Unfinished { .. } => Failure::new(Kind::Verify, error.to_string())
                .code("unfinished")
                .hint("rpitr chaos resume DIR goes on with it, rpitr chaos replay DIR runs its schedule again"),
            Error::Log(error) => error.into(),
            Error::Wal(error) => error.into(),
        }
    }
}
