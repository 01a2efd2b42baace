//! A node made of plain processes: who it is, its tools and its log.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::path::Path;

use crate::postgres::{self, ControlData, Install, RecoveryOutcome};
use crate::runtime::node::{Endpoint, NodePaths};
use crate::runtime::tool::{Launcher, ToolOptions, ToolOutput};
use crate::runtime::{Background, Error, NodeRecord, ServerUser};

/// The longest path of a Unix socket: `sun_path` holds 108 bytes on Linux (104 on macOS), one is the
/// terminating zero.
pub const SOCKET_PATH_LIMIT: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// A node on this machine. Cheap handles to the same node may exist side by side: the truth is on disk
/// and in the process table.
#[derive(Debug)]
pub struct LocalNode {
    pub(super) record: RefCell<NodeRecord>,
    pub(super) launcher: Launcher,
    /// The server, if this handle started it.
    pub(super) server: RefCell<Option<Background>>,
}

impl LocalNode {
    pub(in crate::runtime) fn new(
        record: NodeRecord,
        user: ServerUser,
        lab: &str,
        lab_dir: &Path,
    ) -> Self {
        LocalNode {
            launcher: Launcher {
                user,
                bin_dir: record.bin_dir.clone(),
                lab: lab.to_string(),
                lab_dir: lab_dir.to_path_buf(),
            },
            record: RefCell::new(record),
            server: RefCell::new(None),
        }
    }

    pub fn name(&self) -> String {
        self.record.borrow().name.clone()
    }

    pub fn role(&self) -> String {
        self.record.borrow().role.clone()
    }

    /// What the registry says about the node.
    pub fn record(&self) -> NodeRecord {
        self.record.borrow().clone()
    }

    pub(in crate::runtime) fn set_record(&self, record: NodeRecord) {
        self.record.replace(record);
    }

    pub fn install(&self) -> Install {
        self.record.borrow().install()
    }

    /// The account the server and the tools run as.
    pub fn user(&self) -> &ServerUser {
        &self.launcher.user
    }

    pub fn paths(&self) -> NodePaths {
        self.record.borrow().paths(&self.launcher.lab_dir)
    }

    /// How the script reaches the server: by its socket, or by TCP on the loopback interface.
    pub fn endpoint_for_script(&self) -> Endpoint {
        let record = self.record.borrow();
        Endpoint {
            host: "127.0.0.1".into(),
            port: record.port,
            socket_dir: Some(record.socket_dir.clone()),
        }
    }

    /// How `other` reaches this server. Between nodes it is TCP, so that a fault can be put on the way.
    pub fn endpoint_for_node(&self, _other: &LocalNode) -> Endpoint {
        Endpoint {
            socket_dir: None,
            ..self.endpoint_for_script()
        }
    }

    /// Runs a program to its end as the server user: one of the installation's (`initdb`,
    /// `pg_basebackup`, `psql` ...) or any other. The environment is clean, the working directory inside
    /// the lab. Dropping the future kills the program with its process group.
    pub async fn run_tool<S: AsRef<OsStr>>(
        &self,
        program: &str,
        args: &[S],
        options: ToolOptions,
    ) -> Result<ToolOutput, Error> {
        self.launcher.run(program, args, options).await
    }

    /// Starts a program that goes on in the background (`pg_receivewal`), its output appended to `log`
    /// (relative to the node's folder). It ends with the lab at the latest.
    pub async fn spawn_tool<S: AsRef<OsStr>>(
        &self,
        program: &str,
        args: &[S],
        options: ToolOptions,
        log: &str,
    ) -> Result<Background, Error> {
        let log = self.inside(&self.record.borrow().dir.join(log))?;
        let cwd = options.cwd.unwrap_or_else(|| self.launcher.lab_dir.clone());
        self.launcher
            .spawn_detached(program, args, &options.env, &cwd, &log)
    }

    /// What `pg_controldata` says about the data directory.
    pub async fn control_data(&self) -> Result<ControlData, Error> {
        let data_dir = self.record.borrow().data_dir.clone();
        let args = [OsStr::new("-D"), data_dir.as_os_str()];
        let output = self
            .run_tool("pg_controldata", &args, ToolOptions::default())
            .await?
            .check()?;
        Ok(ControlData::parse(&output.stdout_text())?)
    }

    /// The length of the server's log: an offset to read on from.
    pub async fn log_len(&self) -> Result<u64, Error> {
        let log = self.record.borrow().log.clone();
        match std::fs::metadata(&log) {
            Ok(found) => Ok(found.len()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(Error::io("read", &log)(error)),
        }
    }

    /// The server's log from an offset on, and the offset of its end.
    pub async fn log_tail(&self, offset: u64) -> Result<(String, u64), Error> {
        Ok(postgres::read_log_from(&self.record.borrow().log, offset)?)
    }

    /// What the log from an offset on says about the last recovery.
    pub async fn recovery_outcome(&self, offset: u64) -> Result<RecoveryOutcome, Error> {
        let (text, _) = self.log_tail(offset).await?;
        Ok(RecoveryOutcome::parse(&text))
    }
}
