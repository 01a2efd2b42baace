//! What can go wrong with labs, nodes and the processes they are made of.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::failure::{Failure, Kind};
use crate::postgres;

/// An error of the `runtime` module.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Postgres(#[from] postgres::Error),
    #[error(transparent)]
    Docker(#[from] super::docker::Error),
    /// rpitr runs as root and knows no account to run servers as.
    #[error("rpitr runs as root, PostgreSQL refuses to, and there is no account \"{tried}\"")]
    NoServerUser { tried: String },
    /// `RPITR_PG_USER` names root.
    #[error("servers cannot run as \"{name}\": PostgreSQL refuses to run as root")]
    RootServerUser { name: String },
    /// Neither `RPITR_STATE` nor a home directory.
    #[error("there is no place for rpitr's state: neither RPITR_STATE nor HOME is set")]
    NoStateRoot,
    /// The server user cannot reach the state root.
    #[error("user \"{user}\" cannot enter {}, so servers cannot run under {}", blocker.display(), root.display())]
    Blocked {
        root: PathBuf,
        blocker: PathBuf,
        user: String,
    },
    #[error("no free TCP port on 127.0.0.1 between {first} and {last}")]
    NoPort { first: u16, last: u16 },
    #[error("the socket path {} is longer than {limit} bytes", path.display())]
    SocketPath { path: PathBuf, limit: usize },
    /// The server could not bind its port or socket.
    #[error("node \"{node}\" cannot start: port {port} is taken")]
    PortTaken {
        node: String,
        port: u16,
        log: String,
    },
    /// The server ended before it was up.
    #[error("node \"{node}\" did not start: {reason}")]
    StartFailed {
        node: String,
        reason: String,
        /// The FATAL entry and what led to it.
        log: String,
        retryable: bool,
    },
    #[error("node \"{node}\" was not {wanted} after {waited:.1?}")]
    StartTimeout {
        node: String,
        wanted: &'static str,
        waited: Duration,
        log: String,
    },
    #[error("node \"{node}\" did not stop ({mode}) within {waited:.1?}")]
    StopTimeout {
        node: String,
        mode: &'static str,
        waited: Duration,
        pids: Vec<i32>,
    },
    #[error("{what} did not react to a signal within {waited:.1?}")]
    Unresponsive {
        what: String,
        waited: Duration,
        pids: Vec<i32>,
    },
    #[error("node \"{node}\" is {is}; {operation} needs it {wanted}")]
    WrongState {
        node: String,
        is: String,
        operation: &'static str,
        wanted: &'static str,
    },
    #[error("node \"{node}\" is no container; {operation} works with --runtime docker only")]
    NoContainer {
        node: String,
        operation: &'static str,
    },
    #[error("cannot start {program}: {source}")]
    Spawn { program: String, source: io::Error },
    /// A program ran and failed.
    #[error("{program} failed ({status})")]
    Tool {
        program: String,
        status: String,
        stderr: String,
    },
    #[error("{program} did not finish within {after:.1?}")]
    ToolTimeout { program: String, after: Duration },
    #[error("no lab \"{id}\"")]
    UnknownLab { id: String, known: Vec<String> },
    /// It was there when it was opened.
    #[error("lab {id} is gone: it has been removed")]
    LabGone { id: String },
    #[error("lab {id} is in use by a running rpitr (process {pid})")]
    LabInUse { id: String, pid: i32 },
    #[error("\"{id}\" is the start of several labs")]
    AmbiguousLab { id: String, matching: Vec<String> },
    #[error("cannot understand the record {}: {reason}", path.display())]
    BadRecord { path: PathBuf, reason: String },
    #[error("lab {lab} has no node \"{node}\"")]
    UnknownNode { lab: String, node: String },
    #[error("lab {lab} already has a node \"{node}\"")]
    NodeExists { lab: String, node: String },
    #[error("\"{name}\" is not a name for a node")]
    BadNodeName { name: String },
    /// A directory without rpitr's marker; it is left alone.
    #[error("{} does not carry the marker of lab {lab}; it was left alone", path.display())]
    NotOurs { path: PathBuf, lab: String },
    #[error("{} is outside the lab", path.display())]
    OutsideLab { path: PathBuf, lab_dir: PathBuf },
    #[error("{} is a symbolic link to {}", path.display(), target.display())]
    Symlink { path: PathBuf, target: PathBuf },
    #[error("{} is neither a file nor a directory", path.display())]
    SpecialFile { path: PathBuf },
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// A worker thread ended early.
    #[error("a background task ended early: {0}")]
    Worker(String),
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
}

fn pid_list(pids: &[i32]) -> String {
    let pids: Vec<String> = pids.iter().map(i32::to_string).collect();
    format!("still there: process {}", pids.join(", "))
}

/// What servers and tools say (with `LC_ALL=C`) when there is no space.
const DISK_FULL: &str = "No space left on device";

fn disk_full(new: impl FnOnce(Kind, &str) -> Failure, detail: String) -> Failure {
    new(Kind::Environment, "disk_full")
        .detail(detail)
        .hint("free space on that disk, or point RPITR_STATE at another one")
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        let new = |kind, code: &str| Failure::new(kind, message).code(code);
        match error {
            Error::Postgres(error) => error.into(),
            Error::Docker(error) => error.into(),
            Error::NoServerUser { .. } => new(Kind::Environment, "no_server_user").hint(
                "run rpitr as an ordinary user, install the postgresql package (it makes the account), \
                 or set RPITR_PG_USER",
            ),
            Error::RootServerUser { .. } => new(Kind::Environment, "no_server_user")
                .hint("set RPITR_PG_USER to an ordinary account"),
            Error::NoStateRoot => new(Kind::Environment, "no_state")
                .hint("set RPITR_STATE to a directory for rpitr's labs"),
            Error::Blocked { user, .. } => new(Kind::Environment, "state_blocked").hint(format!(
                "set RPITR_STATE to a directory that user {user} can enter, or allow it (chmod o+x) there"
            )),
            Error::NoPort { .. } => new(Kind::Environment, "no_port")
                .hint("rpitr lab gc removes labs that are left over")
                .retryable(),
            Error::SocketPath { .. } => new(Kind::Environment, "socket_path"),
            Error::PortTaken { log, .. } => new(Kind::Environment, "port_taken")
                .detail(log)
                .hint("try again with another port")
                .retryable(),
            Error::StartFailed { log, .. } if log.contains(DISK_FULL) => disk_full(new, log),
            Error::StartFailed { log, retryable, .. } => Failure {
                retryable,
                ..new(Kind::Postgres, "start_failed").detail(log)
            },
            Error::StartTimeout { log, .. } => new(Kind::Timeout, "start_timeout")
                .detail(format!("last lines of its log:\n{log}"))
                .hint("the server is still running: wait longer, or stop it"),
            Error::StopTimeout { pids, mode, .. } => new(Kind::Timeout, "stop_timeout")
                .detail(pid_list(&pids))
                .hint(match mode {
                    "smart" => "smart waits for clients to leave: stop it \"fast\"",
                    "fast" => "stop it \"immediate\", or kill it",
                    _ => "kill it",
                }),
            Error::Unresponsive { pids, .. } => {
                new(Kind::Timeout, "unresponsive").detail(pid_list(&pids))
            }
            Error::WrongState { .. } => new(Kind::State, "wrong_state"),
            Error::NoContainer { .. } => new(Kind::State, "no_container"),
            Error::Spawn { .. } => new(Kind::Environment, "spawn"),
            Error::Tool { stderr, .. } if stderr.contains(DISK_FULL) => disk_full(new, stderr),
            Error::Tool { stderr, .. } => {
                let failure = new(Kind::Postgres, "tool_failed");
                match stderr.is_empty() {
                    true => failure,
                    false => failure.detail(stderr),
                }
            }
            Error::ToolTimeout { .. } => new(Kind::Timeout, "tool_timeout"),
            Error::UnknownLab { known, .. } => new(Kind::Arg, "unknown_lab").hint(if known.is_empty() {
                "there are no labs".to_string()
            } else {
                format!("labs: {}", known.join(", "))
            }),
            Error::LabGone { .. } => {
                new(Kind::State, "lab_gone").hint("rpitr lab ls lists those that are there")
            }
            Error::LabInUse { .. } => new(Kind::State, "lab_in_use")
                .hint("end that run or session first (Ctrl-C cleans up)"),
            Error::AmbiguousLab { matching, .. } => new(Kind::Arg, "ambiguous_lab")
                .hint(format!("write more of it: {}", matching.join(", "))),
            Error::BadRecord { .. } => new(Kind::State, "bad_record"),
            Error::UnknownNode { .. } => new(Kind::Arg, "unknown_node"),
            Error::NodeExists { .. } => new(Kind::Arg, "node_exists").hint("give the node another name"),
            Error::BadNodeName { .. } => new(Kind::Arg, "node_name")
                .hint("use 1 to 40 lower-case letters, digits, \"-\" and \"_\", a letter first"),
            Error::NotOurs { .. } => new(Kind::State, "not_ours")
                .hint("look at it, and remove it by hand if it is not needed"),
            Error::OutsideLab { lab_dir, .. } => new(Kind::Arg, "outside_lab")
                .hint(format!("rpitr changes files only under {}", lab_dir.display())),
            Error::Symlink { .. } => new(Kind::State, "symlink").hint(
                "following it could touch the original: map tablespaces (pg_basebackup --tablespace-mapping), \
                 or ask to keep links as they are",
            ),
            Error::SpecialFile { .. } => new(Kind::State, "special_file"),
            Error::Io {
                doing,
                path,
                source,
            } => Failure::io(doing, path, &source),
            Error::Worker(_) => new(Kind::Internal, "worker"),
        }
    }
}
