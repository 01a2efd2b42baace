//! The running server: its state, stopping, killing, pausing, signals.

use std::fmt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{LocalNode, Until};
use crate::postgres::{self, ClusterState, PostmasterPid, PostmasterStatus};
use crate::runtime::Error;
use crate::runtime::process::{self, Proc, Wanted};
use crate::runtime::receiver;

/// The state of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// There is no data directory.
    Absent,
    Stopped,
    Starting,
    /// Open for writing.
    Running,
    /// In recovery, accepting queries if it is a hot standby.
    Standby,
    Stopping,
    /// Its processes are stopped (SIGSTOP).
    Paused,
    /// No server runs, but its pid file says that one did not stop in order.
    Crashed,
}

impl Status {
    /// The state of a server from its pid file and its control file.
    pub(super) fn of_running(status: PostmasterStatus, data_dir: &Path) -> Status {
        match status {
            PostmasterStatus::Starting => Status::Starting,
            PostmasterStatus::Stopping => Status::Stopping,
            PostmasterStatus::Standby => Status::Standby,
            // A hot standby is "ready", too.
            PostmasterStatus::Ready => match postgres::read_cluster_state(data_dir) {
                Some(ClusterState::InProduction) => Status::Running,
                _ => Status::Standby,
            },
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Status::Absent => "absent",
            Status::Stopped => "stopped",
            Status::Starting => "starting",
            Status::Running => "running",
            Status::Standby => "standby",
            Status::Stopping => "stopping",
            Status::Paused => "paused",
            Status::Crashed => "crashed",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a server is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StopMode {
    /// When the last client has left.
    Smart,
    /// Clients are disconnected, a checkpoint is written.
    #[default]
    Fast,
    /// At once; the next start recovers.
    Immediate,
}

impl StopMode {
    pub(in crate::runtime) fn name(self) -> &'static str {
        match self {
            StopMode::Smart => "smart",
            StopMode::Fast => "fast",
            StopMode::Immediate => "immediate",
        }
    }

    fn signal(self) -> Signal {
        match self {
            StopMode::Smart => Signal::SIGTERM,
            StopMode::Fast => Signal::SIGINT,
            StopMode::Immediate => Signal::SIGQUIT,
        }
    }
}

/// How a stop went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// `false`: there was nothing to stop.
    pub was_running: bool,
    pub elapsed: Duration,
}

const POLL: Duration = Duration::from_millis(3);
/// How long signals that cannot be ignored may take.
const FORCE: Duration = Duration::from_secs(10);

impl LocalNode {
    pub async fn status(&self) -> Result<Status, Error> {
        let data_dir = self.record.borrow().data_dir.clone();
        if self.is_receiver() {
            return Ok(self.receiver_status());
        }
        if let Some((postmaster, file)) = self.postmaster()? {
            return Ok(match file.and_then(|file| file.status) {
                _ if postmaster.is_stopped() => Status::Paused,
                Some(status) => Status::of_running(status, &data_dir),
                None => Status::Starting,
            });
        }
        if !data_dir.join("PG_VERSION").exists() {
            return Ok(Status::Absent);
        }
        Ok(match data_dir.join("postmaster.pid").exists() {
            true => Status::Crashed,
            false => Status::Stopped,
        })
    }

    /// The postmaster that serves this data directory, whoever started it. A pid file alone proves
    /// nothing: its process must be a server that works there.
    fn postmaster(&self) -> Result<Option<(Proc, Option<PostmasterPid>)>, Error> {
        if self.is_receiver() {
            return Ok(self.receiver().map(|proc| (proc, None)));
        }
        let data_dir = self.record.borrow().data_dir.clone();
        let file = PostmasterPid::read(&data_dir)?;
        if let Some(file) = file
            && let Some(proc) = Proc::get(file.pid)
            && proc.serves(&data_dir)
        {
            return Ok(Some((proc, Some(file))));
        }
        // Just started: it has not written its file yet.
        let server = self.server.borrow();
        Ok(server
            .as_ref()
            .filter(|server| server.status().is_none())
            .and_then(|server| Proc::get(server.pid()))
            .map(|proc| (proc, None)))
    }

    /// The process id of the postmaster.
    pub async fn pid(&self) -> Result<Option<i32>, Error> {
        Ok(self.postmaster()?.map(|(proc, _)| proc.pid))
    }

    /// Every process of the server.
    pub async fn processes(&self) -> Result<Vec<Proc>, Error> {
        Ok(self.wanted()?.find())
    }

    fn wanted(&self) -> Result<Wanted, Error> {
        Ok(Wanted {
            env: None,
            dir: Some(self.record.borrow().data_dir.clone()),
            pids: self
                .postmaster()?
                .map(|(proc, _)| proc.pid)
                .into_iter()
                .collect(),
        })
    }

    fn label(&self) -> String {
        format!("node \"{}\"", self.name())
    }

    fn is_receiver(&self) -> bool {
        self.record.borrow().role == receiver::ROLE
    }

    /// The `pg_receivewal` that works in this node's directory.
    fn receiver(&self) -> Option<Proc> {
        let wanted = Wanted {
            dir: Some(self.record.borrow().data_dir.clone()),
            ..Wanted::default()
        };
        wanted.find().into_iter().next()
    }

    fn receiver_status(&self) -> Status {
        let dir = self.record.borrow().dir.clone();
        match self.receiver() {
            Some(proc) if proc.is_stopped() => Status::Paused,
            Some(_) => Status::Running,
            None if !dir.join(receiver::ARGUMENTS).exists() => Status::Absent,
            None if dir.join(receiver::RUNNING).exists() => Status::Crashed,
            None => Status::Stopped,
        }
    }

    async fn need_postmaster(&self, operation: &'static str) -> Result<Proc, Error> {
        match self.postmaster()? {
            Some((proc, _)) => Ok(proc),
            None => {
                let status = self.status().await?;
                Err(self
                    .record
                    .borrow()
                    .wrong_state(status, operation, "running"))
            }
        }
    }

    /// Stops the server and waits until all its processes are gone. A paused server is resumed first.
    pub async fn stop(&self, mode: StopMode, timeout: Duration) -> Result<Stopped, Error> {
        let started = Instant::now();
        let procs = self.processes().await?;
        let stopped = |was_running| Stopped {
            was_running,
            elapsed: started.elapsed(),
        };
        if procs.is_empty() {
            return Ok(stopped(false));
        }
        let postmaster = self.postmaster()?.map(|(proc, _)| proc);
        // Children that outlived their postmaster end by themselves, except when they cannot run.
        for proc in procs.iter().filter(|proc| proc.is_stopped()) {
            process::signal(proc, Signal::SIGCONT);
        }
        let signal = match mode {
            // It has no handler for SIGQUIT, which a run under nohup ignores, and so do its children.
            StopMode::Immediate if self.is_receiver() => Signal::SIGKILL,
            _ => mode.signal(),
        };
        match &postmaster {
            Some(postmaster) => process::signal(postmaster, signal),
            None => procs.iter().all(|proc| process::signal(proc, signal)),
        };
        let deadline = started + timeout;
        let late = |pids| Error::StopTimeout {
            node: self.name(),
            mode: mode.name(),
            waited: started.elapsed(),
            pids,
        };
        process::wait_gone(&procs, deadline).await.map_err(late)?;
        // Whoever was started while this was waiting.
        let rest = self.processes().await?;
        process::wait_gone(&rest, deadline).await.map_err(late)?;
        self.settle().await;
        Ok(stopped(true))
    }

    /// Kills every process of the server with SIGKILL, as a crash of the machine would, and waits until
    /// they are gone. Works on a paused one, too. Returns how many there were.
    pub async fn kill(&self) -> Result<usize, Error> {
        let killed = process::kill_all(&self.label(), &self.wanted()?, FORCE).await?;
        self.settle().await;
        Ok(killed)
    }

    /// Lets the task that waits for our child take note of its end.
    async fn settle(&self) {
        let server = self.server.borrow().clone();
        if let Some(server) = server {
            let _ = tokio::time::timeout(Duration::from_millis(200), server.wait()).await;
        }
    }

    /// Stops every process where it is (SIGSTOP); clients keep their connections and wait. Returns how
    /// many processes stand still.
    pub async fn pause(&self) -> Result<usize, Error> {
        let postmaster = self.need_postmaster("pause").await?;
        process::pause(&self.label(), &postmaster, &self.wanted()?, FORCE).await
    }

    /// Continues a paused server.
    pub async fn resume(&self) -> Result<usize, Error> {
        self.need_postmaster("resume").await?;
        process::resume(&self.label(), &self.wanted()?, FORCE).await
    }

    /// Continues whatever of the server stands still, with or without a postmaster.
    pub async fn release(&self) -> Result<(), Error> {
        process::resume(&self.label(), &self.wanted()?, FORCE).await?;
        Ok(())
    }

    /// Has the server read its configuration again.
    pub async fn reload(&self) -> Result<(), Error> {
        let postmaster = self.need_postmaster("reload").await?;
        process::signal(&postmaster, Signal::SIGHUP);
        Ok(())
    }

    /// Asks a standby to promote; [`LocalNode::wait_until`] tells when it has.
    pub async fn promote(&self) -> Result<(), Error> {
        let status = self.status().await?;
        if status != Status::Standby {
            return Err(self
                .record
                .borrow()
                .wrong_state(status, "promote", "standby"));
        }
        let postmaster = self.need_postmaster("promote").await?;
        self.write_file("promote", b"", 0o600).await?;
        process::signal(&postmaster, Signal::SIGUSR1);
        Ok(())
    }

    /// Waits until a server that was started earlier is accepting, open for writing, or gone.
    pub async fn wait_until(&self, until: Until, timeout: Duration) -> Result<Status, Error> {
        let started = Instant::now();
        loop {
            let status = self.status().await?;
            match (status, until) {
                (Status::Running, Until::Accepting | Until::Ready)
                | (Status::Standby, Until::Accepting)
                | (Status::Stopped | Status::Crashed | Status::Absent, Until::Exited) => {
                    return Ok(status);
                }
                (Status::Stopped | Status::Crashed | Status::Absent, _) => {
                    return Err(self
                        .record
                        .borrow()
                        .wrong_state(status, "waiting", "running"));
                }
                _ if started.elapsed() >= timeout => {
                    return Err(Error::StartTimeout {
                        node: self.name(),
                        wanted: until.name(),
                        waited: started.elapsed(),
                        log: crate::runtime::tool::tail(&self.log_tail(0).await?.0, 5),
                    });
                }
                _ => tokio::time::sleep(POLL).await,
            }
        }
    }

    /// Waits for the end of the server. Its exit status is known if this handle started it.
    pub async fn wait_exit(&self) -> Result<Option<ExitStatus>, Error> {
        let server = self.server.borrow().clone();
        if let Some(server) = server {
            return Ok(server.wait().await);
        }
        while self.postmaster()?.is_some() {
            tokio::time::sleep(POLL).await;
        }
        Ok(None)
    }
}
