//! Programs in a script's container: an argument list, no shell in between; output as it comes.

use std::time::Duration;

use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;

use super::super::Error;
use super::super::error::status;
use super::super::exec::{MARK, SIGNAL_MARKED};
use super::{Part, Parts, ScriptContainers, Source};

/// A program to run.
#[derive(Debug, Clone, Default)]
pub struct Program {
    pub command: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    pub user: Option<String>,
    pub cwd: Option<String>,
    pub stdin: Option<Vec<u8>>,
}

/// A program that was started.
#[derive(Debug)]
pub struct RunningProgram {
    pub output: Parts,
    containers: ScriptContainers,
    container: String,
    id: String,
    mark: String,
}

pub(super) fn part(output: LogOutput) -> Part {
    let source = match output {
        LogOutput::StdErr { .. } => Source::Stderr,
        _ => Source::Stdout,
    };
    Part {
        source,
        bytes: output.as_ref().to_vec(),
    }
}

impl ScriptContainers {
    pub async fn start_program(
        &self,
        container: &str,
        program: Program,
    ) -> Result<RunningProgram, Error> {
        let name = program.command.first().cloned().unwrap_or_default();
        let what = format!("{name} in container {container}");
        let mark = format!("{MARK}={:016x}", rand::random::<u64>());
        let mut env = program.env;
        env.push(mark.clone());
        let options = CreateExecOptions {
            attach_stdin: Some(program.stdin.is_some()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(program.command),
            env: Some(env),
            user: program.user,
            working_dir: program.cwd,
            ..CreateExecOptions::default()
        };
        let made = self.docker().create_exec(container, options).await;
        let id = made
            .map_err(|error| self.gone_or("run", container, &what, error))?
            .id;
        let started = self
            .docker()
            .start_exec(&id, None::<StartExecOptions>)
            .await
            .map_err(Error::api("run", &what))?;
        let StartExecResults::Attached { output, mut input } = started else {
            return Err(Error::Answer {
                what,
                reason: "it is not attached".into(),
            });
        };
        if let Some(bytes) = program.stdin {
            tokio::spawn(async move {
                // A program may end without reading everything.
                let _ = input.write_all(&bytes).await;
                let _ = input.shutdown().await;
            });
        }
        let failed = move |error| Error::api("read the output of", &what)(error);
        let output = Parts::of(move || output.map(move |got| got.map(part).map_err(&failed)));
        Ok(RunningProgram {
            output,
            containers: self.clone(),
            container: container.to_string(),
            id,
            mark,
        })
    }

    pub(super) fn gone_or(
        &self,
        doing: &'static str,
        container: &str,
        what: &str,
        error: bollard::errors::Error,
    ) -> Error {
        match status(&error) {
            Some(404) => Error::Gone {
                container: container.to_string(),
            },
            _ => Error::api(doing, what)(error),
        }
    }
}

impl RunningProgram {
    /// Its exit status, once its output has ended.
    pub async fn code(&self) -> Result<i64, Error> {
        loop {
            let state = self.containers.docker().inspect_exec(&self.id).await;
            let state = state.map_err(Error::api("inspect program", &self.id))?;
            if state.running != Some(true) {
                return Ok(state.exit_code.unwrap_or(-1));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Kills it and what it started, as root of the container, which needs a shell for that.
    pub async fn kill(&self) -> Result<(), Error> {
        let args = [self.mark.as_str(), "KILL"];
        let engine = self.containers.engine();
        let done = engine.script_as("0", &self.container, SIGNAL_MARKED, &args, None);
        match done.await {
            // With its container the program is gone, too.
            Ok(_) | Err(Error::Gone { .. }) => Ok(()),
            Err(Error::Api { source, .. }) if status(&source) == Some(409) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
