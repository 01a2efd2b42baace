//! Running programs in a container: streams apart, exit status, no shell in between.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;

use super::error::status;
use super::{Engine, Error};

/// The account servers and tools run as, in every image.
pub(super) const SERVER_USER: &str = "postgres";

/// A program to run.
#[derive(Debug, Clone, Default)]
pub(super) struct Exec {
    pub user: &'static str,
    pub command: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    pub cwd: Option<String>,
    pub stdin: Option<Vec<u8>>,
    /// Kill the program when the wait for it is abandoned.
    pub kill_on_drop: bool,
}

impl Exec {
    /// For messages.
    pub fn describe(&self, container: &str) -> String {
        let program = self.command.first().map(String::as_str).unwrap_or_default();
        format!("{program} in container {container}")
    }
}

/// What a program left behind.
#[derive(Debug)]
pub(super) struct Output {
    pub code: i64,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Output {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// As a process of this machine would have ended: shells and engines report a signal as 128 + n.
    pub fn status(&self) -> ExitStatus {
        ExitStatus::from_raw((self.code as i32 & 0xFF) << 8)
    }
}

/// Marks a program in its environment, so that it can be found and killed.
pub(super) const MARK: &str = "RPITR_EXEC";

/// Signals everything that carries a mark.
pub(super) const SIGNAL_MARKED: &str = r#"for p in /proc/[0-9]*; do
  if tr '\0' '\n' <"$p/environ" 2>/dev/null | grep -qxF "$1"; then kill -s "$2" "${p#/proc/}"; fi
done"#;

/// Sends a signal to a program, by its name without SIG.
pub(crate) type Signaller = Arc<dyn Fn(&'static str) + Send + Sync>;

impl Engine {
    /// A mark for a program's environment, and a way to signal what carries it.
    pub(super) fn signaller(&self, container: &str) -> (String, Signaller) {
        let mark = format!("{MARK}={:016x}", rand::random::<u64>());
        let (engine, container, wanted) = (self.clone(), container.to_string(), mark.clone());
        let send = move |signal: &'static str| {
            let (engine, container, mark) = (engine.clone(), container.clone(), wanted.clone());
            tokio::spawn(async move {
                let args = [mark.as_str(), signal];
                let _ = engine.script(&container, SIGNAL_MARKED, &args, None).await;
            });
        };
        (mark, Arc::new(send))
    }

    /// Runs one of rpitr's scripts as the server's user; `$1` and on are `args`.
    pub(super) async fn script(
        &self,
        container: &str,
        script: &str,
        args: &[&str],
        stdin: Option<Vec<u8>>,
    ) -> Result<Output, Error> {
        self.script_as(SERVER_USER, container, script, args, stdin)
            .await
    }

    pub(super) async fn script_as(
        &self,
        user: &'static str,
        container: &str,
        script: &str,
        args: &[&str],
        stdin: Option<Vec<u8>>,
    ) -> Result<Output, Error> {
        let mut command = vec!["/bin/sh".into(), "-c".into(), script.into(), "rpitr".into()];
        command.extend(args.iter().map(|arg| arg.to_string()));
        let exec = Exec {
            user,
            command,
            stdin,
            ..Exec::default()
        };
        self.exec(container, exec).await
    }

    /// As [`Engine::script`]; a failure is an error that says what could not be done.
    pub(super) async fn must(
        &self,
        container: &str,
        (doing, what): (&'static str, &str),
        script: &str,
        args: &[&str],
        stdin: Option<Vec<u8>>,
    ) -> Result<Output, Error> {
        let output = self.script(container, script, args, stdin).await?;
        if output.code != 0 {
            return Err(Error::Script {
                doing,
                what: what.to_string(),
                container: container.to_string(),
                stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            });
        }
        Ok(output)
    }

    /// Runs a program to its end.
    pub(super) async fn exec(&self, container: &str, mut exec: Exec) -> Result<Output, Error> {
        let mut guard = KillOnDrop {
            target: None,
            engine: self,
        };
        if exec.kill_on_drop {
            let mark = format!("{MARK}={:016x}", rand::random::<u64>());
            guard.target = Some((container.to_string(), mark.clone()));
            exec.env.push(mark);
        }
        let output = match self.run_in_session(container, &exec).await {
            Ok(Some(output)) => Ok(output),
            Ok(None) => self.exec_alone(container, &exec).await,
            Err(error) => Err(error),
        };
        guard.target = None;
        output
    }

    /// Runs a program to its end, started by the engine itself.
    pub(super) async fn exec_alone(&self, container: &str, exec: &Exec) -> Result<Output, Error> {
        let failed = |error: bollard::errors::Error| match status(&error) {
            Some(404) => Error::Gone {
                container: container.to_string(),
            },
            _ => Error::api("run", exec.describe(container))(error),
        };
        let options = CreateExecOptions {
            attach_stdin: Some(exec.stdin.is_some()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(exec.command.clone()),
            env: Some([&["LC_ALL=C".to_string()], exec.env.as_slice()].concat()),
            user: Some(exec.user.to_string()),
            working_dir: exec.cwd.clone(),
            ..CreateExecOptions::default()
        };
        let id = self
            .docker
            .create_exec(container, options)
            .await
            .map_err(failed)?
            .id;
        let start = StartExecOptions {
            output_capacity: Some(256 * 1024),
            ..StartExecOptions::default()
        };
        let started = self
            .docker
            .start_exec(&id, Some(start))
            .await
            .map_err(failed)?;
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        if let StartExecResults::Attached {
            mut output,
            mut input,
        } = started
        {
            let feed = async {
                if let Some(bytes) = &exec.stdin {
                    // A program may end without reading everything.
                    let _ = input.write_all(bytes).await;
                    let _ = input.flush().await;
                    let _ = input.shutdown().await;
                }
            };
            let read = async {
                while let Some(part) = output.next().await {
                    match part.map_err(failed)? {
                        LogOutput::StdErr { message } => stderr.extend_from_slice(&message),
                        other => stdout.extend_from_slice(other.as_ref()),
                    }
                }
                Ok::<_, Error>(())
            };
            let (_, read) = tokio::join!(feed, read);
            read?;
        }
        let code = loop {
            let state = self.docker.inspect_exec(&id).await.map_err(failed)?;
            if state.running != Some(true) {
                break state.exit_code.unwrap_or(-1);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        Ok(Output {
            code,
            stdout,
            stderr,
        })
    }
}

/// Kills a program nobody waits for any more.
struct KillOnDrop<'a> {
    target: Option<(String, String)>,
    engine: &'a Engine,
}

impl Drop for KillOnDrop<'_> {
    fn drop(&mut self) {
        if let Some((container, mark)) = self.target.take() {
            let engine = self.engine.clone();
            tokio::spawn(async move {
                let _ = engine
                    .script(&container, SIGNAL_MARKED, &[&mark, "KILL"], None)
                    .await;
            });
        }
    }
}
