//! Running programs as the server user: PostgreSQL's tools to their end, receivers in the background,
//! servers for good.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use super::{Background, Error, ServerUser};

/// How a program is run.
#[derive(Clone, Default)]
pub struct ToolOptions {
    /// Added to the clean environment. Passwords belong here (`PGPASSWORD`), never in the arguments.
    pub env: Vec<(String, String)>,
    pub stdin: Option<Vec<u8>>,
    pub timeout: Option<Duration>,
    /// Default: the lab's directory.
    pub cwd: Option<PathBuf>,
}

/// Shows the names of variables only: their values and the input may be passwords.
impl std::fmt::Debug for ToolOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let env: Vec<&str> = self.env.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("ToolOptions")
            .field("env", &env)
            .field("timeout", &self.timeout)
            .field("cwd", &self.cwd)
            .finish_non_exhaustive()
    }
}

/// What a program left behind.
#[derive(Debug, Clone)]
pub struct ToolOutput {
    /// Its name, without the directory.
    pub program: String,
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub elapsed: Duration,
}

impl ToolOutput {
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// The output of a program that succeeded, or an error with the end of its stderr.
    pub fn check(self) -> Result<Self, Error> {
        if self.status.success() {
            return Ok(self);
        }
        Err(Error::Tool {
            program: self.program.clone(),
            status: describe(self.status),
            stderr: tail(&self.stderr_text(), 20),
        })
    }
}

/// `exit code 1`, `signal 9`.
pub(super) fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => match Signal::try_from(signal) {
            Ok(name) => format!("signal {name}"),
            Err(_) => format!("signal {signal}"),
        },
        (None, None) => "unknown status".to_string(),
    }
}

/// The last lines of a text.
pub(super) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Starts programs for one lab: as its user, with its marker, in a clean environment.
#[derive(Debug, Clone)]
pub(super) struct Launcher {
    pub user: ServerUser,
    pub bin_dir: PathBuf,
    pub lab: String,
    pub lab_dir: PathBuf,
}

/// What programs inherit from rpitr's own environment: nothing that changes what PostgreSQL does.
const INHERITED: &[&str] = &[
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "DYLD_LIBRARY_PATH",
    "TZDIR",
    "RUST_BACKTRACE",
];

impl Launcher {
    /// The environment variable that marks everything a lab starts.
    pub fn marker(lab: &str) -> String {
        format!("RPITR_LAB={lab}")
    }

    /// A name without a directory is looked for among the installation's programs first.
    fn resolve(&self, program: &str) -> PathBuf {
        let own = self.bin_dir.join(program);
        if !program.contains('/') && own.exists() {
            return own;
        }
        PathBuf::from(program)
    }

    pub fn command<S: AsRef<OsStr>>(
        &self,
        program: &Path,
        args: &[S],
        env: &[(String, String)],
        cwd: &Path,
    ) -> Command {
        let mut command = std::process::Command::new(program);
        let mut path = OsString::from(&self.bin_dir);
        if let Some(rest) = std::env::var_os("PATH") {
            path.push(":");
            path.push(rest);
        }
        command
            .args(args)
            .env_clear()
            .envs(
                INHERITED
                    .iter()
                    .filter_map(|name| Some((name, std::env::var_os(name)?))),
            )
            .env("PATH", path)
            .env("HOME", &self.user.home)
            .env("USER", &self.user.name)
            .env("LOGNAME", &self.user.name)
            .env("LC_ALL", "C")
            .env("RPITR_LAB", &self.lab)
            .envs(env.iter().map(|(name, value)| (name, value)))
            .current_dir(cwd);
        self.user.apply(&mut command);
        Command::from(command)
    }

    /// Runs a program to its end. Dropping the future kills the program and its process group.
    pub async fn run<S: AsRef<OsStr>>(
        &self,
        program: &str,
        args: &[S],
        options: ToolOptions,
    ) -> Result<ToolOutput, Error> {
        let started = Instant::now();
        let name = short_name(program);
        let cwd = options.cwd.as_deref().unwrap_or(&self.lab_dir);
        let mut command = self.command(&self.resolve(program), args, &options.env, cwd);
        command
            .stdin(if options.stdin.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(|source| Error::Spawn {
            program: name.clone(),
            source,
        })?;
        let mut group = Group::of(&child);
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let work = talk(&mut child, options.stdin, &mut stdout, &mut stderr);
        let status = match options.timeout {
            None => work.await,
            Some(after) => {
                tokio::time::timeout(after, work)
                    .await
                    .map_err(|_| Error::ToolTimeout {
                        program: name.clone(),
                        after,
                    })?
            }
        };
        let status = status.map_err(|source| Error::Spawn {
            program: name.clone(),
            source,
        })?;
        group.disarm();
        Ok(ToolOutput {
            program: name,
            status,
            stdout,
            stderr,
            elapsed: started.elapsed(),
        })
    }

    /// Starts a program that goes on when rpitr ends: in its own session, output appended to `log`.
    pub fn spawn_detached<S: AsRef<OsStr>>(
        &self,
        program: &str,
        args: &[S],
        env: &[(String, String)],
        cwd: &Path,
        log: &Path,
    ) -> Result<Background, Error> {
        let file = self.open_log(log)?;
        let second = file.try_clone().map_err(Error::io("open", log))?;
        let resolved = self.resolve(program);
        // Its own session keeps it from being stopped or continued with our terminal. Without the
        // setsid program (macOS), its own process group must do.
        let setsid = Path::new("/usr/bin/setsid");
        let mut command = if setsid.exists() {
            let mut all: Vec<&OsStr> = vec![resolved.as_os_str()];
            all.extend(args.iter().map(AsRef::as_ref));
            self.command(setsid, &all, env, cwd)
        } else {
            let mut command = self.command(&resolved, args, env, cwd);
            command.process_group(0);
            command
        };
        command
            .stdin(Stdio::null())
            .stdout(Stdio::from(file))
            .stderr(Stdio::from(second))
            .kill_on_drop(false);
        let child = command.spawn().map_err(|source| Error::Spawn {
            program: short_name(program),
            source,
        })?;
        Ok(Background::reap(short_name(program), child))
    }

    /// Opens a log for appending, as a file of the server user.
    fn open_log(&self, log: &Path) -> Result<std::fs::File, Error> {
        use std::os::unix::fs::OpenOptionsExt;
        let file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(nix::libc::O_NOFOLLOW)
            .open(log)
            .map_err(Error::io("open", log))?;
        if self.user.switch {
            std::os::unix::fs::fchown(&file, Some(self.user.uid), Some(self.user.gid))
                .map_err(Error::io("change the owner of", log))?;
        }
        Ok(file)
    }
}

pub(super) fn short_name(program: &str) -> String {
    program.rsplit('/').next().unwrap_or(program).to_string()
}

/// Feeds stdin, reads both outputs and waits for the end.
async fn talk(
    child: &mut Child,
    input: Option<Vec<u8>>,
    stdout: &mut Vec<u8>,
    stderr: &mut Vec<u8>,
) -> std::io::Result<ExitStatus> {
    let (stdin, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let io = async {
        let write = async {
            if let (Some(mut pipe), Some(bytes)) = (stdin, input) {
                // A program may end without reading everything.
                let _ = pipe.write_all(&bytes).await;
                let _ = pipe.shutdown().await;
            }
        };
        let read_out = async {
            if let Some(mut pipe) = out {
                let _ = pipe.read_to_end(stdout).await;
            }
        };
        let read_err = async {
            if let Some(mut pipe) = err {
                let _ = pipe.read_to_end(stderr).await;
            }
        };
        tokio::join!(write, read_out, read_err);
    };
    tokio::pin!(io);
    tokio::select! {
        () = &mut io => child.wait().await,
        status = child.wait() => {
            // A server that the program started may hold the pipes open for ever.
            let _ = tokio::time::timeout(Duration::from_millis(250), io).await;
            status
        }
    }
}

/// Kills the process group of a program when the wait for it is abandoned.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Group(child.id().map(|pid| Pid::from_raw(pid as i32)))
    }

    fn disarm(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}
