//! Starting a server and waiting until it is up.
//!
//! `postgres` is started directly: `pg_ctl` would look at the pid file only every 100 ms.

use std::ffi::OsString;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use super::{LocalNode, Status};
use crate::postgres::{self, PostmasterPid};
use crate::runtime::tool::{describe, tail};
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
            return Err(self.wrong_state(status, "start", "stopped"));
        }
        let started = Instant::now();
        let record = self.record();
        let log_offset = self.log_len().await?;
        let server = self.launcher.spawn_detached(
            "postgres",
            &self.server_arguments(&options.settings),
            &options.env,
            &record.data_dir,
            &record.log,
        )?;
        self.server.replace(Some(server.clone()));
        self.wait_up(&server, &options, started, log_offset).await
    }

    /// The command line. What identifies the server comes from rpitr, not from a restored file: an
    /// original's `data_directory` would open the original.
    fn server_arguments(&self, settings: &[(String, String)]) -> Vec<OsString> {
        let record = self.record.borrow();
        let mut arguments = vec![OsString::from("-D"), record.data_dir.clone().into()];
        let mut set = |name: &str, value: OsString| {
            let mut text = OsString::from(format!("{name}="));
            text.push(value);
            arguments.extend([OsString::from("-c"), text]);
        };
        set("data_directory", record.data_dir.clone().into());
        set("port", record.port.to_string().into());
        set("listen_addresses", "127.0.0.1".into());
        set("unix_socket_directories", record.socket_dir.clone().into());
        // Empty, PostgreSQL complains in its log.
        set("external_pid_file", record.dir.join("server.pid").into());
        set("logging_collector", "off".into());
        set("log_destination", "stderr".into());
        set("log_line_prefix", postgres::LOG_LINE_PREFIX.into());
        set("lc_messages", "C".into());
        for (name, value) in settings {
            set(name, value.into());
        }
        arguments
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

    /// The error for a server that ended, from what it wrote to its log.
    async fn why_not_started(&self, exit: ExitStatus, log_offset: u64) -> Error {
        let text = match self.log_tail(log_offset).await {
            Ok((text, _)) => text,
            Err(error) => return error,
        };
        let log = postgres::explain_failure(&text).unwrap_or_default();
        let (node, port) = (self.name(), self.record.borrow().port);
        if log.contains("Address already in use")
            || log.contains("could not create any TCP/IP sockets")
        {
            return Error::PortTaken { node, port, log };
        }
        // The FATAL entry is the last part; its message alone makes the one-line reason.
        let reason = ["PANIC:  ", "FATAL:  "]
            .iter()
            .find_map(|level| log.rsplit_once(level))
            .and_then(|(_, message)| message.lines().next())
            .map_or_else(|| describe(exit), str::to_string);
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
