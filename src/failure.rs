//! The one shape every domain error takes before a user sees it.
//!
//! Each domain module (`sql`, `wal`, `archive`, `postgres`, `runtime`) has its own error
//! enum that callers can match on. At the edge (the Lua bindings and the command line) it becomes a
//! [`Failure`], which carries what a person needs: what kind of thing went wrong, the object,
//! the reason and the next action. The engine turns a `Failure` into a Lua error table with the
//! same fields; the renderer prints it.

use std::fmt;

/// What went wrong, as scripts test it: `err.is(e, "sql")`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A wrong argument, option or flag.
    Arg,
    /// The object is not in a state that allows the operation.
    State,
    /// A deadline passed.
    Timeout,
    /// The task was cancelled by the script.
    Cancelled,
    /// The user interrupted the run.
    Interrupted,
    /// The file system or the network.
    Io,
    /// The machine lacks something rpitr needs: no PostgreSQL, port taken, disk full.
    Environment,
    /// A server or a PostgreSQL program failed.
    Postgres,
    /// SQL; `code` is the SQLSTATE.
    Sql,
    /// WAL that is damaged, foreign or missing.
    Wal,
    /// The archive or a backup in it.
    Archive,
    /// A verification found a difference.
    Verify,
    /// A check or an assertion of the script.
    Assert,
    /// An error of the script itself.
    Script,
    /// A defect of rpitr.
    Internal,
}

impl Kind {
    pub const ALL: [Kind; 15] = [
        Kind::Arg,
        Kind::State,
        Kind::Timeout,
        Kind::Cancelled,
        Kind::Interrupted,
        Kind::Io,
        Kind::Environment,
        Kind::Postgres,
        Kind::Sql,
        Kind::Wal,
        Kind::Archive,
        Kind::Verify,
        Kind::Assert,
        Kind::Script,
        Kind::Internal,
    ];

    /// The name scripts see.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Arg => "arg",
            Kind::State => "state",
            Kind::Timeout => "timeout",
            Kind::Cancelled => "cancelled",
            Kind::Interrupted => "interrupted",
            Kind::Io => "io",
            Kind::Environment => "environment",
            Kind::Postgres => "postgres",
            Kind::Sql => "sql",
            Kind::Wal => "wal",
            Kind::Archive => "archive",
            Kind::Verify => "verify",
            Kind::Assert => "assert",
            Kind::Script => "script",
            Kind::Internal => "internal",
        }
    }
}

/// An error in the form users see. Messages are lowercase fragments without a final period
/// that name the object; `hint` is an action.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    pub kind: Kind,
    /// A finer class inside the kind: the SQLSTATE, or a stable word such as `missing_segment`.
    pub code: Option<String>,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
    /// Whether trying again unchanged may succeed.
    pub retryable: bool,
    pub cause: Option<Box<Failure>>,
}

impl Failure {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Failure {
            kind,
            code: None,
            message: message.into(),
            detail: None,
            hint: None,
            retryable: false,
            cause: None,
        }
    }

    pub fn code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }

    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }

    pub fn caused_by(mut self, cause: impl Into<Failure>) -> Self {
        self.cause = Some(Box::new(cause.into()));
        self
    }

    /// An I/O error on a named path, with the hints people need most often.
    pub fn io(doing: &str, path: impl AsRef<std::path::Path>, error: &std::io::Error) -> Self {
        let path = path.as_ref().display();
        let failure = Failure::new(Kind::Io, format!("cannot {doing} {path}: {error}"));
        match error.raw_os_error() {
            Some(nix::libc::ENOSPC) => Failure {
                kind: Kind::Environment,
                ..failure
            }
            .code("disk_full")
            .hint("free space on that disk, or point RPITR_STATE at another one"),
            Some(nix::libc::EACCES) => failure.code("permission_denied"),
            Some(nix::libc::ENOENT) => failure.code("not_found"),
            _ => failure,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)
    }
}

impl std::error::Error for Failure {}
