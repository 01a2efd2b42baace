//! `rpitr lab`: the labs that exist, and what to do with them.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::args::{Global, LabCommand};
use super::environment;
use crate::chaos::{Sweep, sweep};
use crate::engine::show_failure;
use crate::exit;
use crate::failure::{Failure, Kind};
use crate::postgres::{Lookup, pick};
use crate::runtime::{
    GcOptions, Lab, LabRecord, LocalRuntime, Node, NodeRecord, StartOptions, Status, StopMode,
};

const STOP_LIMIT: Duration = Duration::from_secs(60);

/// Runs one lab command to an exit code.
pub fn run(command: &LabCommand, global: &Global) -> i32 {
    if let Some(code) = environment::run(command, global) {
        return code;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => tokio::task::LocalSet::new().block_on(&runtime, dispatch(command)),
        Err(error) => Err(Failure::new(Kind::Internal, error.to_string())),
    };
    outcome.unwrap_or_else(|failure| show_failure(&failure, global.color, global.error_format))
}

async fn dispatch(command: &LabCommand) -> Result<i32, Failure> {
    // A machine that only runs containers has no account for servers.
    let runtime = LocalRuntime::from_env().or_else(|_| LocalRuntime::for_containers())?;
    match command {
        LabCommand::Ls { json } => {
            let code = list(&runtime, *json).await?;
            if !json {
                environment::list().await;
            }
            Ok(code)
        }
        LabCommand::Logs { lab, node } => logs(&Lab::open(&runtime, lab)?, node.as_deref()).await,
        LabCommand::Psql {
            lab,
            node,
            arguments,
        } => psql(&Lab::open(&runtime, lab)?, node.as_deref(), arguments).await,
        LabCommand::Stop { lab } => {
            for node in Lab::open(&runtime, lab)?.members().await? {
                node.stop(StopMode::Fast, STOP_LIMIT).await?;
                outln!("{} stopped", node.name());
            }
            Ok(exit::PASS)
        }
        LabCommand::Start { lab } => start(&Lab::open(&runtime, lab)?).await,
        LabCommand::Rm { labs } => {
            for lab in labs {
                let lab = Lab::open(&runtime, lab)?;
                lab.destroy_unused().await?;
                outln!("{} removed", lab.id());
            }
            Ok(exit::PASS)
        }
        LabCommand::Gc { all, older } => {
            gc(
                &runtime,
                GcOptions {
                    all: *all,
                    older_than: *older,
                },
            )
            .await
        }
        // Those of environments.
        _ => Err(Failure::new(Kind::Internal, "not a command for labs")),
    }
}

async fn list(runtime: &LocalRuntime, json: bool) -> Result<i32, Failure> {
    let (records, unreadable) = runtime.registry().list()?;
    let mut entries = Vec::new();
    for record in &records {
        let nodes = nodes_of(runtime, record).await;
        entries.push((record, nodes));
    }
    if json {
        let labs: Vec<_> = entries
            .iter()
            .map(|(record, nodes)| lab_json(record, runtime.registry().condition(record), nodes))
            .collect();
        outln!("{}", serde_json::json!({ "schema": 1, "labs": labs }));
    } else {
        for (record, nodes) in &entries {
            let script = record.script.as_deref().unwrap_or("-");
            outln!(
                "{}  {}  {script}  {}",
                record.id,
                runtime.registry().condition(record),
                record.created_at
            );
            for (node, status) in nodes {
                outln!(
                    "  {:<12} {:<9} PostgreSQL {:<3} port {}{}",
                    node.name,
                    status,
                    node.major,
                    node.port,
                    if node.container.is_some() {
                        "  docker"
                    } else {
                        ""
                    },
                );
            }
            if let Some(folder) = record.run_folder.as_ref().filter(|_| !record.owner_alive()) {
                outln!("  unfinished run: rpitr chaos resume {}", folder.display());
            }
        }
        if entries.is_empty() {
            outln!("no labs");
        }
    }
    for error in unreadable {
        eprintln!("rpitr: {error}");
    }
    Ok(exit::PASS)
}

/// The nodes of a lab and what they are doing; a lab that cannot be asked does not hide the others.
async fn nodes_of(runtime: &LocalRuntime, record: &LabRecord) -> Vec<(NodeRecord, &'static str)> {
    let members = async { Lab::open(runtime, &record.id)?.members().await };
    let Ok(members) = members.await else {
        let unknown = |node: &NodeRecord| (node.clone(), "unknown");
        return record.nodes.iter().map(unknown).collect();
    };
    let mut nodes = Vec::new();
    for node in members {
        let status = node.status().await.map_or("unknown", Status::name);
        nodes.push((node.record(), status));
    }
    nodes
}

fn lab_json(
    record: &LabRecord,
    condition: &str,
    nodes: &[(NodeRecord, &'static str)],
) -> serde_json::Value {
    let nodes: Vec<_> = nodes
        .iter()
        .map(|(node, status)| {
            serde_json::json!({
                "name": node.name, "role": node.role, "major": node.major, "port": node.port,
                "status": status, "data": node.data_dir, "log": node.log,
            })
        })
        .collect();
    serde_json::json!({
        "id": record.id, "run": record.run, "script": record.script, "created": record.created_at,
        "condition": condition, "folder": record.lab_dir, "engine": record.engine,
        "nodes": nodes,
    })
}

async fn logs(lab: &Lab, name: Option<&str>) -> Result<i32, Failure> {
    let nodes = match name {
        Some(name) => vec![lab.member(name).await?],
        None => lab.members().await?,
    };
    for node in &nodes {
        let (log, _) = node.log_tail(0).await?;
        if nodes.len() > 1 {
            outln!("==> {} <==", node.name());
        }
        let _ = std::io::Write::write_all(&mut std::io::stdout(), log.as_bytes());
    }
    Ok(exit::PASS)
}

/// Becomes psql, as the lab's superuser.
async fn psql(lab: &Lab, name: Option<&str>, arguments: &[String]) -> Result<i32, Failure> {
    let node = match name {
        Some(name) => lab.member(name).await?,
        None => first_node(lab).await?,
    };
    let (record, endpoint) = (node.record(), node.endpoint_for_script());
    let program = match record.container {
        Some(_) => pick(&Lookup::from_env(), None)
            .map_or_else(|_| PathBuf::from("psql"), |install| install.program("psql")),
        None => record.bin_dir.join("psql"),
    };
    let host = endpoint
        .socket_dir
        .unwrap_or_else(|| PathBuf::from(&endpoint.host));
    let error = Command::new(program)
        .arg("--host")
        .arg(host)
        .args([
            "--port",
            &endpoint.port.to_string(),
            "--username",
            "postgres",
        ])
        .args(
            if arguments
                .iter()
                .any(|argument| argument == "-d" || argument.starts_with("--dbname"))
            {
                &[][..]
            } else {
                &["--dbname", "postgres"][..]
            },
        )
        .args(arguments)
        .env("PGPASSFILE", lab.dir().join("pgpass"))
        .exec();
    Err(
        Failure::new(Kind::Environment, format!("cannot run psql: {error}"))
            .hint("install PostgreSQL's client on this machine"),
    )
}

async fn first_node(lab: &Lab) -> Result<Node, Failure> {
    let node = lab.members().await?.into_iter().next();
    node.ok_or_else(|| Failure::new(Kind::State, format!("lab {} has no nodes", lab.id())))
}

async fn start(lab: &Lab) -> Result<i32, Failure> {
    for node in lab.members().await? {
        match node.status().await? {
            Status::Stopped | Status::Crashed => {
                // A sandbox stays what it was: reached through its socket only.
                let mut options = StartOptions::default();
                if node.role() == "sandbox" {
                    options.settings = vec![("listen_addresses".into(), String::new())];
                }
                let started = node.start(options).await?;
                outln!("{} {}", node.name(), started.status);
            }
            status => outln!("{} {status}", node.name()),
        }
    }
    Ok(exit::PASS)
}

async fn gc(runtime: &LocalRuntime, options: GcOptions) -> Result<i32, Failure> {
    // Guardians first: one that starts a server again while its lab is removed would leave it behind.
    let sweeping = Sweep {
        forget_unkept: options.older_than.is_none(),
        ..Sweep::default()
    };
    let healed = sweep(runtime, sweeping).await?;
    for fault in &healed {
        match &fault.failure {
            None => outln!("{}: {} healed", fault.lab, fault.what),
            Some(failure) => eprintln!("rpitr: {}: {}: {failure}", fault.lab, fault.what),
        }
    }
    let report = runtime.gc(options).await?;
    for lab in &report.destroyed {
        outln!("{} removed ({} processes killed)", lab.id, lab.killed);
    }
    for lab in &report.containers {
        outln!("{lab} removed (containers, networks, volumes)");
    }
    for folder in &report.orphans {
        outln!("{} removed", folder.display());
    }
    for folder in &report.runs {
        outln!("{} removed", folder.display());
    }
    for (what, error) in &report.failed {
        eprintln!("rpitr: {what}: {error}");
    }
    let kept = report.spared.len();
    if kept > 0 {
        outln!("{kept} kept (rpitr lab gc --all removes them, too)");
    }
    let removed =
        report.destroyed.len() + report.orphans.len() + report.containers.len() + report.runs.len();
    if removed == 0 && report.failed.is_empty() {
        outln!("nothing to remove");
    }
    Ok(if report.failed.is_empty() {
        exit::PASS
    } else {
        exit::CLEANUP
    })
}
