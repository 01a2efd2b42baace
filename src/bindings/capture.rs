//! Receivers, snapshots of what they are receiving, and catalogues, for `rpitr.archive` and `rpitr.lab`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mlua::{Lua, Table, UserData, UserDataRef};

use super::internal;
use super::node::NodeHandle;
use super::sql::{Conn, run};
use super::value::{LuaLsn, LuaTime};
use super::wal::{off_thread, view};
use crate::archive::{self, Snapshot, description};
use crate::catalogue::{self, Catalogue, Entry, Lag, Problem, Sample, Standing, State, Totals};
use crate::engine::HostTable;
use crate::failure::Failure;
use crate::runtime::{Node, Receiving};

/// Shared with the thread that scans.
#[derive(Debug, Clone)]
struct Shared(Arc<Mutex<Catalogue>>);
impl UserData for Shared {}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Catalogue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub fn register(host: &HostTable) -> mlua::Result<()> {
    receivers(host)?;
    catalogues(host)?;
    primary(host)
}

fn receivers(host: &HostTable) -> mlua::Result<()> {
    host.waiting(
        "node_receive",
        |_, (node, options): (UserDataRef<NodeHandle>, Table)| {
            let node = node.0.clone();
            async move {
                let receiving = Receiving {
                    conninfo: options.get("conninfo").map_err(internal)?,
                    slot: options.get("slot").map_err(internal)?,
                    synchronous: options.get("synchronous").map_err(internal)?,
                };
                Ok(node.set_receiving(&receiving).await?)
            }
        },
    )?;
    // A snapshot of what a receiver is receiving, stored in the node's folder; nil when there is nothing.
    host.waiting("node_snapshot", |lua, node: UserDataRef<NodeHandle>| {
        let node = node.0.clone();
        async move {
            let paths = node.paths();
            view(&paths.data_dir.display().to_string()).await?;
            let scratch = paths
                .lab_dir
                .join(format!(".snapshot-{:08x}", rand::random::<u32>()));
            let taken = take(paths.data_dir, scratch.clone()).await;
            let kept = match taken {
                Ok(Some((path, snapshot))) => {
                    keep(&node, &path).await.map(|at| Some((at, snapshot)))
                }
                Ok(None) => Ok(None),
                Err(failure) => Err(failure),
            };
            let _ = std::fs::remove_dir_all(&scratch);
            let made = kept?.map(|(path, snapshot)| snapshot_table(&lua, &path, &snapshot));
            made.transpose().map_err(internal)
        }
    })?;
    host.waiting(
        "archive_snapshot",
        |lua, (folder, into): (String, String)| async move {
            view(&folder).await?;
            let taken =
                off_thread(move || Ok(archive::snapshot(Path::new(&folder), Path::new(&into))?));
            let made = taken
                .await?
                .map(|(path, snapshot)| snapshot_table(&lua, &path, &snapshot));
            made.transpose().map_err(internal)
        },
    )
}

async fn take(folder: PathBuf, scratch: PathBuf) -> Result<Option<(PathBuf, Snapshot)>, Failure> {
    off_thread(move || {
        std::fs::create_dir_all(&scratch)
            .map_err(|error| Failure::io("create", &scratch, &error))?;
        Ok(archive::snapshot(&folder, &scratch)?)
    })
    .await
}

/// Puts a snapshot where the lab's servers can read it.
async fn keep(node: &Node, path: &Path) -> Result<PathBuf, Failure> {
    let folder = node.paths().dir.join("snapshots");
    node.mkdir(&folder).await?;
    let kept = folder.join(path.file_name().unwrap_or_default());
    // The description first: a snapshot without one is not used.
    for (from, to) in [
        (description(path), description(&kept)),
        (path.to_path_buf(), kept.clone()),
    ] {
        let bytes = std::fs::read(&from).map_err(|error| Failure::io("read", &from, &error))?;
        node.write_file(&to, &bytes, 0o600).await?;
    }
    Ok(kept)
}

fn snapshot_table(lua: &Lua, path: &Path, snapshot: &Snapshot) -> mlua::Result<Table> {
    let lsn = |text: &str| text.parse().ok().map(LuaLsn);
    let table = lua.create_table()?;
    table.raw_set("file", path.display().to_string())?;
    table.raw_set("segment", snapshot.segment.as_str())?;
    table.raw_set("source", snapshot.source.as_str())?;
    table.raw_set("taken_at", snapshot.taken_at.as_str())?;
    table.raw_set("timeline", snapshot.timeline)?;
    table.raw_set("begins", lsn(&snapshot.begins))?;
    table.raw_set("upto", lsn(&snapshot.upto))?;
    table.raw_set("last_record", snapshot.last_record.as_deref().and_then(lsn))?;
    table.raw_set("commits", snapshot.commits)?;
    table.raw_set("ended", snapshot.ended.as_str())?;
    table.raw_set("sha256", snapshot.sha256.as_str())?;
    table.raw_set("bytes", snapshot.segment_size)?;
    Ok(table)
}

fn catalogues(host: &HostTable) -> mlua::Result<()> {
    host.function("catalogue_open", |_, file: String| {
        let catalogue = Catalogue::open(Path::new(&file))?;
        Ok(Shared(Arc::new(Mutex::new(catalogue))))
    })?;
    host.waiting(
        "catalogue_scan",
        |lua, (catalogue, folder): (UserDataRef<Shared>, String)| {
            let shared = catalogue.clone();
            async move {
                view(&folder).await?;
                let work = move || Ok(shared.lock().scan(Path::new(&folder), None)?);
                let scan = off_thread(work).await?;
                let fill = || -> mlua::Result<Table> {
                    let table = lua.create_table()?;
                    let changes = scan
                        .changes
                        .iter()
                        .filter(|c| c.now.state != State::Complete);
                    let changes = changes.map(|change| entry_table(&lua, &change.now));
                    table.raw_set("changes", list(&lua, changes)?)?;
                    for (name, problems) in [
                        ("problems", &scan.problems),
                        ("appeared", &scan.appeared),
                        ("gone", &scan.gone),
                    ] {
                        let rows = problems.iter().map(|problem| problem_table(&lua, problem));
                        table.raw_set(name, list(&lua, rows)?)?;
                    }
                    table.raw_set("totals", totals_table(&lua, &scan.totals)?)?;
                    Ok(table)
                };
                fill().map_err(internal)
            }
        },
    )?;
    host.function("catalogue_list", |lua, catalogue: UserDataRef<Shared>| {
        let entries = catalogue.lock().entries()?;
        list(lua, entries.iter().map(|entry| entry_table(lua, entry))).map_err(internal)
    })?;
    host.function(
        "catalogue_problems",
        |lua, catalogue: UserDataRef<Shared>| {
            let problems = catalogue.lock().problems()?;
            list(lua, problems.iter().map(|one| problem_table(lua, one))).map_err(internal)
        },
    )?;
    host.function("catalogue_totals", |lua, catalogue: UserDataRef<Shared>| {
        let totals = catalogue.lock().totals()?;
        totals_table(lua, &totals).map_err(internal)
    })
}

fn primary(host: &HostTable) -> mlua::Result<()> {
    // How far a receiver is behind: { primary, written, flushed, state, bytes }.
    host.waiting(
        "receiver_lag",
        |lua, (conn, application, slot): (UserDataRef<Conn>, Option<String>, Option<String>)| {
            let connection = conn.0.clone();
            async move {
                let who = Standing { application, slot };
                let lag = run(&connection, Lag::measure(&connection, &who)).await?;
                let fill = || -> mlua::Result<Table> {
                    let table = lua.create_table()?;
                    table.raw_set("primary", LuaLsn(lag.primary))?;
                    table.raw_set("written", lag.written.map(LuaLsn))?;
                    table.raw_set("flushed", lag.flushed.map(LuaLsn))?;
                    table.raw_set("state", lag.state.as_deref())?;
                    table.raw_set("bytes", lag.bytes())?;
                    Ok(table)
                };
                fill().map_err(internal)
            }
        },
    )?;
    // Remembers growth and lag.
    host.function(
        "catalogue_sample",
        |_, (catalogue, lag): (UserDataRef<Shared>, Option<Table>)| {
            let lsn = |key: &str| -> Result<_, Failure> {
                let Some(lag) = &lag else { return Ok(None) };
                let value: Option<UserDataRef<LuaLsn>> = lag.get(key).map_err(internal)?;
                Ok(value.map(|lsn| lsn.0))
            };
            let behind: Option<u64> = match &lag {
                Some(lag) => lag.get("bytes").map_err(internal)?,
                None => None,
            };
            let catalogue = catalogue.lock();
            let sample = Sample {
                at: chrono::Utc::now().timestamp_micros(),
                totals: catalogue.totals()?,
                written: lsn("written")?,
                flushed: lsn("flushed")?,
                primary: lsn("primary")?,
                lag: behind,
            };
            Ok(catalogue.add_sample(&sample)?)
        },
    )?;
    // Brings the copy on the server up to date; on a connection of its own, which it configures.
    host.waiting(
        "catalogue_mirror",
        |_, (catalogue, conn): (UserDataRef<Shared>, UserDataRef<Conn>)| {
            let (shared, connection) = (catalogue.clone(), conn.0.clone());
            async move {
                let news = shared.lock().news()?;
                let told = crate::engine::guard(catalogue::mirror(&connection, &news)).await??;
                shared.lock().told(&news)?;
                Ok(told)
            }
        },
    )
}

fn list(lua: &Lua, rows: impl Iterator<Item = mlua::Result<Table>>) -> mlua::Result<Table> {
    let list = lua.create_table()?;
    for row in rows {
        list.raw_push(row?)?;
    }
    Ok(list)
}

fn entry_table(lua: &Lua, entry: &Entry) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("name", entry.name.as_str())?;
    table.raw_set("timeline", entry.timeline)?;
    table.raw_set("start_lsn", LuaLsn(entry.start))?;
    table.raw_set("end_lsn", LuaLsn(entry.end))?;
    table.raw_set("size", entry.size)?;
    table.raw_set("sha256", entry.sha256.as_deref())?;
    table.raw_set("state", entry.state.name())?;
    table.raw_set("code", entry.code.as_deref())?;
    table.raw_set("reason", entry.reason.as_deref())?;
    table.raw_set("valid_to", entry.valid_to.map(LuaLsn))?;
    table.raw_set("first_seen", LuaTime(entry.first_seen))?;
    table.raw_set("completed_at", entry.completed_at.map(LuaTime))?;
    table.raw_set("verified_at", entry.verified_at.map(LuaTime))?;
    Ok(table)
}

fn problem_table(lua: &Lua, problem: &Problem) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("kind", problem.kind.as_str())?;
    table.raw_set("name", problem.name.as_str())?;
    table.raw_set("lsn", problem.lsn.map(LuaLsn))?;
    table.raw_set("reason", problem.reason.as_str())?;
    table.raw_set("first_seen", LuaTime(problem.first_seen))?;
    Ok(table)
}

fn totals_table(lua: &Lua, totals: &Totals) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("segments", totals.segments)?;
    table.raw_set("bytes", totals.bytes)?;
    table.raw_set("verified", totals.verified)?;
    table.raw_set("damaged", totals.damaged)?;
    table.raw_set("partial", totals.partial)?;
    table.raw_set("received", totals.received.map(LuaLsn))?;
    Ok(table)
}
