//! One container of a script: making it, what can be done to it, its files.

use std::collections::HashMap;

use mlua::{LuaString, Table, UserDataRef};

use super::super::internal;
use super::Containers;
use super::stream::{Output, ProgramHandle};
use crate::engine::{HostTable, guard, json_to_lua};
use crate::failure::{Failure, Kind};
use crate::runtime::{Action, NewContainer, Program, Published};

pub(super) fn register(host: &HostTable) -> mlua::Result<()> {
    // Not guarded: half a container helps nobody.
    host.waiting(
        "docker_create",
        |_, (all, options): (UserDataRef<Containers>, Table)| {
            let all = all.0.clone();
            async move {
                let new = new_container(&options).map_err(internal)?;
                Ok(all.create(new).await?)
            }
        },
    )?;
    host.waiting(
        "docker_act",
        |_, (all, id, action, with): (UserDataRef<Containers>, String, String, Option<String>)| {
            let all = all.0.clone();
            async move { Ok(all.act(&id, read_action(&action, with)?).await?) }
        },
    )?;
    host.waiting(
        "docker_inspect",
        |lua, (all, id): (UserDataRef<Containers>, String)| {
            let all = all.0.clone();
            async move {
                let found = guard(all.inspect(&id)).await??;
                json_to_lua(&lua, &found).map_err(internal)
            }
        },
    )?;
    host.function(
        "docker_logs",
        |_, (all, id, follow, tail): (UserDataRef<Containers>, String, bool, Option<u64>)| {
            Ok(Output::from(all.0.logs(&id, follow, tail)))
        },
    )?;
    host.waiting(
        "docker_upload",
        |_, (all, id, folder, tar): (UserDataRef<Containers>, String, String, LuaString)| {
            let all = all.0.clone();
            let tar = tar.as_bytes().to_vec();
            async move { Ok(guard(all.upload(&id, &folder, tar)).await??) }
        },
    )?;
    host.waiting(
        "docker_download",
        |lua, (all, id, path): (UserDataRef<Containers>, String, String)| {
            let all = all.0.clone();
            async move {
                let tar = guard(all.download(&id, &path)).await??;
                lua.create_string(tar).map_err(internal)
            }
        },
    )?;
    host.waiting(
        "docker_exec",
        |_, (all, id, options): (UserDataRef<Containers>, String, Table)| {
            let all = all.0.clone();
            async move {
                let program = program(&options).map_err(internal)?;
                // Not guarded: once it runs, somebody must be able to end it.
                Ok(ProgramHandle::from(all.start_program(&id, program).await?))
            }
        },
    )
}

/// `{ NAME = "value" }` as the engine wants it.
fn env(options: &Table) -> mlua::Result<Vec<String>> {
    let env: Option<HashMap<String, String>> = options.get("env")?;
    let pairs = env.unwrap_or_default().into_iter();
    Ok(pairs
        .map(|(name, value)| format!("{name}={value}"))
        .collect())
}

fn new_container(options: &Table) -> mlua::Result<NewContainer> {
    let ports: HashMap<u16, u16> = options.get("ports")?;
    let published = ports.into_iter().map(|(port, host)| Published {
        port,
        host: (host > 0).then_some(host),
    });
    Ok(NewContainer {
        image: options.get("image")?,
        name: options.get("name")?,
        command: options.get("command")?,
        entrypoint: options.get("entrypoint")?,
        env: env(options)?,
        user: options.get("user")?,
        cwd: options.get("cwd")?,
        ports: published.collect(),
        volumes: options.get("volumes")?,
        network: options.get("network")?,
        aliases: options.get("aliases")?,
        memory: options.get("memory")?,
    })
}

fn program(options: &Table) -> mlua::Result<Program> {
    let stdin: Option<LuaString> = options.get("stdin")?;
    Ok(Program {
        command: options.get("command")?,
        env: env(options)?,
        user: options.get("user")?,
        cwd: options.get("cwd")?,
        stdin: stdin.map(|bytes| bytes.as_bytes().to_vec()),
    })
}

fn read_action(action: &str, with: Option<String>) -> Result<Action, Failure> {
    let with = with.unwrap_or_default();
    let seconds = || with.parse().unwrap_or(10);
    Ok(match action {
        "start" => Action::Start,
        "stop" => Action::Stop(seconds()),
        "restart" => Action::Restart(seconds()),
        "kill" => Action::Kill(with),
        "pause" => Action::Pause,
        "unpause" => Action::Unpause,
        "remove" => Action::Remove,
        _ => return Err(Failure::new(Kind::Internal, format!("no action {action}"))),
    })
}
