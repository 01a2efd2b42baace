//! What base backups, control files and recovery logs say.

use std::fs;
use std::path::{Path, PathBuf};

use mlua::{Table, UserDataRef};

use super::internal;
use super::node::NodeHandle;
use super::value::LuaLsn;
use super::wal::view;
use crate::engine::{HostTable, guard};
use crate::failure::{Failure, Kind};
use crate::postgres::{BackupLabel, BackupManifest, StoppedAt, parse_tablespace_map};

pub fn register(host: &HostTable) -> mlua::Result<()> {
    backups(host)
}

fn backups(host: &HostTable) -> mlua::Result<()> {
    // What a base backup says about itself.
    host.waiting("backup_read", |lua, folder: String| async move {
        view(&folder).await?;
        let folder = PathBuf::from(folder);
        let label = read_text(&folder.join("backup_label"))?.ok_or_else(|| {
            Failure::new(
                Kind::Archive,
                format!("{} has no backup_label", folder.display()),
            )
            .code("no_backup_label")
            .hint(
                "without it the copy cannot be recovered to a consistent state; use another backup",
            )
        })?;
        let label = BackupLabel::parse(&label)?;
        let manifest = read_text(&folder.join("backup_manifest"))?;
        let manifest = manifest
            .map(|text| BackupManifest::parse(text.as_bytes()))
            .transpose()?;
        let tablespaces = read_text(&folder.join("tablespace_map"))?;
        let tablespaces = tablespaces
            .map(|text| parse_tablespace_map(&text))
            .transpose()?;
        let fill = || -> mlua::Result<Table> {
            let table = lua.create_table()?;
            table.raw_set("start_lsn", LuaLsn(label.start))?;
            table.raw_set("checkpoint", LuaLsn(label.checkpoint))?;
            table.raw_set("timeline", label.timeline)?;
            table.raw_set("label", label.label.as_deref())?;
            table.raw_set("tablespaces", tablespaces.map_or(0, |list| list.len()))?;
            if let Some(manifest) = &manifest {
                table.raw_set("stop_lsn", manifest.stop().map(LuaLsn))?;
                table.raw_set("files", manifest.files)?;
                table.raw_set("bytes", manifest.bytes)?;
            }
            Ok(table)
        };
        fill().map_err(internal)
    })?;
    host.waiting("node_control_data", |lua, node: UserDataRef<NodeHandle>| {
        let node = node.0.clone();
        async move {
            let control = guard(node.control_data()).await??;
            let fill = || -> mlua::Result<Table> {
                let table = lua.create_table()?;
                table.raw_set("system_id", control.system_identifier.to_string())?;
                table.raw_set("state", control.state.to_string())?;
                table.raw_set("redo", LuaLsn(control.redo))?;
                table.raw_set("checkpoint", LuaLsn(control.checkpoint))?;
                table.raw_set("timeline", control.timeline)?;
                table.raw_set("min_recovery_end", LuaLsn(control.min_recovery_end))?;
                table.raw_set("segment_size", control.wal_segment_size)?;
                table.raw_set("data_checksums", control.checksums())?;
                let minimums = lua.create_table()?;
                for (name, value) in control.hot_standby_minimums() {
                    minimums.raw_set(name, value)?;
                }
                table.raw_set("minimums", minimums)?;
                Ok(table)
            };
            fill().map_err(internal)
        }
    })?;
    // What the log says about the recovery that began at `offset`.
    host.waiting(
        "node_recovery_outcome",
        |lua, (node, offset): (UserDataRef<NodeHandle>, Option<u64>)| {
            let node = node.0.clone();
            async move {
                let outcome = node.recovery_outcome(offset.unwrap_or(0)).await?;
                let fill = || -> mlua::Result<Table> {
                    let table = lua.create_table()?;
                    table.raw_set("target", outcome.target.as_deref())?;
                    table.raw_set("stopped", outcome.stopped.as_ref().map(describe_stop))?;
                    table.raw_set(
                        "stopped_xid",
                        match &outcome.stopped {
                            Some(StoppedAt::Transaction { xid, .. }) => Some(*xid),
                            _ => None,
                        },
                    )?;
                    table.raw_set("paused", outcome.paused)?;
                    table.raw_set("complete", outcome.complete)?;
                    table.raw_set("redo_done", outcome.redo_done.map(LuaLsn))?;
                    table.raw_set("new_timeline", outcome.new_timeline)?;
                    table.raw_set("target_not_reached", outcome.target_not_reached)?;
                    table.raw_set("before_consistency", outcome.before_consistency)?;
                    table.raw_set("restored_files", outcome.restored.len())?;
                    table.raw_set("end_of_wal", outcome.end_of_wal.clone())?;
                    Ok(table)
                };
                fill().map_err(internal)
            }
        },
    )
}

fn describe_stop(stopped: &StoppedAt) -> String {
    let side = |before: &bool| if *before { "before" } else { "after" };
    match stopped {
        StoppedAt::Transaction {
            before,
            committed,
            xid,
            time,
        } => {
            let what = if *committed { "commit" } else { "abort" };
            format!("{} {what} of transaction {xid}, time {time}", side(before))
        }
        StoppedAt::Lsn { before, lsn } => format!("{} WAL location {lsn}", side(before)),
        StoppedAt::RestorePoint { name, time } => {
            format!("at restore point \"{name}\", time {time}")
        }
        StoppedAt::Consistency => "at consistency".into(),
    }
}

fn read_text(path: &Path) -> Result<Option<String>, Failure> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::io("read", path, &error)),
    }
}
