//! Containers of a script's own, for `rpitr.docker`.

mod container;
mod stream;

use std::path::PathBuf;

use mlua::{LuaString, Table, UserData, UserDataRef};

use super::internal;
use super::lab::LabHandle;
use crate::engine::{HostTable, guard};
use crate::failure::{Failure, Kind};
use crate::runtime::{Build, ScriptContainers};

/// What a script's containers are made with.
#[derive(Debug, Clone)]
struct Containers(ScriptContainers);
impl UserData for Containers {}

pub fn register(host: &HostTable) -> mlua::Result<()> {
    host.waiting("docker_of", |_, lab: UserDataRef<LabHandle>| {
        let lab = lab.0.clone();
        async move {
            let containers = guard(lab.script_containers()).await??;
            containers
                .map(Containers)
                .ok_or_else(|| Failure::new(Kind::Internal, "the lab has no engine"))
        }
    })?;
    host.function(
        "docker_full_name",
        |_, (all, name): (UserDataRef<Containers>, String)| Ok(all.0.full_name(&name)),
    )?;
    host.function("docker_host", |_, all: UserDataRef<Containers>| {
        Ok(all.0.host())
    })?;
    // Whether somebody listens there and does not hang up at once.
    host.waiting(
        "tcp_answers",
        |_, (address, port): (String, u16)| async move {
            guard(crate::runtime::answers(&address, port)).await
        },
    )?;
    images(host)?;
    networks_and_volumes(host)?;
    container::register(host)?;
    stream::register(host)
}

fn images(host: &HostTable) -> mlua::Result<()> {
    host.waiting(
        "docker_has_image",
        |_, (all, image): (UserDataRef<Containers>, String)| {
            let all = all.0.clone();
            async move { Ok(guard(all.has_image(&image)).await??) }
        },
    )?;
    host.waiting(
        "docker_remove_image",
        |_, (all, image): (UserDataRef<Containers>, String)| {
            let all = all.0.clone();
            async move { Ok(all.remove_image(&image).await?) }
        },
    )?;
    host.function(
        "docker_pull",
        |_, (all, image): (UserDataRef<Containers>, String)| {
            Ok(stream::Output::from(all.0.pull(&image)))
        },
    )?;
    host.function(
        "docker_build",
        |_, (all, folder, options): (UserDataRef<Containers>, LuaString, Table)| {
            let read = || -> mlua::Result<Build> {
                Ok(Build {
                    tag: options.get("tag")?,
                    dockerfile: options.get("dockerfile")?,
                    args: options.get("args")?,
                    no_cache: options.get("no_cache")?,
                })
            };
            let build = read().map_err(internal)?;
            Ok(stream::Output::from(
                all.0.build(folder.as_bytes().to_vec(), build),
            ))
        },
    )?;
    // The tar archive of one file, for `container:write`.
    host.function(
        "docker_tar",
        |lua, (name, contents): (String, LuaString)| {
            let name = PathBuf::from(name);
            let name = name
                .file_name()
                .map(|name| name.to_string_lossy().into_owned());
            let tar = crate::runtime::tar_of_one(&name.unwrap_or_default(), &contents.as_bytes());
            lua.create_string(tar).map_err(internal)
        },
    )?;
    host.function("docker_untar", |lua, tar: LuaString| {
        crate::runtime::first_file(&tar.as_bytes())
            .map(|bytes| lua.create_string(bytes).map_err(internal))
            .transpose()
    })
}

fn networks_and_volumes(host: &HostTable) -> mlua::Result<()> {
    // None of these is guarded: half of it helps nobody, and the lab's labels find the rest.
    host.waiting(
        "docker_network_create",
        |_, (all, name, internal): (UserDataRef<Containers>, String, bool)| {
            let all = all.0.clone();
            async move { Ok(all.create_network(&name, internal).await?) }
        },
    )?;
    host.waiting(
        "docker_volume_create",
        |_, (all, name): (UserDataRef<Containers>, String)| {
            let all = all.0.clone();
            async move { Ok(all.create_volume(&name).await?) }
        },
    )?;
    host.waiting(
        "docker_network_remove",
        |_, (all, name): (UserDataRef<Containers>, String)| {
            let all = all.0.clone();
            async move { Ok(all.remove_network(&name).await?) }
        },
    )?;
    host.waiting(
        "docker_volume_remove",
        |_, (all, name): (UserDataRef<Containers>, String)| {
            let all = all.0.clone();
            async move { Ok(all.remove_volume(&name).await?) }
        },
    )
}
