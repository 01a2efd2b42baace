//! Ctrl-C in three stages and the run deadline, on a thread of their own.
//!
//! The Lua thread may be busy in a loop that never waits, so signals and the deadline live on a
//! background thread that trips the root scopes; the instruction hook notices. First signal: the
//! script unwinds and cleans up. Second: cleanup is skipped too. Third: the process exits at once.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::scope::{Reason, Trip};
use crate::exit;

/// The two roots of every scope. `soft` is tripped by the first Ctrl-C, the run deadline and
/// `os.exit`; `hard`, from which cleanup descends, only by the second Ctrl-C.
#[derive(Debug, Clone, Default)]
pub struct Roots {
    pub soft: Trip,
    pub hard: Trip,
    /// The statement an interactive session is running: what Ctrl-C is meant for while there is one.
    pub foreground: Foreground,
}

/// See [`Roots::foreground`].
#[derive(Debug, Clone, Default)]
pub struct Foreground(Arc<Mutex<Target>>);

/// Whom Ctrl-C is meant for.
#[derive(Debug, Default)]
pub enum Target {
    /// The run as a whole.
    #[default]
    Run,
    /// One statement.
    Statement(Trip),
    /// A program that has the terminal for itself and handles Ctrl-C in its own way.
    Program,
    /// A process that does the run's work: whatever is meant for the run is passed on to it.
    Worker,
}

impl Foreground {
    pub fn set(&self, target: Target) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = target;
    }

    fn has_worker(&self) -> bool {
        let current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(&*current, Target::Worker)
    }

    /// Whether the signal was not for the run. A statement that was interrupted before and still
    /// runs leaves the next signal to the run.
    fn interrupt(&self) -> bool {
        let current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*current {
            Target::Program | Target::Worker => true,
            Target::Statement(trip) if trip.reason().is_none() => {
                trip.cancel(Reason::Interrupted);
                true
            }
            Target::Statement(_) | Target::Run => false,
        }
    }
}

/// How long a run may take, and what earlier processes have taken of it.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    pub after: Duration,
    pub spent: Duration,
}

/// Starts the watcher. `notice` prints one line to the user from the background thread, which ends
/// when the returned guard is dropped.
pub fn watch(roots: Roots, deadline: Option<Deadline>, notice: fn(&str)) -> DropGuard {
    let done = CancellationToken::new();
    let guard = done.clone().drop_guard();
    // The handlers are in place before the first line of a script runs: from here on no signal ends
    // the process without cleanup. Without the thread the run works, only Ctrl-C keeps its default.
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
    else {
        return guard;
    };
    let entered = runtime.enter();
    let streams = signal(SignalKind::interrupt()).and_then(|int| {
        let term = signal(SignalKind::terminate())?;
        Ok((int, term))
    });
    drop(entered);
    let Ok((int, term)) = streams else {
        return guard;
    };
    let watcher = move || {
        runtime.block_on(done.run_until_cancelled(async {
            tokio::join!(
                interrupts(&roots, int, term, notice),
                run_deadline(&roots, deadline)
            );
        }));
    };
    let _ = thread::Builder::new()
        .name("rpitr-signals".into())
        .spawn(watcher);
    guard
}

async fn interrupts(roots: &Roots, mut int: Signal, mut term: Signal, notice: fn(&str)) {
    let mut stage = 0;
    loop {
        let keyboard = tokio::select! {
            _ = int.recv() => true,
            _ = term.recv() => false,
        };
        if roots.foreground.has_worker() || keyboard && stage == 0 && roots.foreground.interrupt() {
            continue;
        }
        stage += 1;
        match stage {
            1 => {
                notice("interrupted: cleaning up (again to skip cleanup)");
                roots.soft.cancel(Reason::Interrupted);
            }
            2 => {
                notice("interrupted again: skipping cleanup (once more to exit at once)");
                roots.soft.cancel(Reason::Interrupted);
                roots.hard.cancel(Reason::Interrupted);
            }
            _ => std::process::exit(exit::INTERRUPTED),
        }
    }
}

async fn run_deadline(roots: &Roots, deadline: Option<Deadline>) {
    if let Some(Deadline { after, spent }) = deadline {
        tokio::time::sleep(after.saturating_sub(spent)).await;
        roots.soft.cancel(Reason::Deadline { after });
    }
}
