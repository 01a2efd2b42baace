//! What a script asked for: which folder, which part of it, which transactions.

use std::path::PathBuf;

use mlua::{Table, UserDataRef};

use crate::bindings::value::{LuaLsn, LuaTime};
use crate::wal::{AnalysisOptions, Lsn, Wanted};

#[derive(Debug)]
pub(super) struct Request {
    pub folder: PathBuf,
    pub timeline: Option<u32>,
    pub wanted: Wanted,
    /// The resource manager of the records that are wanted.
    pub rmgr: Option<String>,
    /// A base backup to take names from.
    pub base: Option<PathBuf>,
    pub min_rows: Option<u64>,
    pub harmless: bool,
}

impl Request {
    pub fn read(table: &Table) -> mlua::Result<Request> {
        let lsn = |key: &str| -> mlua::Result<Option<Lsn>> {
            let value: Option<UserDataRef<LuaLsn>> = table.get(key)?;
            Ok(value.map(|lsn| lsn.0))
        };
        let time = |key: &str| -> mlua::Result<Option<i64>> {
            let value: Option<UserDataRef<LuaTime>> = table.get(key)?;
            Ok(value.map(|time| time.0))
        };
        let flag =
            |key: &str| Ok::<_, mlua::Error>(table.get::<Option<bool>>(key)?.unwrap_or(false));
        let path =
            |key: &str| Ok::<_, mlua::Error>(table.get::<Option<String>>(key)?.map(PathBuf::from));
        // A row's xid8 carries the epoch in its upper half; WAL records do not.
        let xid: Option<i64> = table.get("xid")?;
        Ok(Request {
            folder: path("folder")?.unwrap_or_default(),
            timeline: table.get("timeline")?,
            wanted: Wanted {
                table: table.get("table")?,
                kind: table.get("kind")?,
                xid: xid.map(|xid| (xid & 0xFFFF_FFFF) as u32),
                from: lsn("from")?,
                to: lsn("to")?,
                from_time: time("from_time")?,
                to_time: time("to_time")?,
                aborted: flag("aborted")?,
            },
            rmgr: table.get("rmgr")?,
            base: path("base")?,
            min_rows: table.get("min_rows")?,
            harmless: flag("harmless")?,
        })
    }

    pub fn options(&self) -> AnalysisOptions<'_> {
        let defaults = AnalysisOptions::default();
        AnalysisOptions {
            base: self.base.as_deref(),
            mass_rows: self.min_rows.unwrap_or(defaults.mass_rows),
            harmless: self.harmless,
            ..defaults
        }
    }
}
