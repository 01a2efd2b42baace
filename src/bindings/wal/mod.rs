//! Stop points, commits and archives, read from the WAL itself.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use mlua::{Lua, Table, UserData, UserDataRef};

use super::internal;
use super::value::{LuaLsn, LuaTime};
use crate::archive;
use crate::engine::{HostTable, guard};
use crate::failure::{Failure, Kind};
use crate::runtime::local_view;
use crate::wal::{
    Event, Lsn, Options, Refusal, SegmentFile, Stop, StopRequest, Target, Wal, Xact, parse_history,
    scan, stop_point,
};

mod incident;
mod request;
mod stream;
mod survey;

pub fn register(host: &HostTable) -> mlua::Result<()> {
    wal(host)?;
    archives(host)?;
    incident::register(host)?;
    stream::register(host)?;
    survey::register(host)
}

type MaybeLsn = Option<UserDataRef<LuaLsn>>;

/// Reading WAL is work for another thread: the script's other tasks go on.
pub(super) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    guard(tokio::task::spawn_blocking(work))
        .await?
        .map_err(|error| Failure::new(Kind::Internal, error.to_string()))?
}

/// What lies in volumes is mirrored before it is read.
pub(in crate::bindings) async fn view(folder: &str) -> Result<(), Failure> {
    Ok(guard(local_view(Path::new(folder))).await??)
}

/// The path of one file that is read, too.
async fn viewed(file: Option<String>) -> Result<Option<PathBuf>, Failure> {
    if let Some(file) = &file {
        view(file).await?;
    }
    Ok(file.map(PathBuf::from))
}

fn wal(host: &HostTable) -> mlua::Result<()> {
    // What recovery to a target will do, from the WAL alone.
    host.waiting("wal_stop_point", |lua, request: Table| async move {
        let folder: String = request.get("archive").map_err(internal)?;
        let options = Options {
            timeline: request.get("timeline").map_err(internal)?,
            tail: viewed(request.get("tail").map_err(internal)?).await?,
            ..Options::default()
        };
        let request = read_request(&request)?;
        view(&folder).await?;
        let stop = off_thread(move || {
            let wal = Wal::open(Path::new(&folder), &options)?;
            stop_point(&wal, &request).map_err(refused)
        })
        .await?;
        stop_table(&lua, &stop).map_err(internal)
    })?;
    // Every transaction that ended between two positions.
    host.waiting(
        "wal_commits",
        |_,
         (folder, timeline, from, to, tail): (
            String,
            Option<u32>,
            UserDataRef<LuaLsn>,
            MaybeLsn,
            Option<String>,
        )| {
            let (from, to) = (from.0, to.map(|lsn| lsn.0));
            async move {
                view(&folder).await?;
                let options = Options {
                    timeline,
                    tail: viewed(tail).await?,
                    ..Options::default()
                };
                off_thread(move || CommitIndex::read(Path::new(&folder), &options, from, to)).await
            }
        },
    )?;
    host.function(
        "wal_commit_of",
        |lua, (index, xid): (UserDataRef<CommitIndex>, i64)| {
            // A row's xid8 carries the epoch in its upper half; WAL records do not.
            let xid = (xid & 0xFFFF_FFFF) as u32;
            let found = index.by_xid.get(&xid).map(|at| index.commits[*at]);
            found
                .map(|xact| xact_table(lua, &xact))
                .transpose()
                .map_err(internal)
        },
    )?;
    host.function("wal_commit_count", |_, index: UserDataRef<CommitIndex>| {
        Ok(index.commits.len())
    })?;
    host.function("wal_commit_end", |_, index: UserDataRef<CommitIndex>| {
        Ok(LuaLsn(index.end))
    })?;
    // The last entry of a history file: the parent, where it was left, why.
    host.function(
        "history_switchpoint",
        |_, (timeline, text): (u32, String)| {
            let entries = parse_history(timeline, &text)?;
            let last = entries.last().ok_or_else(|| {
                Failure::new(
                    Kind::Wal,
                    format!("the history of timeline {timeline} is empty"),
                )
            })?;
            Ok((LuaLsn(last.switchpoint), last.timeline, last.reason.clone()))
        },
    )
}

/// Commits in WAL order, found by transaction id.
#[derive(Debug)]
struct CommitIndex {
    commits: Vec<Xact>,
    by_xid: HashMap<u32, usize>,
    end: Lsn,
}
impl UserData for CommitIndex {}

impl CommitIndex {
    fn read(folder: &Path, options: &Options, from: Lsn, to: Option<Lsn>) -> Result<Self, Failure> {
        let wal = Wal::open(folder, options)?;
        let mut index = CommitIndex {
            commits: Vec::new(),
            by_xid: HashMap::new(),
            end: from,
        };
        let summary = scan(&wal, from, |event| {
            let Event::Xact(detail) = event else { return };
            if !detail.xact.kind.is_commit() || to.is_some_and(|to| detail.xact.start >= to) {
                return;
            }
            let at = index.commits.len();
            index.commits.push(detail.xact);
            index.by_xid.insert(detail.xact.xid, at);
            // Rows written by a subtransaction carry its own id.
            for subxact in &detail.subxacts {
                index.by_xid.insert(*subxact, at);
            }
        })?;
        index.end = summary.end.lsn;
        // Damage behind the part that was asked for says nothing about it.
        if summary.end.is_damage() && to.is_none_or(|to| summary.end.lsn < to) {
            return Err(Failure::from(summary.end));
        }
        Ok(index)
    }
}

fn read_request(table: &Table) -> Result<StopRequest, Failure> {
    let lsn = |key: &str| -> Result<Lsn, Failure> {
        let value: UserDataRef<LuaLsn> = table.get(key).map_err(internal)?;
        Ok(value.0)
    };
    let kind: String = table.get("kind").map_err(internal)?;
    let target = match kind.as_str() {
        "time" => Target::Time(
            table
                .get::<UserDataRef<LuaTime>>("value")
                .map_err(internal)?
                .0,
        ),
        "xid" => Target::Xid((table.get::<i64>("value").map_err(internal)? & 0xFFFF_FFFF) as u32),
        "lsn" => Target::Lsn(lsn("value")?),
        "name" => Target::Name(table.get("value").map_err(internal)?),
        "immediate" => Target::Immediate,
        _ => Target::Latest,
    };
    let backup_stop_time: Option<UserDataRef<LuaTime>> =
        table.get("backup_stop_time").map_err(internal)?;
    Ok(StopRequest {
        target,
        inclusive: table.get("inclusive").map_err(internal)?,
        start: lsn("start")?,
        consistent: lsn("consistent")?,
        backup_stop_time: backup_stop_time.map(|time| time.0),
    })
}

fn refused(refusal: Refusal) -> Failure {
    let failure = Failure::from(refusal.clone());
    match refusal {
        // How far the WAL goes is what the user wants to know next, and which names there are.
        Refusal::NotReached {
            last_lsn,
            last_commit: Some(commit),
            restore_points,
            ..
        } => {
            let names = match restore_points.is_empty() {
                true => String::new(),
                false => format!("; its restore points: {}", restore_points.join(", ")),
            };
            failure.detail(format!(
                "the WAL ends at {last_lsn}; its last commit is transaction {} at {}{names}",
                commit.xid,
                super::value::format_time(commit.unix_us)
            ))
        }
        _ => failure,
    }
}

fn stop_table(lua: &Lua, stop: &Stop) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("stop_lsn", stop.stop_lsn.map(LuaLsn))?;
    table.raw_set("switchpoint", LuaLsn(stop.switchpoint))?;
    table.raw_set("last_record", stop.last_record.map(LuaLsn))?;
    table.raw_set("timeline", stop.timeline)?;
    table.raw_set("why", stop.why.as_str())?;
    if let Some(xact) = &stop.last_replayed_commit {
        table.raw_set("last_commit", xact_table(lua, xact)?)?;
    }
    if let Some(xact) = &stop.next_commit {
        table.raw_set("next_commit", xact_table(lua, xact)?)?;
    }
    Ok(table)
}

fn xact_table(lua: &Lua, xact: &Xact) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("xid", xact.xid)?;
    table.raw_set("lsn", LuaLsn(xact.start))?;
    table.raw_set("end_lsn", LuaLsn(xact.end))?;
    table.raw_set("time", LuaTime(xact.unix_us))?;
    table.raw_set("timeline", xact.timeline)?;
    Ok(table)
}

fn archives(host: &HostTable) -> mlua::Result<()> {
    host.waiting(
        "archive_has",
        |_, (folder, name): (String, String)| async move {
            let path = Path::new(&folder).join(name);
            guard(local_view(&path)).await??;
            Ok(path.is_file())
        },
    )?;
    // The segments a recovery from `from` to `to` asks for: { files, bytes, first, last }.
    host.waiting(
        "wal_range",
        |lua,
         (folder, timeline, from, to, tail): (
            String,
            u32,
            UserDataRef<LuaLsn>,
            UserDataRef<LuaLsn>,
            Option<String>,
        )| async move {
            view(&folder).await?;
            let options = Options {
                timeline: Some(timeline),
                tail: viewed(tail).await?,
                ..Options::default()
            };
            let wal = Wal::open(Path::new(&folder), &options)?;
            let size = wal.segment_size().bytes();
            let wanted = from.0.segment(size)..=to.0.segment(size);
            let files: Vec<_> = wal
                .files()
                .filter(|(number, _)| wanted.contains(number))
                .collect();
            let name = |file: Option<&(u64, &SegmentFile)>| {
                file.and_then(|(_, file)| {
                    Some(file.path.file_name()?.to_string_lossy().into_owned())
                })
            };
            let fill = || -> mlua::Result<Table> {
                let table = lua.create_table()?;
                table.raw_set("files", files.len())?;
                table.raw_set("bytes", files.len() as u64 * size)?;
                table.raw_set("first", name(files.first()))?;
                table.raw_set("last", name(files.last()))?;
                Ok(table)
            };
            fill().map_err(internal)
        },
    )?;
    host.waiting("archive_inspect", |lua, folder: String| async move {
        view(&folder).await?;
        let inventory = off_thread(move || Ok(archive::inspect(Path::new(&folder))?)).await?;
        let fill = || -> mlua::Result<Table> {
            let table = lua.create_table()?;
            if let Some(identity) = &inventory.identity {
                table.raw_set("system_id", identity.system_id.to_string())?;
                table.raw_set("segment_size", identity.segment_size.bytes())?;
            }
            let timelines = lua.create_table()?;
            for known in &inventory.timelines {
                let entry = lua.create_table()?;
                entry.raw_set("timeline", known.timeline)?;
                entry.raw_set("parent", known.parent.map(|(parent, _)| parent))?;
                entry.raw_set("forked_at", known.parent.map(|(_, at)| LuaLsn(at)))?;
                entry.raw_set("segments", known.segments)?;
                entry.raw_set("first", known.first.as_deref())?;
                entry.raw_set("last", known.last.as_deref())?;
                entry.raw_set("gaps", known.gaps.len())?;
                timelines.raw_push(entry)?;
            }
            table.raw_set("timelines", timelines)?;
            Ok(table)
        };
        fill().map_err(internal)
    })
}
