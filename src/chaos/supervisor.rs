//! A run that outlives its process: a child does the work, and when it is killed, another one resumes the run from its
//! bundle. The servers stay, because their lab belongs to the supervisor.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use super::Error;
use super::guardian::program;
use crate::exit;
use crate::runtime::{LocalRuntime, ProcessId, SUPERVISOR};

/// A run that is killed again and again gets nowhere.
const EPOCHS: u32 = 100;

/// Runs this program with the same arguments until it ends by itself; its exit code. Each time it is killed, the run
/// it was in goes on with `--resume DIR`.
pub async fn supervise(arguments: &[OsString]) -> Result<i32, Error> {
    let mut killed_by = Signal::SIGKILL;
    let mut resume: Option<PathBuf> = None;
    for _ in 0..EPOCHS {
        let mut child = start(arguments, resume.as_deref())?;
        let status = wait(&mut child).await?;
        let Some(signal) = crashed(status) else {
            return Ok(status.code().unwrap_or(exit::INTERRUPTED));
        };
        killed_by = signal;
        resume = unfinished_run();
        let Some(folder) = &resume else {
            return Err(Error::NothingToResume { signal });
        };
        say(&format!(
            "killed by {signal}; the run goes on, resumed from {}",
            folder.display()
        ));
    }
    Err(Error::KilledTooOften {
        signal: killed_by,
        times: EPOCHS,
    })
}

fn start(arguments: &[OsString], resume: Option<&Path>) -> Result<Child, Error> {
    let program = program().map_err(Error::io("find", "this program"))?;
    let mut command = Command::new(&program);
    command.args(arguments);
    if let Some(folder) = resume {
        command.arg("--resume").arg(folder);
    }
    command
        .env(SUPERVISOR, std::process::id().to_string())
        .stdin(Stdio::null())
        // A signal from the terminal reaches it once: through this process.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(Error::io("start", &program))
}

/// Waits for the end of the child and passes on what it is told meanwhile.
async fn wait(child: &mut Child) -> Result<ExitStatus, Error> {
    let failed = |error| Error::io("wait for", "the run")(error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    loop {
        let told = tokio::select! {
            status = child.wait() => return status.map_err(failed),
            _ = interrupt.recv() => Signal::SIGINT,
            _ = terminate.recv() => Signal::SIGTERM,
        };
        if let Some(pid) = child.id() {
            // It may have ended just now.
            let _ = kill(Pid::from_raw(pid as i32), told);
        }
    }
}

/// The signal of a process that did not end of its own accord; being told to end is.
fn crashed(status: ExitStatus) -> Option<Signal> {
    let signal = Signal::try_from(status.signal()?).ok()?;
    (!matches!(signal, Signal::SIGINT | Signal::SIGTERM | Signal::SIGHUP)).then_some(signal)
}

/// The bundle of the run that goes on in a lab of this process.
fn unfinished_run() -> Option<PathBuf> {
    let runtime = LocalRuntime::from_env()
        .or_else(|_| LocalRuntime::for_containers())
        .ok()?;
    let (records, _) = runtime.registry().list().ok()?;
    let own = ProcessId::own();
    let mut mine = records.into_iter().filter(|record| record.owner == own);
    mine.find_map(|record| record.run_folder)
}

fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "rpitr: {text}");
}
