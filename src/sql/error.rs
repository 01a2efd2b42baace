//! Errors of the SQL layer and how a user sees them.
//!
//! No variant ever holds a password or a whole connection string: messages are built from
//! `user@host:port/dbname` only.

use std::time::Duration;

use tokio_postgres::error::{DbError, ErrorPosition};

use crate::failure::{Failure, Kind};

/// An error the server reported.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerError {
    pub severity: String,
    /// The SQLSTATE.
    pub code: String,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
    /// 1-based character position in the statement.
    pub position: Option<u32>,
    /// The call stack inside the server (PL/pgSQL and the like).
    pub context: Option<String>,
    pub schema: Option<String>,
    pub table: Option<String>,
    pub column: Option<String>,
    pub data_type: Option<String>,
    pub constraint: Option<String>,
}

/// A notice or warning: the same fields, but the statement went on.
pub type Notice = ServerError;

impl From<&DbError> for ServerError {
    fn from(error: &DbError) -> ServerError {
        let text = |field: Option<&str>| field.map(str::to_string);
        ServerError {
            // Servers translate the other form.
            severity: match error.parsed_severity() {
                Some(severity) => severity.to_string(),
                None => error.severity().to_string(),
            },
            code: error.code().code().to_string(),
            message: error.message().to_string(),
            detail: text(error.detail()),
            hint: text(error.hint()),
            position: match error.position() {
                Some(ErrorPosition::Original(position)) => Some(*position),
                _ => None,
            },
            context: text(error.where_()),
            schema: text(error.schema()),
            table: text(error.table()),
            column: text(error.column()),
            data_type: text(error.datatype()),
            constraint: text(error.constraint()),
        }
    }
}

impl ServerError {
    /// Whether the server ends the session with it.
    pub(crate) fn is_fatal(&self) -> bool {
        matches!(self.severity.as_str(), "FATAL" | "PANIC")
    }

    /// A prepared statement that no longer fits the server's schema or session.
    pub(crate) fn is_stale_statement(&self) -> bool {
        self.code == "26000"
            || (self.code == "0A000" && self.message.contains("must not change result type"))
    }
}

/// What can go wrong between a script and a server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server refused or aborted a statement.
    #[error("{}", .0.message)]
    Server(Box<ServerError>),

    /// Settings that cannot be used.
    #[error("{message}")]
    Config {
        message: String,
        hint: Option<String>,
    },

    /// No connection to the server was made.
    #[error("cannot connect to {target}: {reason}")]
    Connect {
        target: String,
        reason: String,
        hint: Option<String>,
        retryable: bool,
    },

    /// TLS was refused, or the certificate was.
    #[error("cannot connect to {target} with TLS: {reason}")]
    Tls {
        target: String,
        reason: String,
        hint: Option<String>,
    },

    /// The server asked for something that this client cannot or will not give.
    #[error("cannot log in as {target}: {reason}")]
    Auth {
        target: String,
        reason: String,
        hint: Option<String>,
    },

    /// The connection broke under a statement.
    #[error("the connection to {target} was lost: {reason}")]
    Lost { target: String, reason: String },

    /// The connection was closed before the call.
    #[error("the connection to {target} is closed")]
    Closed { target: String },

    /// A deadline of this layer passed.
    #[error("{what} took longer than {after:?}")]
    Timeout { what: String, after: Duration },

    /// The server sent something that has no meaning here.
    #[error("unexpected message from the server: {0}")]
    Protocol(String),

    /// The number of parameters differs from the number of placeholders.
    #[error("the statement has {expected} parameter{}, but {got} {} given",
        if *.expected == 1 { "" } else { "s" }, if *.got == 1 { "was" } else { "were" })]
    ParameterCount { expected: usize, got: usize },

    /// A parameter that cannot be sent as the type the server expects.
    #[error("parameter ${number} ({type_name}): {message}")]
    Parameter {
        number: usize,
        type_name: String,
        message: String,
    },

    /// The connection is in use in a way that excludes the call.
    #[error("{message}")]
    State { message: String, hint: String },
}

/// Shorthand for this layer.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The SQLSTATE, where there is one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Error::Server(error) => Some(&error.code),
            Error::Connect { .. } | Error::Tls { .. } => Some("08001"),
            Error::Auth { .. } => Some("28000"),
            Error::Lost { .. } => Some("08006"),
            Error::Closed { .. } => Some("08003"),
            Error::Protocol(_) => Some("08P01"),
            _ => None,
        }
    }

    /// What the server said, if it was the server.
    pub fn server(&self) -> Option<&ServerError> {
        match self {
            Error::Server(error) => Some(error),
            _ => None,
        }
    }

    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Error::Server(error) => {
                matches!(
                    error.code.as_str(),
                    "40001" | "40P01" | "53300" | "57P01" | "57P02" | "57P03"
                ) || error.code.starts_with("08")
            }
            Error::Connect { retryable, .. } => *retryable,
            Error::Lost { .. } | Error::Closed { .. } | Error::Timeout { .. } => true,
            _ => false,
        }
    }

    pub(crate) fn config(message: impl Into<String>) -> Error {
        Error::Config {
            message: message.into(),
            hint: None,
        }
    }

    pub(crate) fn config_hint(message: impl Into<String>, hint: impl Into<String>) -> Error {
        Error::Config {
            message: message.into(),
            hint: Some(hint.into()),
        }
    }
}

/// Advice for the refusals that people meet most.
fn advice(code: &str) -> Option<&'static str> {
    Some(match code {
        "28P01" => "check the password: PGPASSWORD, ~/.pgpass or the connection settings",
        "28000" => {
            "check pg_hba.conf on the server: user, database, address and TLS must match a line"
        }
        "3D000" => "check dbname: the default is the user's name",
        "53300" => "close connections, or raise max_connections",
        "57P03" => "the server is starting, stopping or not yet consistent: try again",
        _ => return None,
    })
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let message = error.to_string();
        let retryable = error.is_retryable();
        let code = error.code().map(str::to_string);
        let (kind, word, detail, hint) = match error {
            Error::Server(server) => {
                let hint = server
                    .hint
                    .or_else(|| advice(&server.code).map(str::to_string));
                (Kind::Sql, None, server.detail, hint)
            }
            Error::Config { hint, .. } => (Kind::Arg, Some("connection"), None, hint),
            Error::Connect { hint, .. } | Error::Tls { hint, .. } | Error::Auth { hint, .. } => {
                (Kind::Sql, None, None, hint)
            }
            Error::Lost { .. } => (
                Kind::Sql,
                None,
                None,
                Some(
                    "whether the last statement took effect is unknown: connect again and check"
                        .into(),
                ),
            ),
            Error::Closed { .. } => (Kind::Sql, None, None, Some("connect again".into())),
            Error::Timeout { .. } => (Kind::Timeout, None, None, None),
            Error::Protocol(_) => (Kind::Sql, None, None, None),
            Error::ParameterCount { .. } => (
                Kind::Arg,
                Some("parameter_count"),
                None,
                Some("give one value for each of $1, $2, ...".into()),
            ),
            Error::Parameter { .. } => (Kind::Arg, Some("parameter"), None, None),
            Error::State { hint, .. } => (Kind::State, None, None, Some(hint)),
        };
        Failure {
            kind,
            code: code.or_else(|| word.map(str::to_string)),
            message,
            detail,
            hint,
            retryable,
            cause: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_fields_become_a_failure() {
        let error = Error::Server(Box::new(ServerError {
            code: "40001".into(),
            message: "could not serialize".into(),
            detail: Some("the detail".into()),
            hint: Some("retry it".into()),
            ..ServerError::default()
        }));
        let failure = Failure::from(error);
        assert_eq!(failure.kind, Kind::Sql);
        assert_eq!(failure.code.as_deref(), Some("40001"));
        assert_eq!(failure.detail.as_deref(), Some("the detail"));
        assert_eq!(failure.hint.as_deref(), Some("retry it"));
        assert!(failure.retryable);
    }

    #[test]
    fn stale_statements_are_recognised() {
        let stale = |code: &str, message: &str| {
            let error = ServerError {
                code: code.into(),
                message: message.into(),
                ..ServerError::default()
            };
            error.is_stale_statement()
        };
        assert!(stale("26000", "prepared statement \"s1\" does not exist"));
        assert!(stale("0A000", "cached plan must not change result type"));
        assert!(!stale("0A000", "not supported"));
    }

    #[test]
    fn parameter_count_reads_well() {
        let text = |expected, got| Error::ParameterCount { expected, got }.to_string();
        assert_eq!(
            text(1, 0),
            "the statement has 1 parameter, but 0 were given"
        );
        assert_eq!(
            text(2, 1),
            "the statement has 2 parameters, but 1 was given"
        );
    }
}
