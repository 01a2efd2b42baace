//! A node made of a container: who it is, its tools and its log.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use super::containers::{SERVER_PORT, SOCKET_DIR};
use super::exec::{Exec, SERVER_USER};
use super::lab::DockerLab;
use crate::postgres::{ControlData, Install, RecoveryOutcome};
use crate::runtime::node::{Endpoint, NodePaths};
use crate::runtime::tool::{ToolOptions, ToolOutput, short_name};
use crate::runtime::{Background, Error, NodeRecord};

/// A node in a container. The truth is in the engine: several handles to one node may exist.
#[derive(Debug)]
pub struct DockerNode {
    pub(super) record: RefCell<NodeRecord>,
    pub(super) lab: Rc<DockerLab>,
    /// Its address in the network it was taken off.
    pub(super) address: RefCell<Option<String>>,
}

impl DockerNode {
    pub(in crate::runtime) fn new(record: NodeRecord, lab: Rc<DockerLab>) -> Self {
        DockerNode {
            record: RefCell::new(record),
            lab,
            address: RefCell::default(),
        }
    }

    /// What a new node's record says before its container exists.
    pub(in crate::runtime) fn socket_dir() -> PathBuf {
        PathBuf::from(SOCKET_DIR)
    }

    /// Makes the container and fills in what only it can tell.
    pub(in crate::runtime) async fn make(&self) -> Result<NodeRecord, Error> {
        let mut record = self.record();
        let (_, found) = self.lab.ensure_node(&record).await?;
        if let Some(found) = found {
            record.bin_dir = found.bin_dir.into();
            record.version = found.version;
            record.major = found.major;
            self.set_record(record.clone());
        }
        Ok(record)
    }

    pub fn name(&self) -> String {
        self.record.borrow().name.clone()
    }

    pub fn role(&self) -> String {
        self.record.borrow().role.clone()
    }

    pub fn record(&self) -> NodeRecord {
        self.record.borrow().clone()
    }

    pub(in crate::runtime) fn set_record(&self, record: NodeRecord) {
        self.record.replace(record);
    }

    /// The container's name.
    pub fn container(&self) -> String {
        self.lab.container(&self.record.borrow().name)
    }

    pub fn install(&self) -> Install {
        self.record.borrow().install()
    }

    /// Inside the container.
    pub fn paths(&self) -> NodePaths {
        self.record.borrow().paths(&self.lab.lab_dir)
    }

    /// The published port.
    pub fn endpoint_for_script(&self) -> Endpoint {
        Endpoint {
            host: self.lab.engine.host(),
            port: self.record.borrow().port,
            socket_dir: None,
        }
    }

    /// By name, through the lab's network.
    pub fn endpoint_for_node(&self) -> Endpoint {
        Endpoint {
            host: self.name(),
            port: SERVER_PORT,
            socket_dir: None,
        }
    }

    /// The container, running; made if it is missing, started if it was killed.
    pub(super) async fn up(&self) -> Result<String, Error> {
        let record = self.record();
        let (container, _) = self.lab.ensure_node(&record).await?;
        Ok(container)
    }

    /// Removes the container; the data stays in its volume.
    pub(in crate::runtime) async fn remove_container(&self) -> Result<(), Error> {
        Ok(self.lab.remove_container(&self.container()).await?)
    }

    /// Runs a program to its end as the server's user: one of PostgreSQL's or any other of the image.
    /// Dropping the future kills it.
    pub async fn run_tool<S: AsRef<OsStr>>(
        &self,
        program: &str,
        args: &[S],
        options: ToolOptions,
    ) -> Result<ToolOutput, Error> {
        let started = Instant::now();
        let container = self.up().await?;
        let work = self
            .lab
            .engine
            .exec(&container, self.command(program, args, &options));
        let output = match options.timeout {
            None => work.await?,
            Some(after) => match tokio::time::timeout(after, work).await {
                Ok(output) => output?,
                Err(_) => {
                    return Err(Error::ToolTimeout {
                        program: short_name(program),
                        after,
                    });
                }
            },
        };
        Ok(ToolOutput {
            program: short_name(program),
            status: output.status(),
            stdout: output.stdout,
            stderr: output.stderr,
            elapsed: started.elapsed(),
        })
    }

    /// Starts a program that goes on in the background, its output appended to `log` (relative to the
    /// node's folder). It ends with the container.
    pub async fn spawn_tool<S: AsRef<OsStr>>(
        &self,
        program: &str,
        args: &[S],
        options: ToolOptions,
        log: &str,
    ) -> Result<Background, Error> {
        let container = self.up().await?;
        let log = self.record.borrow().dir.join(log).display().to_string();
        let mut exec = self.command(program, args, &options);
        let mut command = vec!["/bin/sh".to_string(), "-c".into()];
        command.push("log=$1; shift; exec \"$@\" >>\"$log\" 2>&1 </dev/null".into());
        command.extend(["rpitr".into(), log]);
        command.append(&mut exec.command);
        exec.command = command;
        exec.kill_on_drop = false;
        let (mark, signaller) = self.lab.engine.signaller(&container);
        exec.env.push(mark);
        let engine = self.lab.engine.clone();
        let run = async move {
            engine
                .exec_alone(&container, &exec)
                .await
                .ok()
                .map(|end| end.status())
        };
        Ok(Background::elsewhere(short_name(program), run, signaller))
    }

    /// A program with the environment every tool gets.
    pub(super) fn command<S: AsRef<OsStr>>(
        &self,
        program: &str,
        args: &[S],
        options: &ToolOptions,
    ) -> Exec {
        let record = self.record.borrow();
        let mut command = vec![program.to_string()];
        command.extend(
            args.iter()
                .map(|arg| arg.as_ref().to_string_lossy().into_owned()),
        );
        let usual = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let mut env = vec![
            format!("PATH={}:{usual}", record.bin_dir.display()),
            "LC_ALL=C".to_string(),
            format!("HOME={}", record.dir.display()),
            format!("USER={SERVER_USER}"),
            format!("RPITR_LAB={}", self.lab.id),
        ];
        env.extend(
            options
                .env
                .iter()
                .map(|(name, value)| format!("{name}={value}")),
        );
        let cwd = options.cwd.as_deref().unwrap_or(&self.lab.lab_dir);
        Exec {
            user: SERVER_USER,
            command,
            env,
            cwd: Some(cwd.display().to_string()),
            stdin: options.stdin.clone(),
            kill_on_drop: true,
        }
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

    /// The length of the server's log.
    pub async fn log_len(&self) -> Result<u64, Error> {
        let log = self.record.borrow().log.clone();
        match self.stat(&log).await? {
            Some((_, size)) => Ok(size),
            None => Ok(0),
        }
    }

    /// The server's log from an offset on, and the offset of its end.
    pub async fn log_tail(&self, offset: u64) -> Result<(String, u64), Error> {
        let log = self.record.borrow().log.clone();
        let Some((bytes, from)) = self.read_from(&log, offset).await? else {
            return Ok((String::new(), 0));
        };
        let end = from + bytes.len() as u64;
        Ok((String::from_utf8_lossy(&bytes).into_owned(), end))
    }

    /// What the log from an offset on says about the last recovery.
    pub async fn recovery_outcome(&self, offset: u64) -> Result<RecoveryOutcome, Error> {
        let (text, _) = self.log_tail(offset).await?;
        Ok(RecoveryOutcome::parse(&text))
    }

    pub(super) fn data_dir(&self) -> String {
        self.record.borrow().data_dir.display().to_string()
    }

    /// The absolute path of a file of the node.
    pub(super) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.record.borrow().data_dir.join(path)
    }
}
