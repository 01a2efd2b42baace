//! What can go wrong before a single record is read.

use std::io;
use std::path::PathBuf;

use super::End;
use crate::failure::{Failure, Kind};

/// An error of the WAL reader.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {doing} {}: {error}", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        error: io::Error,
    },
    #[error("no WAL segments in {}", dir.display())]
    NoSegments { dir: PathBuf },
    #[error("no segment in {} has a header that can be read", dir.display())]
    NoReadableHeader { dir: PathBuf },
    #[error("{} has page magic {magic:04X}, which no supported PostgreSQL (13 to 18) writes", path.display())]
    UnknownMagic { path: PathBuf, magic: u16 },
    #[error("{} has pages of {page_size} bytes; only 8192 is supported", path.display())]
    PageSize { path: PathBuf, page_size: u32 },
    #[error("no history file for timeline {timeline} in {}", dir.display())]
    MissingHistory { timeline: u32, dir: PathBuf },
    #[error("history file of timeline {timeline} is damaged: line {line}: {problem}")]
    BadHistory {
        timeline: u32,
        line: usize,
        problem: &'static str,
    },
    #[error("{0}")]
    Damage(#[from] Box<End>),
}

impl Error {
    pub(super) fn io(doing: &'static str, path: impl Into<PathBuf>, error: io::Error) -> Self {
        Error::Io {
            doing,
            path: path.into(),
            error,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let failure = Failure::new(Kind::Wal, error.to_string());
        match error {
            Error::Io { doing, path, error } => Failure::io(doing, path, &error),
            Error::NoSegments { .. } => failure
                .code("no_segments")
                .hint("name the directory that holds the archived WAL files"),
            Error::NoReadableHeader { .. } => failure
                .code("header")
                .hint("check the files with `rpitr wal verify`; compressed files must be unpacked first"),
            Error::UnknownMagic { .. } => failure
                .code("magic")
                .hint("read these files with the pg_waldump of the server that wrote them"),
            Error::PageSize { .. } => failure
                .code("page_size")
                .hint("this server was built with another --with-wal-blocksize; rpitr cannot read its WAL"),
            Error::MissingHistory { timeline, .. } => failure.code("missing_history").hint(format!(
                "copy {timeline:08X}.history from the server or from another copy of the archive"
            )),
            Error::BadHistory { timeline, .. } => failure.code("bad_history").hint(format!(
                "copy {timeline:08X}.history from the server or from another copy of the archive"
            )),
            Error::Damage(end) => (*end).into(),
        }
    }
}
