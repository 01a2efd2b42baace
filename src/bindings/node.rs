//! Nodes for `rpitr.lab.node`: who they are, their life, their files.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use mlua::{Lua, LuaString, Table, UserData, UserDataRef};

use super::internal;
use super::lab::{LabHandle, text};
use crate::engine::{HostTable, guard};
use crate::failure::Failure;
use crate::runtime::{
    CopyOptions, Limits, NewNode, Node, StartOptions, StopMode, Symlinks, Ties, ToolOptions,
    ToolOutput, Until,
};

#[derive(Debug, Clone)]
pub struct NodeHandle(pub Rc<Node>);
impl UserData for NodeHandle {}

pub fn register(host: &HostTable) -> mlua::Result<()> {
    nodes(host)?;
    life(host)?;
    files(host)
}

fn nodes(host: &HostTable) -> mlua::Result<()> {
    host.waiting(
        "node_create",
        |_, (lab, options): (UserDataRef<LabHandle>, Table)| {
            let lab = lab.0.clone();
            async move {
                let node = NewNode {
                    name: options.get("name").map_err(internal)?,
                    role: options.get("role").map_err(internal)?,
                    version: options.get("version").map_err(internal)?,
                };
                // Not guarded: half a container helps nobody.
                Ok(NodeHandle(Rc::new(lab.add(node).await?)))
            }
        },
    )?;
    host.function("node_info", |lua, node: UserDataRef<NodeHandle>| {
        let (paths, install) = (node.0.paths(), node.0.install());
        let endpoint = node.0.endpoint_for_script();
        let host = endpoint
            .socket_dir
            .map_or(endpoint.host, |folder| text(&folder));
        let fill = || -> mlua::Result<Table> {
            let table = lua.create_table()?;
            table.raw_set("name", node.0.name())?;
            table.raw_set("role", node.0.role())?;
            table.raw_set("major", install.major)?;
            table.raw_set("version", install.version)?;
            table.raw_set("data", text(&paths.data_dir))?;
            table.raw_set("folder", text(&paths.dir))?;
            table.raw_set("log", text(&paths.log))?;
            table.raw_set("host", host)?;
            table.raw_set("port", endpoint.port)?;
            let ties = node.0.record().ties;
            table.raw_set("archive", ties.archive.as_deref().map(text))?;
            table.raw_set("follows", ties.follows)?;
            table.raw_set("slot", ties.slot)?;
            Ok(table)
        };
        fill().map_err(internal)
    })?;
    // What a process that attaches to the lab has to know: { role, archive, follows, slot }.
    host.function(
        "node_note",
        |_, (lab, node, known): (UserDataRef<LabHandle>, UserDataRef<NodeHandle>, Table)| {
            let read = |key: &str| known.get::<Option<String>>(key).map_err(internal);
            let ties = Ties {
                archive: read("archive")?.map(PathBuf::from),
                follows: read("follows")?,
                slot: read("slot")?,
            };
            Ok(lab.0.note(&node.0.name(), read("role")?.as_deref(), ties)?)
        },
    )?;
    // Not guarded: half a removal helps nobody.
    host.waiting(
        "node_remove",
        |_, (lab, node): (UserDataRef<LabHandle>, UserDataRef<NodeHandle>)| {
            let (lab, name) = (lab.0.clone(), node.0.name());
            async move { Ok(lab.remove_node(&name).await?) }
        },
    )?;
    // How another node reaches this one.
    host.function(
        "node_endpoint",
        |lua, (node, other): (UserDataRef<NodeHandle>, UserDataRef<NodeHandle>)| {
            let endpoint = node.0.endpoint_for_node(&other.0);
            let fill = || -> mlua::Result<Table> {
                let table = lua.create_table()?;
                table.raw_set("host", endpoint.host)?;
                table.raw_set("port", endpoint.port)?;
                Ok(table)
            };
            fill().map_err(internal)
        },
    )?;
    // The same as a connection string without a password.
    host.function(
        "node_conninfo",
        |_,
         (node, other, passfile, user): (
            UserDataRef<NodeHandle>,
            UserDataRef<NodeHandle>,
            String,
            Option<String>,
        )| {
            let user = user.unwrap_or_else(|| "postgres".into());
            let endpoint = node.0.endpoint_for_node(&other.0);
            Ok(format!(
                "host={} port={} user={user} passfile='{passfile}'",
                endpoint.host, endpoint.port
            ))
        },
    )?;
    host.waiting(
        "node_take_place",
        |_,
         (lab, node, other): (
            UserDataRef<LabHandle>,
            UserDataRef<NodeHandle>,
            UserDataRef<NodeHandle>,
        )| {
            let (lab, node, other) = (lab.0.clone(), node.0.clone(), other.0.clone());
            async move {
                let exchanged = lab.exchange_places(&node, &other).await;
                exchanged.map_err(Failure::from)
            }
        },
    )?;
    host.waiting(
        "node_run",
        |lua, (node, request): (UserDataRef<NodeHandle>, Table)| {
            let node = node.0.clone();
            async move { run_tool(&lua, &node, request).await }
        },
    )
}

async fn run_tool(lua: &Lua, node: &Node, request: Table) -> Result<Table, Failure> {
    let program: String = request.get("program").map_err(internal)?;
    let arguments: Vec<String> = request.get("arguments").map_err(internal)?;
    let env: Option<BTreeMap<String, String>> = request.get("env").map_err(internal)?;
    let stdin: Option<LuaString> = request.get("stdin").map_err(internal)?;
    let timeout: Option<f64> = request.get("timeout").map_err(internal)?;
    let options = ToolOptions {
        env: env.unwrap_or_default().into_iter().collect(),
        stdin: stdin.map(|bytes| bytes.as_bytes().to_vec()),
        timeout: timeout.map(Duration::from_secs_f64),
        cwd: None,
    };
    let output = guard(node.run_tool(&program, &arguments, options)).await??;
    output_table(lua, &output).map_err(internal)
}

/// What a program left behind.
pub(super) fn output_table(lua: &Lua, output: &ToolOutput) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("code", output.status.code())?;
    table.raw_set("stdout", lua.create_string(&output.stdout)?)?;
    table.raw_set("stderr", lua.create_string(&output.stderr)?)?;
    table.raw_set("seconds", output.elapsed.as_secs_f64())?;
    Ok(table)
}

fn life(host: &HostTable) -> mlua::Result<()> {
    host.waiting(
        "node_start",
        |_, (node, options): (UserDataRef<NodeHandle>, Table)| {
            let node = node.0.clone();
            async move {
                let private: bool = options.get("private").map_err(internal)?;
                let until: String = options.get("until").map_err(internal)?;
                let timeout: f64 = options.get("timeout").map_err(internal)?;
                let env: Option<BTreeMap<String, String>> = options.get("env").map_err(internal)?;
                let options = StartOptions {
                    env: env.unwrap_or_default().into_iter().collect(),
                    // A sandbox is reached through its socket only.
                    settings: if private {
                        vec![("listen_addresses".into(), String::new())]
                    } else {
                        Vec::new()
                    },
                    until: match until.as_str() {
                        "exited" => Until::Exited,
                        "ready" => Until::Ready,
                        _ => Until::Accepting,
                    },
                    timeout: Duration::from_secs_f64(timeout),
                };
                let started = guard(node.start(options)).await??;
                Ok((started.status.name(), started.log_offset))
            }
        },
    )?;
    // Stopping is not guarded: half a stop helps nobody, and it has its own deadline.
    host.waiting(
        "node_stop",
        |_, (node, mode, timeout): (UserDataRef<NodeHandle>, String, f64)| {
            let node = node.0.clone();
            async move {
                let mode = match mode.as_str() {
                    "smart" => StopMode::Smart,
                    "immediate" => StopMode::Immediate,
                    _ => StopMode::Fast,
                };
                node.stop(mode, Duration::from_secs_f64(timeout)).await?;
                Ok(())
            }
        },
    )?;
    host.waiting("node_kill", |_, node: UserDataRef<NodeHandle>| {
        let node = node.0.clone();
        async move { Ok(node.kill().await?) }
    })?;
    host.waiting("node_pause", |_, node: UserDataRef<NodeHandle>| {
        let node = node.0.clone();
        async move { Ok(node.pause().await?) }
    })?;
    host.waiting("node_resume", |_, node: UserDataRef<NodeHandle>| {
        let node = node.0.clone();
        async move { Ok(node.resume().await?) }
    })?;
    host.waiting("node_reload", |_, node: UserDataRef<NodeHandle>| {
        let node = node.0.clone();
        async move { Ok(node.reload().await?) }
    })?;
    host.waiting("node_status", |_, node: UserDataRef<NodeHandle>| {
        let node = node.0.clone();
        async move { Ok(node.status().await?.name()) }
    })?;
    host.waiting(
        "node_log",
        |lua, (node, offset): (UserDataRef<NodeHandle>, Option<u64>)| {
            let node = node.0.clone();
            async move {
                let (log, end) = node.log_tail(offset.unwrap_or(0)).await?;
                Ok((lua.create_string(log).map_err(internal)?, end))
            }
        },
    )?;
    host.waiting("node_disconnect", |_, node: UserDataRef<NodeHandle>| {
        let node = node.0.clone();
        async move { Ok(node.as_container("disconnect")?.disconnect().await?) }
    })?;
    host.waiting("node_reconnect", |_, node: UserDataRef<NodeHandle>| {
        let node = node.0.clone();
        async move { Ok(node.as_container("reconnect")?.reconnect().await?) }
    })?;
    host.waiting(
        "node_limit",
        |_, (node, limits): (UserDataRef<NodeHandle>, Table)| {
            let node = node.0.clone();
            async move {
                let limits = Limits {
                    memory: limits.get("memory").map_err(internal)?,
                    cpus: limits.get("cpus").map_err(internal)?,
                    pids: limits.get("pids").map_err(internal)?,
                };
                Ok(node.as_container("limit")?.limit(limits).await?)
            }
        },
    )?;
    host.waiting("node_inspect", |lua, node: UserDataRef<NodeHandle>| {
        let node = node.0.clone();
        async move {
            let seen = node.as_container("inspect")?.inspection().await?;
            let fill = || -> mlua::Result<Table> {
                let table = lua.create_table()?;
                table.raw_set("container", seen.container)?;
                table.raw_set("image", seen.image)?;
                table.raw_set("running", seen.running)?;
                table.raw_set("paused", seen.paused)?;
                table.raw_set("oom_killed", seen.oom_killed)?;
                table.raw_set("exit_code", seen.exit_code)?;
                table.raw_set("memory", seen.memory.filter(|limit| *limit > 0))?;
                let networks = lua.create_table()?;
                for (name, address) in seen.networks {
                    networks.raw_set(name, address)?;
                }
                table.raw_set("networks", networks)?;
                Ok(table)
            };
            fill().map_err(internal)
        }
    })?;
    // The log entry that says why a server ended, if there is one.
    host.waiting("node_why_died", |_, node: UserDataRef<NodeHandle>| {
        let node = node.0.clone();
        async move {
            let (log, _) = node.log_tail(0).await?;
            Ok(crate::postgres::explain_failure(&log))
        }
    })
}

fn files(host: &HostTable) -> mlua::Result<()> {
    host.waiting(
        "node_write_conf",
        |_, (node, settings): (UserDataRef<NodeHandle>, BTreeMap<String, String>)| {
            let node = node.0.clone();
            async move {
                let settings: Vec<(String, String)> = settings.into_iter().collect();
                Ok(node.set_conf(&settings).await?)
            }
        },
    )?;
    host.waiting("node_read_conf", |_, node: UserDataRef<NodeHandle>| {
        let node = node.0.clone();
        async move { Ok(node.conf().await?.into_iter().collect::<BTreeMap<_, _>>()) }
    })?;
    host.waiting("node_scrub", |_, node: UserDataRef<NodeHandle>| {
        let node = node.0.clone();
        async move {
            let scrubbed = node.scrub_conf().await?;
            let lines = scrubbed
                .removed
                .iter()
                .map(|removed| format!("{}: {} = {}", removed.file, removed.name, removed.value));
            Ok(lines.collect::<Vec<_>>())
        }
    })?;
    host.waiting(
        "node_write",
        |_, (node, path, contents): (UserDataRef<NodeHandle>, String, LuaString)| {
            let node = node.0.clone();
            let contents = contents.as_bytes().to_vec();
            async move { Ok(node.write_file(&path, &contents, 0o600).await?) }
        },
    )?;
    host.waiting(
        "node_read",
        |lua, (node, path): (UserDataRef<NodeHandle>, String)| {
            let node = node.0.clone();
            async move {
                let bytes = node.read_file(&path).await?;
                lua.create_string(bytes).map_err(internal)
            }
        },
    )?;
    host.waiting(
        "node_exists",
        |_, (node, path): (UserDataRef<NodeHandle>, String)| {
            let node = node.0.clone();
            async move { Ok(node.exists(&path).await) }
        },
    )?;
    host.waiting(
        "node_remove_tree",
        |_, (node, path): (UserDataRef<NodeHandle>, String)| {
            let node = node.0.clone();
            async move { Ok(node.remove_tree(&path).await?) }
        },
    )?;
    host.waiting(
        "node_mkdir",
        |_, (node, path): (UserDataRef<NodeHandle>, String)| {
            let node = node.0.clone();
            async move { Ok(node.mkdir(&path).await?) }
        },
    )?;
    host.waiting(
        "node_rename",
        |_, (node, from, to): (UserDataRef<NodeHandle>, String, String)| {
            let node = node.0.clone();
            async move { Ok(node.rename(&from, &to).await?) }
        },
    )?;
    host.waiting(
        "node_copy_tree",
        |_, (node, from, to): (UserDataRef<NodeHandle>, String, String)| {
            let node = node.0.clone();
            async move {
                let options = CopyOptions {
                    symlinks: Symlinks::Refuse,
                    ..CopyOptions::default()
                };
                let copied = guard(node.copy_tree(&from, &to, options)).await??;
                Ok((copied.bytes, copied.files))
            }
        },
    )?;
    host.waiting("node_disk_free", |_, node: UserDataRef<NodeHandle>| {
        let node = node.0.clone();
        async move { Ok(node.disk_space().await?.available) }
    })
}
