//! The guardian: a process of its own that heals when its rpitr dies, however it dies, or when a fault has outlived
//! its time. It holds the read end of a pipe; the kernel closes the other end with the last breath of rpitr.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::heal::{Healer, heal_locked, undo};
use super::journal::now;
use super::{Error, Journal, State};
use crate::failure::Failure;
use crate::runtime::{Lab, LocalRuntime};

/// The name of the hidden command.
pub const COMMAND: &str = "__guard";

/// What the guardian may take to say that it is there.
const GREETING: Duration = Duration::from_secs(20);
/// What a probe may take until it holds.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it looks for faults that have outlived their time.
const TICK: Duration = Duration::from_millis(250);
/// After this, what was still under way when rpitr died (a request to a Docker engine, a shell) has happened.
const GRACE: Duration = Duration::from_millis(400);

/// The guardian as its rpitr sees it. Dropping it wakes the guardian.
#[derive(Debug)]
pub struct Guardian {
    child: Child,
    pipe: Option<ChildStdin>,
}

impl Guardian {
    /// Starts the guardian of a journal and waits until it watches.
    pub fn start(journal: &Journal) -> Result<Self, Error> {
        let failed = |reason: String| Error::NoGuardian {
            path: journal.path().to_path_buf(),
            reason,
        };
        let log = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(journal.log())
            .map_err(Error::io("open", journal.log()))?;
        let mut child = Command::new(program().map_err(|error| failed(error.to_string()))?)
            .arg(COMMAND)
            .arg(journal.path())
            // Never one of the processes that a lab's end kills.
            .env_remove("RPITR_LAB")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        let pipe = child.stdin.take();
        let mut ready = child.stdout.take();
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut byte = [0u8; 1];
            let got = ready.as_mut().map(|pipe| pipe.read_exact(&mut byte));
            let _ = tell.send(matches!(got, Some(Ok(()))));
        });
        if told.recv_timeout(GREETING) != Ok(true) {
            let _ = child.kill();
            let _ = child.wait();
            return Err(failed("it did not say that it is ready".into()));
        }
        Ok(Guardian { child, pipe })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Lets it go, and waits until it has: with the journal gone it has nothing to do.
    pub async fn dismiss(mut self) {
        self.pipe = None;
        let deadline = Instant::now() + GREETING;
        while let Ok(None) = self.child.try_wait()
            && Instant::now() < deadline
        {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// This program, also when its file has been replaced since.
pub(super) fn program() -> std::io::Result<PathBuf> {
    let own = Path::new("/proc/self/exe");
    match own.exists() {
        true => Ok(own.to_path_buf()),
        false => std::env::current_exe(),
    }
}

/// The guardian's whole life; returns its exit code.
pub fn main(args: &[OsString]) -> i32 {
    let Some(path) = args.first() else {
        return 2;
    };
    // Out of reach of the terminal's Ctrl-C and hang-up.
    let _ = nix::unistd::setsid();
    let journal = Journal::at(Path::new(path));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let watched = match runtime {
        Ok(runtime) => tokio::task::LocalSet::new().block_on(&runtime, watch(&journal)),
        Err(error) => Err(Error::io("start the guardian of", path)(error)),
    };
    match watched {
        Ok(true) => 0,
        Ok(false) => 1,
        Err(error) => {
            complain(&error);
            1
        }
    }
}

fn complain(error: &dyn std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "rpitr guardian: {error}");
}

/// Watches until rpitr is gone, then heals. `false`: something could not be healed.
async fn watch(journal: &Journal) -> Result<bool, Error> {
    // Asked to end, it would leave faults behind: only the end of rpitr ends it.
    let mut ignored = Vec::new();
    for kind in [
        SignalKind::terminate(),
        SignalKind::hangup(),
        SignalKind::interrupt(),
    ] {
        ignored.extend(signal(kind));
    }
    journal.set_guardian()?;
    let (tell, mut gone) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = tell.send(());
    });
    let mut out = std::io::stdout();
    let _ = out.write_all(b"1").and_then(|()| out.flush());
    loop {
        match tokio::time::timeout(TICK, &mut gone).await {
            Ok(_) => return heal_all(journal).await,
            Err(_) => heal_overdue(journal).await,
        }
    }
}

/// Heals what has outlived its time; failures are tried again at the next tick.
async fn heal_overdue(journal: &Journal) {
    let overdue = |state: &State| -> Vec<u64> {
        let late = |entry: &&super::Entry| entry.until <= now();
        state
            .active
            .iter()
            .filter(late)
            .map(|entry| entry.seq)
            .collect()
    };
    let Ok(Some(state)) = journal.read() else {
        return;
    };
    for seq in overdue(&state).into_iter().rev() {
        let work = async {
            let lab = open(&state.lab)?;
            let healer = Healer {
                by: "guardian: time is up",
                patience: Some(PATIENCE),
            };
            super::heal(journal, &lab, seq, healer).await
        };
        if let Err(error) = work.await {
            complain(&error);
        }
    }
}

/// Heals everything, the last fault first. The journal goes when all is well.
async fn heal_all(journal: &Journal) -> Result<bool, Error> {
    let Some(_lock) = journal.lock().await? else {
        return Ok(true);
    };
    let Some(state) = journal.read()? else {
        return Ok(true);
    };
    Ok(heal_state(journal, &state, "guardian")
        .await?
        .iter()
        .all(|(_, result)| result.is_none()))
}

/// Heals all faults of a journal whose lock is held: first every step back, because time counts, then a second
/// look at each, because something may have been under way, and its probes.
pub(super) async fn heal_state(
    journal: &Journal,
    state: &State,
    by: &str,
) -> Result<Vec<(String, Option<Failure>)>, Error> {
    if state.active.is_empty() {
        journal.remove()?;
        return Ok(Vec::new());
    }
    let lab = open(&state.lab)?;
    for entry in state.active.iter().rev() {
        // Its lab is being removed: there is nothing worth healing any more.
        if !journal.exists() {
            return Ok(Vec::new());
        }
        let began = Instant::now();
        match undo(&lab, entry).await {
            Ok(()) => note(
                journal,
                &format!("{} undone in {:?}", entry.describe(), began.elapsed()),
            ),
            Err(error) => note(journal, &error.to_string()),
        }
    }
    note(journal, "undone");
    tokio::time::sleep(GRACE).await;
    if !journal.exists() {
        return Ok(Vec::new());
    }
    let mut outcomes = Vec::new();
    let mut left = state.clone();
    for entry in state.active.iter().rev().filter(|_| journal.exists()) {
        let healer = Healer {
            by,
            patience: Some(PATIENCE),
        };
        let failure = match heal_locked(journal, &left, &lab, entry.seq, healer).await {
            Ok(Some(healed)) => healed
                .failure()
                .map(|check| Failure::from(Error::undo(entry.describe(), check))),
            Ok(None) => None,
            Err(error) => Some(error.into()),
        };
        if failure.is_none() {
            left.active.retain(|other| other.seq != entry.seq);
        }
        outcomes.push((entry.describe(), failure));
    }
    if left.active.is_empty() {
        journal.remove()?;
    }
    Ok(outcomes)
}

fn note(journal: &Journal, text: &str) {
    if !journal.exists() {
        return;
    }
    let line = || -> std::io::Result<()> {
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(journal.log())?;
        writeln!(file, "{} {text}", now())
    };
    let _ = line();
}

fn open(lab: &str) -> Result<Lab, Error> {
    // A machine that only runs containers has no account for servers.
    let runtime = LocalRuntime::from_env().or_else(|_| LocalRuntime::for_containers())?;
    Ok(Lab::open(&runtime, lab)?)
}
