//! Whole looks at an archive: what wrote the WAL, what happened, what is missing, what is bad.

use std::path::Path;

use mlua::{Lua, Table, UserData, UserDataRef};

use super::stream::open;
use super::{off_thread, view};
use crate::archive::{self, Finding, Listing, Story};
use crate::bindings::internal;
use crate::bindings::value::{LuaLsn, LuaTime};
use crate::engine::{HostTable, guard};
use crate::failure::{Failure, Kind};
use crate::runtime::{Source, open_source};
use crate::wal::{Count, Lsn, SegmentSize, Statistics};

/// Keeps what an opened archive needs to be read, until the script closes it.
#[derive(Debug)]
struct Held(#[allow(dead_code, reason = "held, not read")] Source);
impl UserData for Held {}

type Bound = Option<UserDataRef<LuaLsn>>;

fn bound(value: Bound) -> Option<Lsn> {
    value.map(|lsn| lsn.0)
}

pub(super) fn register(host: &HostTable) -> mlua::Result<()> {
    // The folder a reference stands for, and what holds it.
    host.waiting("wal_source", |_, reference: String| async move {
        let source = guard(open_source(&reference)).await??;
        let folder = source.dir.display().to_string();
        Ok((folder, Held(source)))
    })?;
    host.waiting(
        "wal_statistics",
        |lua, (folder, timeline, from, to): (String, Option<u32>, Bound, Bound)| {
            let (from, to) = (bound(from), bound(to));
            async move {
                view(&folder).await?;
                let statistics = off_thread(move || {
                    let wal = open(Path::new(&folder), timeline)?;
                    let first = wal.first().unwrap_or_default();
                    let start = from.map_or(first, |from| from.max(first));
                    let statistics = Statistics::read(&wal, start, to, |_| {});
                    match statistics.end {
                        Some(end) if end.is_damage() => Err(end.into()),
                        _ => Ok(statistics),
                    }
                })
                .await?;
                statistics_table(&lua, &statistics).map_err(internal)
            }
        },
    )?;
    host.waiting(
        "wal_story",
        |lua, (folder, timeline, from, to): (String, Option<u32>, Bound, Bound)| {
            let (from, to) = (bound(from), bound(to));
            async move {
                view(&folder).await?;
                let story = off_thread(move || {
                    Ok(archive::story(
                        Path::new(&folder),
                        timeline,
                        from,
                        to,
                        |_| {},
                    )?)
                })
                .await?;
                story_table(&lua, &story).map_err(internal)
            }
        },
    )?;
    // Runs of segments that must exist and do not.
    host.waiting("wal_gaps", |lua, folder: String| async move {
        view(&folder).await?;
        let listing =
            off_thread(move || Ok(Listing::read(Path::new(&folder))?.with_packed())).await?;
        gaps_table(&lua, &listing).map_err(internal)
    })?;
    // What is wrong with the WAL between two positions.
    host.waiting(
        "wal_verify",
        |lua, (folder, from, to): (String, Bound, Bound)| {
            let (from, to) = (bound(from), bound(to));
            async move {
                view(&folder).await?;
                let findings =
                    off_thread(move || Ok(archive::verify(Path::new(&folder), from, to)?)).await?;
                findings_table(&lua, &findings).map_err(internal)
            }
        },
    )?;
    host.function(
        "wal_name",
        |_, (lsn, timeline, size): (UserDataRef<LuaLsn>, u32, u64)| {
            let size = segment_size(size)?;
            Ok(size.name(timeline, size.number(lsn.0)))
        },
    )?;
    host.function(
        "wal_segment_of",
        |_, (lsn, size): (UserDataRef<LuaLsn>, u64)| {
            let size = segment_size(size)?;
            let number = size.number(lsn.0);
            Ok((number, size.offset(lsn.0), LuaLsn(size.start(number))))
        },
    )
}

fn segment_size(bytes: u64) -> Result<SegmentSize, Failure> {
    SegmentSize::new(bytes).ok_or_else(|| {
        Failure::new(Kind::Arg, format!("{bytes} bytes is not the size of a WAL segment"))
            .hint("a WAL segment is a power of two from 1 MB to 1 GB; 16 MB unless initdb was told otherwise")
    })
}

fn count_table(lua: &Lua, count: Count) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("records", count.records)?;
    table.raw_set("bytes", count.bytes)?;
    table.raw_set("image_bytes", count.image_bytes)?;
    Ok(table)
}

fn statistics_table(lua: &Lua, statistics: &Statistics) -> mlua::Result<Table> {
    let managers = lua.create_table()?;
    for (name, count) in statistics.by_manager() {
        managers.raw_set(name, count_table(lua, count)?)?;
    }
    let table = lua.create_table()?;
    table.raw_set("managers", managers)?;
    table.raw_set("total", count_table(lua, statistics.total())?)?;
    table.raw_set("first", statistics.first.map(LuaLsn))?;
    table.raw_set("last", statistics.last.map(LuaLsn))?;
    Ok(table)
}

fn story_table(lua: &Lua, story: &Story) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    for happening in &story.happenings {
        let entry = lua.create_table()?;
        entry.raw_set("lsn", LuaLsn(happening.lsn))?;
        entry.raw_set("time", happening.time.map(LuaTime))?;
        entry.raw_set("what", happening.what)?;
        entry.raw_set("detail", happening.detail.as_str())?;
        table.raw_push(entry)?;
    }
    table.raw_set("commits", story.commits)?;
    table.raw_set("chain", story.chain.clone())?;
    if let Some(end) = &story.end {
        let entry = lua.create_table()?;
        entry.raw_set("lsn", LuaLsn(end.lsn))?;
        entry.raw_set("damage", end.is_damage())?;
        entry.raw_set("reason", end.reason.to_string())?;
        entry.raw_set("file", end.file_name())?;
        table.raw_set("finish", entry)?;
    }
    Ok(table)
}

fn gaps_table(lua: &Lua, listing: &Listing) -> mlua::Result<Table> {
    let list = lua.create_table()?;
    let size = listing.segment_size();
    for timeline in listing.segments.keys().copied() {
        for (first, last) in archive::gaps(listing, timeline) {
            let entry = lua.create_table()?;
            entry.raw_set("timeline", timeline)?;
            entry.raw_set("first", size.name(timeline, first))?;
            entry.raw_set("last", size.name(timeline, last))?;
            entry.raw_set("segments", last - first + 1)?;
            entry.raw_set("from", LuaLsn(size.start(first)))?;
            entry.raw_set("to", LuaLsn(size.start(last + 1)))?;
            list.raw_push(entry)?;
        }
    }
    Ok(list)
}

fn findings_table(lua: &Lua, findings: &[Finding]) -> mlua::Result<Table> {
    let list = lua.create_table()?;
    for finding in findings {
        let entry = lua.create_table()?;
        entry.raw_set("kind", finding.kind.name())?;
        entry.raw_set("file", finding.file.as_str())?;
        entry.raw_set("lsn", finding.lsn.map(LuaLsn))?;
        entry.raw_set("reason", finding.reason.as_str())?;
        list.raw_push(entry)?;
    }
    Ok(list)
}
