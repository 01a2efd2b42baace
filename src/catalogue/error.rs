//! What can go wrong with a catalogue itself; what is wrong with WAL is a finding in it.

use std::path::{Path, PathBuf};

use crate::archive;
use crate::failure::{Failure, Kind};
use crate::wal;

/// An error of the catalogue.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("catalogue {}: {error}", path.display())]
    Sqlite {
        path: PathBuf,
        error: rusqlite::Error,
    },
    #[error("catalogue {} belongs to {known}, not to {}", path.display(), dir.display())]
    OtherDirectory {
        path: PathBuf,
        known: String,
        dir: PathBuf,
    },
    #[error("catalogue {} was written by a newer version of rpitr", path.display())]
    Newer { path: PathBuf },
    #[error(transparent)]
    Archive(#[from] archive::Error),
    #[error(transparent)]
    Wal(#[from] wal::Error),
}

impl Error {
    pub(super) fn sqlite(path: &Path) -> impl Fn(rusqlite::Error) -> Error + '_ {
        move |error| Error::Sqlite {
            path: path.to_path_buf(),
            error,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let failure = Failure::new(Kind::Archive, error.to_string());
        match error {
            Error::Sqlite { .. } => failure
                .code("catalogue")
                .hint("name another file with --catalogue; a catalogue that is removed is made anew from the directory"),
            Error::OtherDirectory { .. } => failure
                .code("catalogue")
                .hint("give each directory a catalogue of its own"),
            Error::Newer { .. } => failure
                .code("catalogue")
                .hint("use that version, or another file with --catalogue"),
            Error::Archive(error) => error.into(),
            Error::Wal(error) => error.into(),
        }
    }
}
