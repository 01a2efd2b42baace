//! A program in the background: a receiver, a server.

use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::process::Child;
use tokio::sync::watch;

use super::Error;
use super::docker::Signaller;
use super::process::{self, Proc, Wanted};

/// A program that runs on its own. Dropping this leaves it running; the lab's end kills it.
#[derive(Clone)]
pub struct Background {
    program: String,
    /// 0 for one in a container.
    pid: i32,
    exit: watch::Receiver<Option<ExitStatus>>,
    /// How to signal one that is no process of this machine.
    elsewhere: Option<Signaller>,
}

impl std::fmt::Debug for Background {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Background")
            .field("program", &self.program)
            .field("pid", &self.pid)
            .field("exit", &self.status())
            .finish_non_exhaustive()
    }
}

impl Background {
    /// A task waits for the child, so that it never stays a zombie.
    pub(super) fn reap(program: String, mut child: Child) -> Self {
        let pid = child.id().map_or(0, |pid| pid as i32);
        let (tell, exit) = watch::channel(None);
        tokio::spawn(async move {
            if let Ok(status) = child.wait().await {
                tell.send_replace(Some(status));
            }
        });
        Background {
            program,
            pid,
            exit,
            elsewhere: None,
        }
    }

    /// A program in a container; `run` ends with it.
    pub(super) fn elsewhere(
        program: String,
        run: impl Future<Output = Option<ExitStatus>> + Send + 'static,
        signaller: Signaller,
    ) -> Self {
        let (tell, exit) = watch::channel(None);
        tokio::spawn(async move {
            if let Some(status) = run.await {
                tell.send_replace(Some(status));
            }
        });
        Background {
            program,
            pid: 0,
            exit,
            elsewhere: Some(signaller),
        }
    }

    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// How it ended; `None` while it runs.
    pub fn status(&self) -> Option<ExitStatus> {
        *self.exit.borrow()
    }

    /// Waits for its end; `None` when that cannot be known any more.
    pub async fn wait(&self) -> Option<ExitStatus> {
        let mut exit = self.exit.clone();
        exit.wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|status| *status)
    }

    /// Asks it to end with SIGINT, as for `pg_receivewal`, and waits.
    pub async fn stop(&self, timeout: Duration) -> Result<ExitStatus, Error> {
        self.signal(Signal::SIGINT);
        let late = || Error::Unresponsive {
            what: self.program.clone(),
            waited: timeout,
            pids: vec![self.pid],
        };
        match tokio::time::timeout(timeout, self.wait()).await {
            Ok(Some(status)) => Ok(status),
            _ => Err(late()),
        }
    }

    /// Kills it and everything it started.
    pub async fn kill(&self, timeout: Duration) -> Result<(), Error> {
        let wanted = Wanted {
            pids: vec![self.pid],
            ..Wanted::default()
        };
        if self.status().is_none() && self.signal_elsewhere(Signal::SIGKILL) {
            let _ = tokio::time::timeout(timeout, self.wait()).await;
        } else if self.status().is_none() {
            process::kill_all(&self.program, &wanted, timeout).await?;
        }
        Ok(())
    }

    pub fn signal(&self, signal: Signal) -> bool {
        if self.elsewhere.is_some() {
            return self.status().is_none() && self.signal_elsewhere(signal);
        }
        self.status().is_none()
            && Proc::get(self.pid).is_some_and(|proc| process::signal(&proc, signal))
    }

    fn signal_elsewhere(&self, signal: Signal) -> bool {
        let send = |signaller: &Signaller| signaller(signal.as_str().trim_start_matches("SIG"));
        self.elsewhere.as_ref().map(send).is_some()
    }
}
