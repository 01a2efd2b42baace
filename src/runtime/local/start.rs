//! Starting a server and waiting until it is up.
//!
//! `postgres` is started directly: `pg_ctl` would look at the pid file only every 100 ms.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use super::{LocalNode, Status};
use crate::postgres::PostmasterPid;
use crate::runtime::tool::tail;
use crate::runtime::{Background, Error};

/// What a start waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Until {
    /// Accepting queries: open for writing, or a hot standby, which a server paused at its recovery
    /// target is, too.
    #[default]
    Accepting,
    /// Open for writing: recovery is over.
    Ready,
    /// The server ended by itself without an error, as with `recovery_target_action = shutdown`.
    Exited,
}

impl Until {
    pub(in crate::runtime) fn word(self) -> &'static str {
        match self {
            Until::Accepting => "accepting",
            Until::Ready => "ready",
            Until::Exited => "exited",
        }
    }

    pub(in crate::runtime) fn name(self) -> &'static str {
        match self {
            Until::Accepting => "accepting connections",
            Until::Ready => "open for writing",
            Until::Exited => "done",
        }
    }
}

/// How a server is started.
#[derive(Debug, Clone)]
pub struct StartOptions {
    /// Settings given on the command line (`-c name=value`): they win over every file and over
    /// rpitr's own (port, socket, log).
    pub settings: Vec<(String, String)>,
    pub env: Vec<(String, String)>,
    pub until: Until,
    pub timeout: Duration,
}

impl Default for StartOptions {
    fn default() -> Self {
        StartOptions {
            settings: Vec::new(),
            env: Vec::new(),
            until: Until::default(),
            timeout: Duration::from_secs(60),
        }
    }
}

/// How a start went.
#[derive(Debug, Clone)]
pub struct Started {
    /// `Running`, `Standby`, or `Stopped` for [`Until::Exited`].
    pub status: Status,
    pub pid: i32,
    pub elapsed: Duration,
    /// Where the log of this start begins.
    pub log_offset: u64,
    pub exit: Option<ExitStatus>,
}

const FIRST_POLL: Duration = Duration::from_millis(2);
const SLOW_POLL: Duration = Duration::from_millis(5);

impl LocalNode {
    /// Starts the server and waits until it is up, has ended, or time is up. A server that is still
    /// starting when time is up goes on starting.
    pub async fn start(&self, options: StartOptions) -> Result<Started, Error> {
        let status = self.status().await?;
        if !matches!(status, Status::Stopped | Status::Crashed) {
            return Err(self.record.borrow().wrong_state(status, "start", "stopped"));
        }
        let started = Instant::now();
        let record = self.record();
        let log_offset = self.log_len().await?;
        let server = self.launcher.spawn_detached(
            "postgres",
            &record.server_arguments(record.port, "127.0.0.1", options.settings.iter()),
            &options.env,
            &record.data_dir,
            &record.log,
        )?;
        self.server.replace(Some(server.clone()));
        self.wait_up(&server, &options, started, log_offset).await
    }

    async fn wait_up(
        &self,
        server: &Background,
        options: &StartOptions,
        started: Instant,
        log_offset: u64,
    ) -> Result<Started, Error> {
        let data_dir = self.record.borrow().data_dir.clone();
        let done = |status, exit| Started {
            status,
            pid: server.pid(),
            elapsed: started.elapsed(),
            log_offset,
            exit,
        };
        loop {
            if let Some(exit) = server.status() {
                if options.until == Until::Exited && exit.success() {
                    return Ok(done(Status::Stopped, Some(exit)));
                }
                return Err(self.why_not_started(exit, log_offset).await);
            }
            // A pid file of an earlier, crashed server may say anything.
            let file = PostmasterPid::read(&data_dir)?.filter(|file| file.pid == server.pid());
            let status = file
                .and_then(|file| file.status)
                .map(|status| Status::of_running(status, &data_dir));
            match (status, options.until) {
                (Some(status @ Status::Running), Until::Accepting | Until::Ready)
                | (Some(status @ Status::Standby), Until::Accepting) => {
                    return Ok(done(status, None));
                }
                _ => {}
            }
            let waited = started.elapsed();
            if waited >= options.timeout {
                return Err(Error::StartTimeout {
                    node: self.name(),
                    wanted: options.until.name(),
                    waited,
                    log: tail(&self.log_tail(log_offset).await?.0, 5),
                });
            }
            let poll = if waited < Duration::from_millis(500) {
                FIRST_POLL
            } else {
                SLOW_POLL
            };
            tokio::time::sleep(poll).await;
        }
    }

    async fn why_not_started(&self, exit: ExitStatus, log_offset: u64) -> Error {
        match self.log_tail(log_offset).await {
            Ok((text, _)) => self.record.borrow().why_not_started(Some(exit), &text),
            Err(error) => error,
        }
    }
}
