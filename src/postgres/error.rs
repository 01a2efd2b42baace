//! What can go wrong with PostgreSQL's files and installations.

use std::io;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Kind};

/// An error of the `postgres` module.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No server installation was found anywhere.
    #[error("no PostgreSQL server found")]
    NoneFound {
        /// The places that were searched.
        looked: Vec<String>,
    },
    /// Other majors are installed, the wanted one is not.
    #[error("PostgreSQL {wanted} is not installed")]
    NotInstalled { wanted: u32, installed: Vec<u32> },
    /// The installation is older than anything rpitr supports.
    #[error("PostgreSQL {version} in {} is too old", bin_dir.display())]
    TooOld { version: String, bin_dir: PathBuf },
    /// A directory that should hold a server installation does not.
    #[error("{} is not a PostgreSQL bin directory: {reason}", bin_dir.display())]
    NotAnInstall { bin_dir: PathBuf, reason: String },
    /// Text that is not what PostgreSQL writes.
    #[error("cannot understand {what}: {reason}")]
    Parse { what: String, reason: String },
    /// An incremental backup, which has to be combined before it can be used.
    #[error("the backup is incremental (it depends on the backup that starts at {from})")]
    Incremental { from: String },
    /// A setting name or value that a configuration file cannot hold.
    #[error("setting \"{name}\" cannot be written: {reason}")]
    BadSetting { name: String, reason: String },
    /// The file system.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn io(
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

    pub(crate) fn parse(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Error::Parse {
            what: what.into(),
            reason: reason.into(),
        }
    }
}

/// How to install a server, for the systems people use.
const INSTALL_HINT: &str = "install it (Debian, Ubuntu: apt install postgresql; Fedora, RHEL: dnf install \
     postgresql-server; macOS: brew install postgresql@17), or set RPITR_PG_BIN to a bin directory";

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::NoneFound { looked } => Failure::new(Kind::Environment, message)
                .code("no_postgres")
                .detail(format!("looked in {}", looked.join(", ")))
                .hint(INSTALL_HINT),
            Error::NotInstalled { installed, .. } => {
                let majors: Vec<String> = installed.iter().map(u32::to_string).collect();
                Failure::new(Kind::Environment, message)
                    .code("postgres_version")
                    .detail(if majors.is_empty() {
                        "no PostgreSQL server is installed".to_string()
                    } else {
                        format!("installed: {}", majors.join(", "))
                    })
                    .hint("ask for an installed version, or install that one beside it")
            }
            Error::TooOld { .. } => Failure::new(Kind::Environment, message)
                .code("postgres_too_old")
                .hint(format!(
                    "rpitr needs PostgreSQL {} or newer",
                    super::OLDEST_MAJOR
                )),
            Error::NotAnInstall { .. } => Failure::new(Kind::Environment, message)
                .code("not_an_install")
                .hint("it must hold the programs postgres, initdb and pg_basebackup"),
            Error::Parse { .. } => Failure::new(Kind::Postgres, message).code("unexpected_format"),
            Error::Incremental { .. } => Failure::new(Kind::Archive, message)
                .code("incremental_backup")
                .hint("combine it with its predecessors first: pg_combinebackup"),
            Error::BadSetting { .. } => Failure::new(Kind::Arg, message).code("setting"),
            Error::Io {
                doing,
                path,
                source,
            } => Failure::io(doing, path, &source),
        }
    }
}
