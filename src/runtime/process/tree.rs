//! Signals to all processes of a server or a lab, with proof that they took effect.

use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use super::{Proc, Wanted};
use crate::runtime::Error;

/// How long a step waits before it looks again.
const POLL: Duration = Duration::from_millis(2);

/// Sends a signal; `false` when the process has ended. A process that took over its id is spared.
pub fn signal(proc: &Proc, signal: Signal) -> bool {
    proc.again().is_some() && signal::kill(Pid::from_raw(proc.pid), signal).is_ok()
}

/// Waits until all have ended; those that have not when time is up are the error.
pub async fn wait_gone(procs: &[Proc], deadline: Instant) -> Result<(), Vec<i32>> {
    loop {
        let left: Vec<i32> = procs
            .iter()
            .filter(|proc| proc.again().is_some())
            .map(|proc| proc.pid)
            .collect();
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(left);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Kills everything that matches, again and again until nothing does. Returns how many were killed.
pub async fn kill_all(what: &str, wanted: &Wanted, timeout: Duration) -> Result<usize, Error> {
    let started = Instant::now();
    let mut killed = 0;
    loop {
        let procs = wanted.find();
        if procs.is_empty() {
            return Ok(killed);
        }
        // Stopped first, a postmaster cannot notice a dead child and start to recover.
        if let Some(first) = procs.first() {
            signal(first, Signal::SIGSTOP);
        }
        for proc in &procs {
            killed += usize::from(signal(proc, Signal::SIGKILL));
        }
        if let Err(pids) = wait_gone(&procs, started + timeout).await {
            return Err(Error::Unresponsive {
                what: what.to_string(),
                waited: started.elapsed(),
                pids,
            });
        }
    }
}

/// Stops a server: the postmaster first, so that it starts nobody new, then every child; returns when
/// all of them are seen stopped. (A signal to the process group reaches the postmaster
/// alone: every backend has its own session.)
pub async fn pause(
    what: &str,
    postmaster: &Proc,
    wanted: &Wanted,
    timeout: Duration,
) -> Result<usize, Error> {
    let started = Instant::now();
    signal(postmaster, Signal::SIGSTOP);
    loop {
        let stopped = postmaster.again().is_none_or(|proc| proc.is_stopped());
        let procs = if stopped {
            wanted.find()
        } else {
            vec![postmaster.clone()]
        };
        let running: Vec<&Proc> = procs.iter().filter(|proc| !proc.is_stopped()).collect();
        if stopped && running.is_empty() {
            return Ok(procs.len());
        }
        if started.elapsed() >= timeout {
            return Err(Error::Unresponsive {
                what: what.to_string(),
                waited: started.elapsed(),
                pids: running.iter().map(|proc| proc.pid).collect(),
            });
        }
        for proc in running {
            signal(proc, Signal::SIGSTOP);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Continues a stopped server: children first, then the postmaster.
pub async fn resume(what: &str, wanted: &Wanted, timeout: Duration) -> Result<usize, Error> {
    let started = Instant::now();
    loop {
        let procs = wanted.find();
        let stopped: Vec<&Proc> = procs.iter().filter(|proc| proc.is_stopped()).collect();
        if stopped.is_empty() {
            return Ok(procs.len());
        }
        if started.elapsed() >= timeout {
            return Err(Error::Unresponsive {
                what: what.to_string(),
                waited: started.elapsed(),
                pids: stopped.iter().map(|proc| proc.pid).collect(),
            });
        }
        for proc in stopped.iter().rev() {
            signal(proc, Signal::SIGCONT);
        }
        tokio::time::sleep(POLL).await;
    }
}
