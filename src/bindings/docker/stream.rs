//! What comes bit by bit: `docker_next` for the next part, and a program's end.

use std::rc::Rc;

use mlua::{UserData, UserDataRef};
use tokio::sync::Mutex;

use super::super::internal;
use crate::engine::{HostTable, guard};
use crate::runtime::{Parts, RunningProgram};

/// Logs, or the progress of a pull or a build.
#[derive(Debug, Clone)]
pub(super) struct Output(Rc<Mutex<Option<Parts>>>);
impl UserData for Output {}

impl From<Parts> for Output {
    fn from(parts: Parts) -> Self {
        Output(Rc::new(Mutex::new(Some(parts))))
    }
}

/// A program that runs, or ran.
#[derive(Debug, Clone)]
pub(super) struct ProgramHandle(Rc<Mutex<RunningProgram>>);
impl UserData for ProgramHandle {}

impl From<RunningProgram> for ProgramHandle {
    fn from(program: RunningProgram) -> Self {
        ProgramHandle(Rc::new(Mutex::new(program)))
    }
}

pub(super) fn register(host: &HostTable) -> mlua::Result<()> {
    // The source of the next part and its bytes; nothing at the end.
    host.waiting("docker_next", |lua, output: UserDataRef<Output>| {
        let cell = output.0.clone();
        async move {
            let mut slot = cell.lock().await;
            let Some(parts) = slot.as_mut() else {
                return Ok((None, None));
            };
            match guard(parts.next()).await?? {
                Some(part) => {
                    let bytes = lua.create_string(part.bytes).map_err(internal)?;
                    Ok((Some(part.source.name()), Some(bytes)))
                }
                None => Ok((None, None)),
            }
        }
    })?;
    host.waiting("docker_close", |_, output: UserDataRef<Output>| {
        let cell = output.0.clone();
        async move {
            cell.lock().await.take();
            Ok(())
        }
    })?;
    host.waiting(
        "docker_exec_next",
        |lua, program: UserDataRef<ProgramHandle>| {
            let cell = program.0.clone();
            async move {
                let mut program = cell.lock().await;
                match guard(program.output.next()).await?? {
                    Some(part) => {
                        let bytes = lua.create_string(part.bytes).map_err(internal)?;
                        Ok((Some(part.source.name()), Some(bytes)))
                    }
                    None => Ok((None, None)),
                }
            }
        },
    )?;
    host.waiting(
        "docker_exec_code",
        |_, program: UserDataRef<ProgramHandle>| {
            let cell = program.0.clone();
            async move { Ok(guard(cell.lock().await.code()).await??) }
        },
    )?;
    // Cleanup: not guarded.
    host.waiting(
        "docker_exec_kill",
        |_, program: UserDataRef<ProgramHandle>| {
            let cell = program.0.clone();
            async move { Ok(cell.lock().await.kill().await?) }
        },
    )
}
