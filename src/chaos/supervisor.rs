//! A run that outlives its process: a child does the work, and when it is killed, another one resumes the run from its
//! bundle. The servers stay, because their lab belongs to the supervisor.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

use super::guardian::program;
use super::{Error, Journal, Sweep, sweep};
use crate::exit;
use crate::runtime::{
    Error as RuntimeError, Lab, LabRecord, LocalRuntime, ProcessId, SUPERVISED_FOR, SUPERVISOR,
};

/// A run that is killed again and again gets nowhere.
const EPOCHS: u32 = 100;

/// Whoever kills a worker may be about to end its supervisor, too: the time to say so.
const LULL: Duration = Duration::from_millis(100);

/// What healing a lab may take before it is removed as it is.
const HEALING: Duration = Duration::from_secs(20);

/// Does a run in processes of its own, one after another.
#[derive(Debug)]
pub struct Supervisor {
    began: Instant,
    interrupt: Stream,
    terminate: Stream,
    /// How often it was told to end.
    told: u32,
    /// Whether the user wants the labs of this run, be it of a failed one.
    keeps: bool,
}

impl Supervisor {
    /// From here on no signal is lost, also when no worker is there to take it.
    pub fn new(keeps: bool) -> Result<Self, Error> {
        let listen = |kind| signal(kind).map_err(Error::io("listen for signals to", "the run"));
        Ok(Supervisor {
            began: Instant::now(),
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            told: 0,
            keeps,
        })
    }

    /// Runs this program with the same arguments until it ends by itself; its exit code. Each time it is killed, the
    /// run it was in goes on with `--resume DIR`. No lab that nobody wants is left behind.
    pub async fn run(mut self, arguments: &[OsString]) -> Result<i32, Error> {
        let ended = self.epochs(arguments).await;
        let stopped = matches!(ended, Ok(exit::INTERRUPTED | exit::DEADLINE));
        let clean = self.clean_up(stopped).await;
        match ended {
            Ok(exit::PASS) if !clean => Ok(exit::CLEANUP),
            ended => ended,
        }
    }

    async fn epochs(&mut self, arguments: &[OsString]) -> Result<i32, Error> {
        let mut killed_by = Signal::SIGKILL;
        let mut resume: Option<PathBuf> = None;
        for _ in 0..EPOCHS {
            let mut child = self.start(arguments, resume.as_deref())?;
            let status = self.wait(&mut child).await?;
            let Some(signal) = crashed(status) else {
                return Ok(status.code().unwrap_or(exit::INTERRUPTED));
            };
            killed_by = signal;
            if self.is_told().await {
                say(&format!(
                    "killed by {signal}, and told to end: the run does not go on"
                ));
                return Ok(exit::INTERRUPTED);
            }
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

    fn start(&self, arguments: &[OsString], resume: Option<&Path>) -> Result<Child, Error> {
        let program = program().map_err(Error::io("find", "this program"))?;
        let mut command = Command::new(&program);
        command.args(arguments);
        if let Some(folder) = resume {
            command.arg("--resume").arg(folder);
        }
        command
            .env(SUPERVISOR, std::process::id().to_string())
            .env(SUPERVISED_FOR, self.began.elapsed().as_millis().to_string())
            .stdin(Stdio::null())
            // A signal from the terminal reaches it once: through this process.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(Error::io("start", &program))
    }

    /// Waits for the end of the child and passes on what it is told meanwhile.
    async fn wait(&mut self, child: &mut Child) -> Result<ExitStatus, Error> {
        loop {
            let told = tokio::select! {
                status = child.wait() => return status.map_err(Error::io("wait for", "the run")),
                told = self.signal() => told,
            };
            self.told += 1;
            if let Some(pid) = child.id() {
                // It may have ended just now.
                let _ = kill(Pid::from_raw(pid as i32), told);
            }
        }
    }

    /// The next signal that tells this process to end.
    async fn signal(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::SIGINT,
            _ = self.terminate.recv() => Signal::SIGTERM,
        }
    }

    /// Whether somebody wants the run to end, now that it has no worker.
    async fn is_told(&mut self) -> bool {
        if self.told == 0 && tokio::time::timeout(LULL, self.signal()).await.is_ok() {
            self.told += 1;
        }
        self.told > 0
    }

    /// Removes the labs that workers left to this process, unless they are kept. A run with a bundle somebody asked for
    /// keeps its lab only as long as it may go on. Whether all went well.
    async fn clean_up(&self, stopped: bool) -> bool {
        let Some((runtime, records)) = own_labs() else {
            return true;
        };
        let mut clean = true;
        for record in records {
            let unfinished = record.run_folder.is_some() && !self.keeps;
            if record.keep && !(stopped && unfinished) {
                if unfinished {
                    left_behind(&record, "its run is not over");
                }
            } else if self.told > 1 {
                // Whoever says it twice wants the prompt back.
                left_behind(&record, "interrupted again");
            } else if let Err(error) = remove(&runtime, &record).await {
                left_behind(&record, &error.to_string());
                clean = false;
            }
        }
        clean
    }
}

/// Removes a lab, and the bundle of its run if nobody asked for one.
async fn remove(runtime: &LocalRuntime, record: &LabRecord) -> Result<(), RuntimeError> {
    // A guardian that starts a server again while its lab is removed would leave it behind.
    let journal = Journal::of(&runtime.state, &record.id);
    if journal.path().exists() {
        let only = Sweep {
            only: Some(journal.path()),
            ..Sweep::default()
        };
        // What cannot be healed goes with the lab.
        let _ = tokio::time::timeout(HEALING, sweep(runtime, only)).await;
    }
    let removed = match Lab::open(runtime, &record.id) {
        Err(RuntimeError::UnknownLab { .. }) => return Ok(()),
        lab => lab?.destroy().await,
    };
    removed?;
    if let Some(folder) = &record.run_folder {
        runtime.state.discard_run(folder)?;
    }
    say(&format!("lab {} is removed", record.id));
    Ok(())
}

fn left_behind(record: &LabRecord, why: &str) {
    let id = &record.id;
    let next = match &record.run_folder {
        Some(folder) => format!(
            "rpitr chaos resume {} goes on with its run, rpitr lab rm {id} removes it",
            folder.display()
        ),
        None => "rpitr lab gc removes it".to_string(),
    };
    say(&format!("lab {id} is left behind: {why}; {next}"));
}

/// The signal of a process that did not end of its own accord; being told to end is.
fn crashed(status: ExitStatus) -> Option<Signal> {
    let signal = Signal::try_from(status.signal()?).ok()?;
    (!matches!(signal, Signal::SIGINT | Signal::SIGTERM | Signal::SIGHUP)).then_some(signal)
}

/// The bundle of the run that goes on in a lab of this process.
fn unfinished_run() -> Option<PathBuf> {
    let (_, records) = own_labs()?;
    records.into_iter().find_map(|record| record.run_folder)
}

/// The labs of this process, and where they are.
fn own_labs() -> Option<(LocalRuntime, Vec<LabRecord>)> {
    let runtime = LocalRuntime::from_env()
        .or_else(|_| LocalRuntime::for_containers())
        .ok()?;
    let (mut records, _) = runtime.registry().list().ok()?;
    let own = ProcessId::own();
    records.retain(|record| record.owner == own);
    Some((runtime, records))
}

fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "rpitr: {text}");
}
