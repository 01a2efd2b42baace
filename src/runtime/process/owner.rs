//! Who answers for what this process makes: itself, or the supervisor that started it. A supervised process may be killed;
//! its supervisor goes on with what it leaves, so labs belong to that one.

use std::sync::OnceLock;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Pid, getppid};

use super::{Proc, ProcessId};

/// Names the supervisor's process id to the process that does its work.
pub const SUPERVISOR: &str = "RPITR_SUPERVISOR";

/// Tells it for how many milliseconds the run has gone on already.
pub const SUPERVISED_FOR: &str = "RPITR_SUPERVISED_FOR";

static SUPERVISED_BY: OnceLock<ProcessId> = OnceLock::new();

/// Takes note of a supervisor, if this process has one, and ends with it: a run nobody waits for would go on unseen, in
/// servers that look abandoned. `false`: the supervisor is gone already.
pub fn heed_supervisor() -> bool {
    let named = std::env::var(SUPERVISOR).ok();
    let Some(supervisor) = named.and_then(|pid| pid.parse::<i32>().ok()) else {
        return true;
    };
    end_with(Pid::from_raw(supervisor));
    if getppid().as_raw() != supervisor {
        // A program that a supervised run has started inherits the name. It has a parent of its own.
        let gone = Proc::get(supervisor).is_none();
        if !gone {
            stay();
        }
        return !gone;
    }
    // Not in the terminal's foreground, it would be stopped for writing there after `stty tostop`.
    let _ = SigSet::from(Signal::SIGTTOU).thread_block();
    if let Some(proc) = Proc::get(supervisor) {
        let _ = SUPERVISED_BY.set(proc.id());
    }
    true
}

/// Whether somebody goes on with the run when this process is killed.
pub fn is_supervised() -> bool {
    SUPERVISED_BY.get().is_some()
}

/// How long the run has gone on when this process begins: what was before a resumption counts.
pub fn supervised_for() -> Duration {
    let told = std::env::var(SUPERVISED_FOR).ok();
    let millis = told
        .filter(|_| is_supervised())
        .and_then(|text| text.parse().ok());
    Duration::from_millis(millis.unwrap_or(0))
}

impl ProcessId {
    /// Who owns what this process makes.
    pub fn owner() -> Self {
        SUPERVISED_BY.get().cloned().unwrap_or_else(ProcessId::own)
    }
}

#[cfg(target_os = "linux")]
fn end_with(_: Pid) {
    let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
}

#[cfg(target_os = "linux")]
fn stay() {
    let _ = nix::sys::prctl::set_pdeathsig(None);
}

/// Elsewhere nobody says when a parent ends: its child becomes another's.
#[cfg(not(target_os = "linux"))]
fn end_with(supervisor: Pid) {
    use nix::sys::signal::kill;
    if getppid() != supervisor {
        return;
    }
    let watch = move || {
        while getppid() == supervisor {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let _ = kill(Pid::this(), Signal::SIGKILL);
    };
    let _ = std::thread::Builder::new()
        .name("supervisor".into())
        .spawn(watch);
}

#[cfg(not(target_os = "linux"))]
fn stay() {}
