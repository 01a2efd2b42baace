//! The private host functions behind the standard library: one file per area. Each converts its
//! arguments, guards its waits against cancellation and returns; policy lives in Lua.

mod api;
mod capture;
mod chaos;
mod console;
mod docker;
mod fs;
mod lab;
mod node;
mod process;
mod random;
mod recovery;
mod repl;
mod report;
mod sql;
mod sql_stream;
mod sql_value;
mod standing;
mod value;
mod verify;
mod wal;
mod workload;

use crate::engine::HostTable;
use crate::failure::{Failure, Kind};

/// Adds every host function.
pub fn register(host: &HostTable) -> mlua::Result<()> {
    api::register(host)?;
    capture::register(host)?;
    chaos::register(host)?;
    console::register(host)?;
    docker::register(host)?;
    fs::register(host)?;
    lab::register(host)?;
    node::register(host)?;
    recovery::register(host)?;
    wal::register(host)?;
    workload::register(host)?;
    process::register(host)?;
    random::register(host)?;
    repl::register(host)?;
    report::register(host)?;
    sql::register(host)?;
    sql_stream::register(host)?;
    standing::register(host)?;
    value::register(host)?;
    verify::register(host)?;
    Ok(())
}

/// An error of mlua's own, such as no memory for a table: nothing a script could have caused.
fn internal(error: mlua::Error) -> Failure {
    Failure::new(Kind::Internal, error.to_string())
}
