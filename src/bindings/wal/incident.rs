//! What destroyed data, as tables a script reads.

use mlua::{Lua, Table};

use super::request::Request;
use super::stream::open;
use super::{off_thread, view, xact_table};
use crate::bindings::internal;
use crate::bindings::value::{LuaLsn, LuaTime};
use crate::engine::HostTable;
use crate::wal::{Incident, Rows, incidents, kinds};

pub(super) fn register(host: &HostTable) -> mlua::Result<()> {
    // The words that name what a transaction did.
    host.function("wal_kinds", |_, ()| Ok(kinds()))?;
    // Everything that was found up to the end of the WAL, and the damage that ended it, if any.
    host.waiting("wal_find", |lua, request: Table| async move {
        let request = Request::read(&request).map_err(internal)?;
        view(&request.folder.to_string_lossy()).await?;
        let found = off_thread(move || {
            let wal = open(&request.folder, request.timeline)?;
            let (mut found, analysis) = incidents(&wal, &request.options())?;
            let end = analysis.summary.end;
            if end.is_damage() {
                return Err(end.into());
            }
            found.retain(|incident| request.wanted.incident(incident));
            Ok(found)
        })
        .await?;
        let fill = || -> mlua::Result<Table> {
            let list = lua.create_table()?;
            for incident in &found {
                list.raw_push(incident_table(&lua, incident)?)?;
            }
            Ok(list)
        };
        fill().map_err(internal)
    })
}

pub(super) fn rows_table(lua: &Lua, rows: &Rows) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("inserted", rows.inserted)?;
    table.raw_set("updated", rows.updated)?;
    table.raw_set("deleted", rows.deleted)?;
    Ok(table)
}

fn incident_table(lua: &Lua, incident: &Incident) -> mlua::Result<Table> {
    let table = xact_table(lua, &incident.xact)?;
    table.raw_set("kind", incident.kind.word())?;
    table.raw_set("harmless", incident.kind.is_harmless())?;
    table.raw_set("names", incident.names())?;
    table.raw_set("schemas", incident.schemas.clone())?;
    table.raw_set("database", incident.database_name.as_deref())?;
    table.raw_set("first_lsn", LuaLsn(incident.first_lsn))?;
    table.raw_set("cascade", incident.cascade)?;
    table.raw_set("rows", rows_table(lua, &incident.rows)?)?;
    let relations = lua.create_table()?;
    for lost in &incident.relations {
        let entry = rows_table(lua, &lost.rows)?;
        entry.raw_set("name", lost.relation.to_string())?;
        entry.raw_set("oid", lost.relation.oid)?;
        entry.raw_set("kind", lost.relation.kind.map(|kind| kind.word()))?;
        entry.raw_set("unlogged", lost.relation.unlogged)?;
        relations.raw_push(entry)?;
    }
    table.raw_set("relations", relations)?;
    // What `pitr.restore` takes as it is, and the other ways to say the same.
    let target = lua.create_table()?;
    target.raw_set("lsn", LuaLsn(incident.target.lsn))?;
    target.raw_set("inclusive", false)?;
    target.raw_set("timeline", incident.target.timeline)?;
    table.raw_set("target", target)?;
    let others = lua.create_table()?;
    others.raw_set("xid", incident.target.xid)?;
    others.raw_set("time", incident.target.time.map(LuaTime))?;
    others.raw_set("pause_lsn", incident.target.pause_lsn.map(LuaLsn))?;
    table.raw_set("alternatives", others)?;
    if let Some(backup) = &incident.backup {
        let entry = lua.create_table()?;
        entry.raw_set("start_lsn", LuaLsn(backup.start))?;
        entry.raw_set("stop_lsn", LuaLsn(backup.stop))?;
        entry.raw_set("timeline", backup.timeline)?;
        table.raw_set("backup", entry)?;
    }
    if let Some(xact) = &incident.last_kept {
        table.raw_set("last_kept", xact_table(lua, xact)?)?;
    }
    if let Some(xact) = &incident.first_lost {
        table.raw_set("first_lost", xact_table(lua, xact)?)?;
    }
    table.raw_set("commits_kept", incident.commits_kept)?;
    table.raw_set("commits_lost", incident.commits_lost)?;
    table.raw_set("commits_during", incident.commits_during)?;
    table.raw_set("notes", incident.notes.clone())?;
    Ok(table)
}
