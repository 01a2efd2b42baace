//! Standing environments for `rpitr.lab.standing`: their containers, and what can be done with one.

use std::rc::Rc;
use std::time::Duration;

use mlua::{Lua, LuaString, Table, UserData, UserDataRef};

use super::internal;
use super::node::NodeHandle;
use crate::compose::{Environment, Error, NAMES};
use crate::engine::{HostTable, guard};
use crate::failure::Failure;
use crate::runtime::{Engine, LocalRuntime, Service, ToolOptions};

/// An environment on the engine it runs on.
#[derive(Debug)]
pub struct Standing {
    engine: Engine,
    environment: Environment,
}

impl Standing {
    /// Its containers, the primary first.
    pub async fn services(&self) -> Result<Vec<Service>, Failure> {
        let Environment { name, project, .. } = &self.environment;
        let services = self.engine.services(Some((name, project))).await;
        let services = services.map_err(crate::runtime::Error::from)?;
        if services.is_empty() {
            let (name, project) = (name.clone(), project.clone());
            return Err(Error::NotUp { name, project }.into());
        }
        Ok(services)
    }
}

#[derive(Debug, Clone)]
pub struct StandingHandle(pub Rc<Standing>);
impl UserData for StandingHandle {}

type OfContainer<T> = (UserDataRef<StandingHandle>, String, T);

pub fn register(host: &HostTable) -> mlua::Result<()> {
    look(host)?;
    act(host)?;
    files(host)
}

fn look(host: &HostTable) -> mlua::Result<()> {
    host.function("standing_names", |_, ()| Ok(NAMES.to_vec()))?;
    host.waiting("standing_open", |_, name: String| async move {
        let runtime = LocalRuntime::for_containers()?;
        let environment = Environment::find(&name, runtime.state.path())?;
        let engine = guard(Engine::from_env()).await?;
        let engine = engine.map_err(crate::runtime::Error::from)?;
        Ok(StandingHandle(Rc::new(Standing {
            engine,
            environment,
        })))
    })?;
    host.waiting(
        "standing_services",
        |lua, standing: UserDataRef<StandingHandle>| {
            let standing = standing.0.clone();
            async move {
                let services = guard(standing.services()).await??;
                let list = lua.create_table().map_err(internal)?;
                for service in services {
                    let entry = describe(&lua, service).map_err(internal)?;
                    list.raw_push(entry).map_err(internal)?;
                }
                Ok(list)
            }
        },
    )
}

fn describe(lua: &Lua, service: Service) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("environment", service.environment)?;
    table.raw_set("project", service.project)?;
    table.raw_set("name", service.name)?;
    table.raw_set("role", service.role)?;
    table.raw_set("container", service.container)?;
    table.raw_set("image", service.image)?;
    table.raw_set("state", service.state)?;
    table.raw_set("exit_code", service.exit_code)?;
    table.raw_set("health", service.health)?;
    table.raw_set("port", service.port)?;
    table.raw_set("host", service.host)?;
    table.raw_set("env", service.env)?;
    table.raw_set("network", service.networks.into_iter().next())?;
    Ok(table)
}

fn act(host: &HostTable) -> mlua::Result<()> {
    host.waiting(
        "standing_run",
        |lua, (standing, container, request): OfContainer<Table>| {
            let standing = standing.0.clone();
            async move {
                let program: String = request.get("program").map_err(internal)?;
                let arguments: Vec<String> = request.get("arguments").map_err(internal)?;
                let env: Option<std::collections::BTreeMap<String, String>> =
                    request.get("env").map_err(internal)?;
                let stdin: Option<LuaString> = request.get("stdin").map_err(internal)?;
                let timeout: Option<f64> = request.get("timeout").map_err(internal)?;
                let options = ToolOptions {
                    env: env.unwrap_or_default().into_iter().collect(),
                    stdin: stdin.map(|bytes| bytes.as_bytes().to_vec()),
                    timeout: timeout.map(Duration::from_secs_f64),
                    cwd: None,
                };
                let work = standing
                    .engine
                    .run_in(&container, &program, &arguments, options);
                let output = guard(work).await??;
                super::node::output_table(&lua, &output).map_err(internal)
            }
        },
    )?;
    host.waiting(
        "standing_start",
        |_, (standing, container, ()): OfContainer<()>| {
            let standing = standing.0.clone();
            async move { done(standing.engine.start_service(&container).await) }
        },
    )?;
    // Not guarded: half a stop helps nobody, and it has its own deadline.
    host.waiting(
        "standing_end",
        |_,
         (standing, container, signal, timeout): (
            UserDataRef<StandingHandle>,
            String,
            String,
            f64,
        )| {
            let standing = standing.0.clone();
            async move {
                let limit = Duration::from_secs_f64(timeout);
                Ok(standing
                    .engine
                    .end_service(&container, &signal, limit)
                    .await?)
            }
        },
    )?;
    host.waiting(
        "standing_freeze",
        |_, (standing, container, freeze): OfContainer<bool>| {
            let standing = standing.0.clone();
            async move { done(standing.engine.freeze_service(&container, freeze).await) }
        },
    )?;
    // A node of a lab reaches the environment's servers.
    host.waiting(
        "node_join",
        |_, (node, network): (UserDataRef<NodeHandle>, String)| {
            let node = node.0.clone();
            async move { Ok(node.as_container("join")?.join(&network).await?) }
        },
    )
}

fn files(host: &HostTable) -> mlua::Result<()> {
    host.waiting(
        "standing_log",
        |_, (standing, container, ()): OfContainer<()>| {
            let standing = standing.0.clone();
            async move { done(guard(standing.engine.service_log(&container)).await?) }
        },
    )?;
    host.waiting(
        "standing_read",
        |lua, (standing, container, path): OfContainer<String>| {
            let standing = standing.0.clone();
            async move {
                let read = guard(standing.engine.service_file(&container, &path)).await?;
                let bytes = done(read)?.map(|bytes| lua.create_string(bytes));
                bytes.transpose().map_err(internal)
            }
        },
    )?;
    host.waiting(
        "standing_write",
        |_,
         (standing, container, path, bytes): (
            UserDataRef<StandingHandle>,
            String,
            String,
            LuaString,
        )| {
            let (standing, bytes) = (standing.0.clone(), bytes.as_bytes().to_vec());
            async move {
                let written = standing
                    .engine
                    .replace_service_file(&container, &path, &bytes);
                done(written.await)
            }
        },
    )
}

fn done<T>(result: Result<T, crate::runtime::DockerError>) -> Result<T, Failure> {
    result.map_err(|error| crate::runtime::Error::from(error).into())
}
