//! The one node interface. Callers know nothing about what a node is made of; another runtime is
//! another variant here.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use super::{
    Background, Copied, CopyOptions, DirEntry, DiskSpace, DockerNode, Error, LocalNode, NodeRecord,
    StartOptions, Started, Status, StopMode, Stopped, ToolOptions, ToolOutput, TreeSize, Until,
};
use crate::postgres::{ControlData, Install, OWN_FILE, RecoveryOutcome, Scrubbed, read_own_file};

/// Where a server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub host: String,
    pub port: u16,
    /// Faster than TCP where it is given.
    pub socket_dir: Option<PathBuf>,
}

/// Where a node's files are, as its programs see them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePaths {
    pub lab_dir: PathBuf,
    /// The node's folder in the lab.
    pub dir: PathBuf,
    pub data_dir: PathBuf,
    pub log: PathBuf,
    pub socket_dir: PathBuf,
    pub bin_dir: PathBuf,
}

/// A node of a lab. [`LocalNode`] documents the methods in full.
#[derive(Debug)]
pub enum Node {
    Local(LocalNode),
    Docker(DockerNode),
}

impl From<LocalNode> for Node {
    fn from(node: LocalNode) -> Self {
        Node::Local(node)
    }
}

impl From<DockerNode> for Node {
    fn from(node: DockerNode) -> Self {
        Node::Docker(node)
    }
}

impl Node {
    /// Runs a program to its end as the server user.
    pub async fn run_tool<S: AsRef<OsStr>>(
        &self,
        program: &str,
        args: &[S],
        options: ToolOptions,
    ) -> Result<ToolOutput, Error> {
        match self {
            Node::Local(node) => node.run_tool(program, args, options).await,
            Node::Docker(node) => node.run_tool(program, args, options).await,
        }
    }

    /// Starts a program that goes on in the background.
    pub async fn spawn_tool<S: AsRef<OsStr>>(
        &self,
        program: &str,
        args: &[S],
        options: ToolOptions,
        log: &str,
    ) -> Result<Background, Error> {
        match self {
            Node::Local(node) => node.spawn_tool(program, args, options, log).await,
            Node::Docker(node) => node.spawn_tool(program, args, options, log).await,
        }
    }

    /// Starts the server and waits until it is up.
    pub async fn start(&self, options: StartOptions) -> Result<Started, Error> {
        if self.is_receiver() {
            return self.start_receiver(options).await;
        }
        match self {
            Node::Local(node) => node.start(options).await,
            Node::Docker(node) => node.start(options).await,
        }
    }

    /// Stops the server and waits until all its processes are gone.
    pub async fn stop(&self, mode: StopMode, timeout: Duration) -> Result<Stopped, Error> {
        let stopped = match self {
            Node::Local(node) => node.stop(mode, timeout).await,
            Node::Docker(node) => node.stop(mode, timeout).await,
        }?;
        if self.is_receiver() && stopped.was_running {
            self.receiver_stopped().await?;
        }
        Ok(stopped)
    }

    /// Kills every process of the server, as a crash would.
    pub async fn kill(&self) -> Result<usize, Error> {
        match self {
            Node::Local(node) => node.kill().await,
            Node::Docker(node) => node.kill().await,
        }
    }

    /// Stops every process where it is.
    pub async fn pause(&self) -> Result<usize, Error> {
        match self {
            Node::Local(node) => node.pause().await,
            Node::Docker(node) => node.pause().await,
        }
    }

    /// Continues a paused server.
    pub async fn resume(&self) -> Result<usize, Error> {
        match self {
            Node::Local(node) => node.resume().await,
            Node::Docker(node) => node.resume().await,
        }
    }

    /// Continues whatever of the server stands still, with or without a postmaster.
    pub async fn release(&self) -> Result<(), Error> {
        match self {
            Node::Local(node) => node.release().await,
            Node::Docker(node) => node.release().await,
        }
    }

    /// Has the server read its configuration again.
    pub async fn reload(&self) -> Result<(), Error> {
        match self {
            Node::Local(node) => node.reload().await,
            Node::Docker(node) => node.reload().await,
        }
    }

    /// Asks a standby to promote.
    pub async fn promote(&self) -> Result<(), Error> {
        match self {
            Node::Local(node) => node.promote().await,
            Node::Docker(node) => node.promote().await,
        }
    }

    /// What the node is doing.
    pub async fn status(&self) -> Result<Status, Error> {
        match self {
            Node::Local(node) => node.status().await,
            Node::Docker(node) => node.status().await,
        }
    }

    /// The process id of the postmaster.
    pub async fn pid(&self) -> Result<Option<i32>, Error> {
        match self {
            Node::Local(node) => node.pid().await,
            Node::Docker(node) => node.pid().await,
        }
    }

    /// Waits for a state of a server that was started earlier.
    pub async fn wait_until(&self, until: Until, timeout: Duration) -> Result<Status, Error> {
        match self {
            Node::Local(node) => node.wait_until(until, timeout).await,
            Node::Docker(node) => node.wait_until(until, timeout).await,
        }
    }

    /// Waits for the end of the server.
    pub async fn wait_exit(&self) -> Result<Option<ExitStatus>, Error> {
        match self {
            Node::Local(node) => node.wait_exit().await,
            Node::Docker(node) => node.wait_exit().await,
        }
    }

    /// What `pg_controldata` says.
    pub async fn control_data(&self) -> Result<ControlData, Error> {
        match self {
            Node::Local(node) => node.control_data().await,
            Node::Docker(node) => node.control_data().await,
        }
    }

    /// The length of the log.
    pub async fn log_len(&self) -> Result<u64, Error> {
        match self {
            Node::Local(node) => node.log_len().await,
            Node::Docker(node) => node.log_len().await,
        }
    }

    /// The log from an offset on, and where it ends.
    pub async fn log_tail(&self, offset: u64) -> Result<(String, u64), Error> {
        match self {
            Node::Local(node) => node.log_tail(offset).await,
            Node::Docker(node) => node.log_tail(offset).await,
        }
    }

    /// What the log says about the last recovery.
    pub async fn recovery_outcome(&self, offset: u64) -> Result<RecoveryOutcome, Error> {
        match self {
            Node::Local(node) => node.recovery_outcome(offset).await,
            Node::Docker(node) => node.recovery_outcome(offset).await,
        }
    }

    /// Reads a file.
    pub async fn read_file(&self, path: impl AsRef<Path>) -> Result<Vec<u8>, Error> {
        match self {
            Node::Local(node) => node.read_file(path).await,
            Node::Docker(node) => node.read_file(path).await,
        }
    }

    /// Writes a whole file in one step.
    pub async fn write_file(
        &self,
        path: impl AsRef<Path>,
        contents: &[u8],
        mode: u32,
    ) -> Result<(), Error> {
        match self {
            Node::Local(node) => node.write_file(path, contents, mode).await,
            Node::Docker(node) => node.write_file(path, contents, mode).await,
        }
    }

    /// Adds to the end of a file.
    pub async fn append_file(&self, path: impl AsRef<Path>, contents: &[u8]) -> Result<(), Error> {
        match self {
            Node::Local(node) => node.append_file(path, contents).await,
            Node::Docker(node) => node.append_file(path, contents).await,
        }
    }

    /// Removes a file; `false` when there was none.
    pub async fn remove_file(&self, path: impl AsRef<Path>) -> Result<bool, Error> {
        match self {
            Node::Local(node) => node.remove_file(path).await,
            Node::Docker(node) => node.remove_file(path).await,
        }
    }

    /// Renames a file or a directory.
    pub async fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<(), Error> {
        match self {
            Node::Local(node) => node.rename(from, to).await,
            Node::Docker(node) => node.rename(from, to).await,
        }
    }

    /// Makes a private directory, with those above it.
    pub async fn mkdir(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        match self {
            Node::Local(node) => node.mkdir(path).await,
            Node::Docker(node) => node.mkdir(path).await,
        }
    }

    /// The entries of a directory.
    pub async fn list_dir(&self, path: impl AsRef<Path>) -> Result<Vec<DirEntry>, Error> {
        match self {
            Node::Local(node) => node.list_dir(path).await,
            Node::Docker(node) => node.list_dir(path).await,
        }
    }

    /// Whether there is such a file or directory.
    pub async fn exists(&self, path: impl AsRef<Path>) -> bool {
        match self {
            Node::Local(node) => node.exists(path).await,
            Node::Docker(node) => node.exists(path).await,
        }
    }

    /// The length of a file.
    pub async fn file_size(&self, path: impl AsRef<Path>) -> Result<u64, Error> {
        match self {
            Node::Local(node) => node.file_size(path).await,
            Node::Docker(node) => node.file_size(path).await,
        }
    }

    /// Files and bytes of a tree.
    pub async fn tree_size(&self, path: impl AsRef<Path>) -> Result<TreeSize, Error> {
        match self {
            Node::Local(node) => node.tree_size(path).await,
            Node::Docker(node) => node.tree_size(path).await,
        }
    }

    /// Copies a tree into the lab.
    pub async fn copy_tree(
        &self,
        from: impl AsRef<Path>,
        to: impl AsRef<Path>,
        options: CopyOptions,
    ) -> Result<Copied, Error> {
        match self {
            Node::Local(node) => node.copy_tree(from, to, options).await,
            Node::Docker(node) => node.copy_tree(from, to, options).await,
        }
    }

    /// Removes a tree inside the lab.
    pub async fn remove_tree(&self, path: impl AsRef<Path>) -> Result<bool, Error> {
        match self {
            Node::Local(node) => node.remove_tree(path).await,
            Node::Docker(node) => node.remove_tree(path).await,
        }
    }

    /// Space on the disk that holds the lab.
    pub async fn disk_space(&self) -> Result<DiskSpace, Error> {
        match self {
            Node::Local(node) => node.disk_space().await,
            Node::Docker(node) => node.disk_space().await,
        }
    }

    /// Takes out of a restored data directory what ties it to its origin.
    pub async fn scrub_conf(&self) -> Result<Scrubbed, Error> {
        match self {
            Node::Local(node) => node.scrub_conf().await,
            Node::Docker(node) => node.scrub_conf().await,
        }
    }

    /// Replaces rpitr's settings of the node.
    pub async fn set_conf(&self, settings: &[(String, String)]) -> Result<(), Error> {
        match self {
            Node::Local(node) => node.set_conf(settings).await,
            Node::Docker(node) => node.set_conf(settings).await,
        }
    }

    /// rpitr's settings of the node, as they are on disk.
    pub async fn conf(&self) -> Result<Vec<(String, String)>, Error> {
        if !self.exists(OWN_FILE).await {
            return Ok(Vec::new());
        }
        let text = self.read_file(OWN_FILE).await?;
        let settings = read_own_file(&String::from_utf8_lossy(&text)).into_iter();
        Ok(settings
            .map(|setting| (setting.name, setting.value))
            .collect())
    }

    /// The node as a container.
    pub fn as_container(&self, operation: &'static str) -> Result<&DockerNode, Error> {
        match self {
            Node::Docker(node) => Ok(node),
            Node::Local(node) => Err(Error::NoContainer {
                node: node.name(),
                operation,
            }),
        }
    }

    /// The node's name.
    pub fn name(&self) -> String {
        match self {
            Node::Local(node) => node.name(),
            Node::Docker(node) => node.name(),
        }
    }

    /// What the node is for.
    pub fn role(&self) -> String {
        match self {
            Node::Local(node) => node.role(),
            Node::Docker(node) => node.role(),
        }
    }

    /// The PostgreSQL installation it uses.
    pub fn install(&self) -> Install {
        match self {
            Node::Local(node) => node.install(),
            Node::Docker(node) => node.install(),
        }
    }

    /// What the registry says about the node.
    pub fn record(&self) -> NodeRecord {
        match self {
            Node::Local(node) => node.record(),
            Node::Docker(node) => node.record(),
        }
    }

    /// Where its files are.
    pub fn paths(&self) -> NodePaths {
        match self {
            Node::Local(node) => node.paths(),
            Node::Docker(node) => node.paths(),
        }
    }

    /// How the script reaches the server.
    pub fn endpoint_for_script(&self) -> Endpoint {
        match self {
            Node::Local(node) => node.endpoint_for_script(),
            Node::Docker(node) => node.endpoint_for_script(),
        }
    }

    /// How `other` reaches the server.
    pub fn endpoint_for_node(&self, other: &Node) -> Endpoint {
        match (self, other) {
            (Node::Local(node), Node::Local(other)) => node.endpoint_for_node(other),
            (Node::Docker(node), _) => node.endpoint_for_node(),
            (Node::Local(node), Node::Docker(_)) => node.endpoint_for_script(),
        }
    }
}
