//! What can go wrong with an archive.

use std::io;
use std::path::PathBuf;

use crate::failure::{Failure, Kind};
use crate::wal::{self, End, Lsn};

/// An error of the archive.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {doing} {}: {error}", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        error: io::Error,
    },
    #[error("\"{name}\" is not the name of a WAL file")]
    Name { name: String },
    #[error("{name} is already in the archive with different content")]
    Conflict { name: String },
    #[error("{name} belongs to cluster {found}, but the archive belongs to cluster {expected}")]
    ForeignSystem {
        name: String,
        found: u64,
        expected: u64,
    },
    #[error(
        "{name} comes from PostgreSQL {found}, but the archive holds WAL of PostgreSQL {expected}"
    )]
    Version {
        name: String,
        found: u16,
        expected: u16,
    },
    #[error("{name} has {found} bytes instead of {expected}")]
    WrongSize {
        name: String,
        found: u64,
        expected: u64,
    },
    #[error("{name} does not begin with a WAL page header")]
    NoHeader { name: String },
    #[error("{name} holds WAL from {found}, not from {expected}: it is misnamed")]
    Misnamed {
        name: String,
        found: Lsn,
        expected: Lsn,
    },
    #[error("{name} begins with a page of timeline {found}")]
    Timeline { name: String, found: u32 },
    #[error("{name} is damaged: {problem}")]
    BadText { name: String, problem: String },
    #[error("{name} is damaged at {}: {}", end.lsn, end.reason)]
    Damaged {
        name: String,
        end: Box<End>,
        evidence: String,
    },
    /// Proved absent: the directory was listed and nothing says the file should be there.
    #[error("{name} is not in the archive")]
    Absent { name: String },
    #[error("{name} is missing from the archive: {evidence}")]
    Hole { name: String, evidence: String },
    #[error("{name} is missing from the archive: {evidence}")]
    MissingHistory { name: String, evidence: String },
    #[error("{name} is in the archive only as {found}")]
    Compressed { name: String, found: String },
    #[error("{} cannot be understood: {problem}", path.display())]
    BadIdentity { path: PathBuf, problem: String },
    #[error("snapshot {} cannot be used: {problem}", path.display())]
    BadSnapshot { path: PathBuf, problem: String },
    #[error("{0}")]
    Wal(#[from] wal::Error),
}

impl Error {
    pub(super) fn io(doing: &'static str, path: impl Into<PathBuf>, error: io::Error) -> Self {
        Error::Io {
            doing,
            path: path.into(),
            error,
        }
    }

    /// A stable word for each error.
    pub fn code(&self) -> &'static str {
        match self {
            Error::Io { error, .. } => match error.kind() {
                io::ErrorKind::StorageFull => "disk_full",
                io::ErrorKind::PermissionDenied => "permission_denied",
                io::ErrorKind::NotFound => "not_found",
                _ => "io",
            },
            Error::Name { .. } => "name",
            Error::Conflict { .. } => "conflict",
            Error::ForeignSystem { .. } => "foreign_system",
            Error::Version { .. } => "version",
            Error::WrongSize { found: 0, .. } => "empty",
            Error::WrongSize { .. } => "wrong_size",
            Error::NoHeader { .. } => "header",
            Error::Misnamed { .. } => "misnamed",
            Error::Timeline { .. } => "timeline",
            Error::BadText { .. } => "bad_text",
            Error::Damaged { end, .. } => end.reason.code(),
            Error::Absent { .. } => "absent",
            Error::Hole { .. } => "missing_segment",
            Error::MissingHistory { .. } => "missing_history",
            Error::Compressed { .. } => "compressed",
            Error::BadIdentity { .. } => "bad_identity",
            Error::BadSnapshot { .. } => "bad_snapshot",
            Error::Wal(_) => "wal",
        }
    }

    /// What `restore_command` must exit with. PostgreSQL reads 1 to 125 as "the file does not
    /// exist, so the WAL ends here" and promotes; only higher codes abort the recovery
    /// (`RestoreArchivedFile` in `xlogarchive.c`).
    pub fn fetch_exit_code(&self) -> i32 {
        match self {
            Error::Absent { .. } => 1,
            _ => 255,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = error.code();
        let failure = Failure::new(Kind::Archive, error.to_string()).code(code);
        match error {
            Error::Io { doing, path, error } => {
                let failure = Failure::io(doing, path, &error);
                match code {
                    "disk_full" => failure.hint("free space on the disk of the archive"),
                    "not_found" => failure.hint("create the archive directory or mount its disk"),
                    "permission_denied" => {
                        failure.hint("the account PostgreSQL runs as needs access to the archive")
                    }
                    _ => failure,
                }
            }
            Error::Name { .. } => failure.hint("pass %f as PostgreSQL gives it"),
            Error::Conflict { .. } => failure.hint(
                "two servers write to this archive, or it was not empty; give each cluster its own",
            ),
            Error::ForeignSystem { .. } | Error::Version { .. } => {
                failure.hint("give each cluster an archive directory of its own")
            }
            Error::Damaged { evidence, .. } => failure
                .detail(evidence)
                .hint("restore the file from another copy of the archive"),
            Error::Hole { .. } | Error::MissingHistory { .. } => failure.hint(
                "restore the file from another copy of the archive or from the server's pg_wal, or recover to a target before it",
            ),
            Error::WrongSize { .. }
            | Error::NoHeader { .. }
            | Error::Misnamed { .. }
            | Error::Timeline { .. }
            | Error::BadText { .. } => {
                failure.hint("restore the file from another copy of the archive")
            }
            Error::Compressed { .. } => failure.hint("unpack the file beside the compressed one"),
            Error::BadIdentity { .. } => {
                failure.hint("remove that file; the next push writes it anew")
            }
            Error::BadSnapshot { .. } => {
                failure.hint("take another with rpitr wal snapshot, or restore without it")
            }
            Error::Absent { .. } => failure,
            Error::Wal(error) => error.into(),
        }
    }
}
