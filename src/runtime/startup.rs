//! What nodes have in common on every runtime: who they are, the command line of their server, and the
//! reason why it ended.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitStatus;

use super::node::NodePaths;
use super::tool::describe;
use super::{Error, NodeRecord, Status};
use crate::postgres::{self, Install};

impl NodeRecord {
    pub(super) fn install(&self) -> Install {
        Install {
            bin_dir: self.bin_dir.clone(),
            major: self.major,
            version: self.version.clone(),
        }
    }

    pub(super) fn paths(&self, lab_dir: &Path) -> NodePaths {
        NodePaths {
            lab_dir: lab_dir.to_path_buf(),
            dir: self.dir.clone(),
            data_dir: self.data_dir.clone(),
            log: self.log.clone(),
            socket_dir: self.socket_dir.clone(),
            bin_dir: self.bin_dir.clone(),
        }
    }

    pub(super) fn wrong_state(
        &self,
        is: Status,
        operation: &'static str,
        wanted: &'static str,
    ) -> Error {
        Error::WrongState {
            node: self.name.clone(),
            is: is.to_string(),
            operation,
            wanted,
        }
    }

    /// The arguments of `postgres`. What identifies the server comes from rpitr, not from a restored file:
    /// an original's `data_directory` would open the original.
    pub(super) fn server_arguments<'a>(
        &self,
        port: u16,
        listen: &str,
        settings: impl Iterator<Item = &'a (String, String)>,
    ) -> Vec<OsString> {
        let mut arguments = vec![OsString::from("-D"), self.data_dir.clone().into()];
        let mut set = |name: &str, value: OsString| {
            let mut text = OsString::from(format!("{name}="));
            text.push(value);
            arguments.extend([OsString::from("-c"), text]);
        };
        set("data_directory", self.data_dir.clone().into());
        set("port", port.to_string().into());
        set("listen_addresses", listen.into());
        set("unix_socket_directories", self.socket_dir.clone().into());
        // Empty, PostgreSQL complains in its log.
        set("external_pid_file", self.dir.join("server.pid").into());
        set("logging_collector", "off".into());
        set("log_destination", "stderr".into());
        set("log_line_prefix", postgres::LOG_LINE_PREFIX.into());
        set("lc_messages", "C".into());
        for (name, value) in settings {
            set(name, value.into());
        }
        arguments
    }

    /// The error for a server that ended, from what it wrote to its log since it was started.
    pub(super) fn why_not_started(&self, exit: Option<ExitStatus>, text: &str) -> Error {
        let log = postgres::explain_failure(text).unwrap_or_default();
        let (node, port) = (self.name.clone(), self.port);
        if log.contains("Address already in use")
            || log.contains("could not create any TCP/IP sockets")
        {
            return Error::PortTaken { node, port, log };
        }
        // The FATAL entry is the last part; its message alone makes the one-line reason.
        let message = ["PANIC:  ", "FATAL:  "]
            .iter()
            .find_map(|level| log.rsplit_once(level))
            .and_then(|(_, message)| message.lines().next());
        let reason = match (message, exit) {
            (Some(message), _) => message.to_string(),
            (None, Some(exit)) => describe(exit),
            (None, None) => "it was not run".into(),
        };
        // Children of a killed postmaster hold on to its shared memory for a moment.
        let retryable = log.contains("pre-existing shared memory block");
        Error::StartFailed {
            node,
            reason,
            log,
            retryable,
        }
    }
}
