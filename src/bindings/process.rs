//! Programs on the machine rpitr runs on (`sh.run`).

use std::collections::HashMap;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use mlua::{Lua, LuaString, Table};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::engine::{HostTable, guard};
use crate::failure::{Failure, Kind};

struct Request {
    program: String,
    arguments: Vec<String>,
    env: HashMap<String, String>,
    folder: Option<String>,
    stdin: Option<Vec<u8>>,
    inherit: bool,
}

impl Request {
    fn read(table: &Table) -> Result<Self, Failure> {
        let read = || -> mlua::Result<Request> {
            Ok(Request {
                program: table.get("program")?,
                arguments: table.get("arguments")?,
                env: table
                    .get::<Option<HashMap<String, String>>>("env")?
                    .unwrap_or_default(),
                folder: table.get("folder")?,
                stdin: table
                    .get::<Option<LuaString>>("stdin")?
                    .map(|text| text.as_bytes().to_vec()),
                inherit: table.get::<Option<bool>>("inherit")?.unwrap_or(false),
            })
        };
        read().map_err(|error| Failure::new(Kind::Arg, error.to_string()))
    }
}

/// Kills a process group unless it is disarmed: what the program itself started goes with it.
struct KillGroup(Option<u32>);

impl Drop for KillGroup {
    fn drop(&mut self) {
        if let Some(id) = self.0.and_then(|id| i32::try_from(id).ok()) {
            let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}

pub fn register(host: &HostTable) -> mlua::Result<()> {
    host.waiting("process_run", |lua, request: Table| {
        let request = Request::read(&request);
        async move { run(&lua, request?).await }
    })
}

async fn run(lua: &Lua, request: Request) -> Result<Table, Failure> {
    let mut command = Command::new(&request.program);
    command.args(&request.arguments).envs(&request.env);
    if let Some(folder) = &request.folder {
        command.current_dir(folder);
    }
    command.stdin(match (&request.stdin, request.inherit) {
        (Some(_), _) => Stdio::piped(),
        // With the terminal comes the keyboard.
        (None, true) => Stdio::inherit(),
        (None, false) => Stdio::null(),
    });
    if !request.inherit {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
    }
    // A cancelled task drops the wait; the program must not outlive it. A program with the terminal
    // stays in our process group, or it could not read from the terminal.
    command.kill_on_drop(true);
    if !request.inherit {
        command.process_group(0);
    }
    let mut child = command.spawn().map_err(|error| {
        Failure::new(Kind::Io, format!("cannot run {}: {error}", request.program)).code("spawn")
    })?;
    let mut group = KillGroup(child.id().filter(|_| !request.inherit));
    let input = child.stdin.take().zip(request.stdin);
    let feed = async move {
        if let Some((mut pipe, bytes)) = input {
            // A program that does not read its input is not an error of ours.
            let _ = pipe.write_all(&bytes).await;
        }
    };
    let (output, ()) = guard(async { tokio::join!(child.wait_with_output(), feed) }).await?;
    group.0 = None;
    let output = output
        .map_err(|error| Failure::new(Kind::Io, format!("lost {}: {error}", request.program)))?;
    let fill = || -> mlua::Result<Table> {
        let table = lua.create_table()?;
        table.raw_set("code", output.status.code())?;
        table.raw_set("signal", output.status.signal())?;
        table.raw_set("stdout", lua.create_string(&output.stdout)?)?;
        table.raw_set("stderr", lua.create_string(&output.stderr)?)?;
        Ok(table)
    };
    fill().map_err(|error| Failure::new(Kind::Internal, error.to_string()))
}
