//! Crews of writers for `rpitr.workload`.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mlua::{Table, UserData, UserDataRef};

use super::internal;
use super::sql::settings;
use super::wal::off_thread;
use crate::engine::HostTable;
use crate::failure::Failure;
use crate::workload::{Crew, Spec};

#[derive(Debug, Clone)]
struct CrewHandle(Arc<Mutex<Crew>>);
impl UserData for CrewHandle {}

impl CrewHandle {
    fn with<T>(&self, work: impl FnOnce(&mut Crew) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

pub fn register(host: &HostTable) -> mlua::Result<()> {
    host.function(
        "writers_start",
        |_, (connection, spec, log): (HashMap<String, String>, Table, String)| {
            let settings = settings(None, connection)?;
            let spec = read_spec(&spec).map_err(internal)?;
            let crew = Crew::start(settings, spec, &PathBuf::from(log))?;
            Ok(CrewHandle(Arc::new(Mutex::new(crew))))
        },
    )?;
    host.function(
        "writers_pause",
        |_, (crew, paused): (UserDataRef<CrewHandle>, bool)| {
            crew.with(|crew| crew.pause(paused));
            Ok(())
        },
    )?;
    // Returns when every writer has ended its operation, or has given it up.
    host.waiting("writers_stop", |_, crew: UserDataRef<CrewHandle>| {
        let crew = crew.clone();
        async move {
            crew.with(|crew| crew.stop());
            off_thread(move || crew.with(Crew::join).map_err(Failure::from)).await
        }
    })?;
    host.function("writers_stats", |lua, crew: UserDataRef<CrewHandle>| {
        crew.with(|crew| {
            let stats = crew.stats();
            let table = lua.create_table()?;
            table.raw_set("acknowledged", stats.ok.load(Relaxed))?;
            table.raw_set("failed", stats.failed.load(Relaxed))?;
            table.raw_set("indeterminate", stats.indeterminate.load(Relaxed))?;
            table.raw_set("sessions", stats.sessions.load(Relaxed))?;
            table.raw_set("refused", stats.refused.load(Relaxed))?;
            table.raw_set("waited", stats.waited.load(Relaxed) as f64 / 1e6)?;
            table.raw_set("slowest", stats.slowest.load(Relaxed) as f64 / 1e6)?;
            table.raw_set("before", crew.before)?;
            table.raw_set("finished", crew.is_finished())?;
            Ok(table)
        })
        .map_err(internal)
    })
}

fn read_spec(table: &Table) -> mlua::Result<Spec> {
    let pair = |name: &str| -> mlua::Result<(f64, f64)> {
        let range: Table = table.raw_get(name)?;
        Ok((range.raw_get(1)?, range.raw_get(2)?))
    };
    let whole = |name: &str| pair(name).map(|(low, high)| (low as u32, high as u32));
    Ok(Spec {
        seed: table.raw_get::<i64>("seed")? as u64,
        writers: table.raw_get("n")?,
        think: pair("think")?,
        rows: whole("rows")?,
        payload: whole("payload")?,
        deadline: Duration::from_secs_f64(table.raw_get("deadline")?),
        rollback: table.raw_get("rollback")?,
        savepoint: table.raw_get("savepoint")?,
    })
}
