//! Connections and statements for `rpitr.sql`; streams, COPY and pools stand in `sql_stream`.
//!
//! A wait that is cancelled (timeout, Ctrl-C) also cancels the statement on the server and brings
//! the connection back to a usable state before the script sees the error.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use mlua::{Lua, UserData, UserDataRef, Value as LuaValue};

use super::internal;
use super::sql_value::{Parameters, row_to_lua, to_lua};
use crate::engine::{HostTable, guard};
use crate::failure::Failure;
use crate::sql::{Connection, Env, Error, Rows, Settings, Statement};

/// How long a cancelled statement may take to end before the connection is given up.
pub(super) const CANCEL_LIMIT: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
pub(super) struct Conn(pub Connection);
impl UserData for Conn {}

#[derive(Debug, Clone)]
struct Prepared(Connection, Statement);
impl UserData for Prepared {}

pub fn register(host: &HostTable) -> mlua::Result<()> {
    connections(host)?;
    statements(host)
}

/// Waits for a statement; cancels it on the server when the wait is cancelled.
pub(super) async fn run<T>(
    connection: &Connection,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Failure> {
    match guard(work).await {
        Ok(result) => result.map_err(Failure::from),
        Err(cancelled) => {
            // If the server does not even answer the cancel request, the connection is closed by
            // the drain; either way the reason the script sees is the cancellation.
            let _ = Box::pin(connection.cancel_and_drain(CANCEL_LIMIT)).await;
            Err(cancelled)
        }
    }
}

pub(super) fn settings(
    url: Option<String>,
    options: HashMap<String, String>,
) -> Result<Settings, Failure> {
    let pairs: Vec<(String, String)> = options.into_iter().collect();
    Settings::resolve(url.as_deref(), &pairs, &Env::current()).map_err(Failure::from)
}

fn connections(host: &HostTable) -> mlua::Result<()> {
    host.waiting(
        "sql_connect",
        |_, (url, options): (Option<String>, HashMap<String, String>)| async move {
            let settings = settings(url, options)?;
            let connection = guard(Connection::connect(&settings))
                .await?
                .map_err(Failure::from)?;
            Ok(Conn(connection))
        },
    )?;
    host.waiting("sql_close", |_, conn: UserDataRef<Conn>| {
        let connection = conn.0.clone();
        async move {
            connection.close();
            Ok(())
        }
    })?;
    host.function("sql_is_closed", |_, conn: UserDataRef<Conn>| {
        Ok(conn.0.is_closed())
    })?;
    host.function("sql_describe", |_, conn: UserDataRef<Conn>| {
        let connection = &conn.0;
        Ok((
            connection.describe().to_string(),
            connection.backend_pid(),
            connection.server_version(),
            connection.is_tls(),
        ))
    })?;
    host.waiting("sql_cancel", |_, conn: UserDataRef<Conn>| {
        let connection = conn.0.clone();
        async move { guard(connection.cancel()).await?.map_err(Failure::from) }
    })?;
    host.waiting("sql_notification", |_, conn: UserDataRef<Conn>| {
        let connection = conn.0.clone();
        async move {
            let note = guard(connection.notification())
                .await?
                .map_err(Failure::from)?;
            Ok((note.channel, note.payload, note.pid))
        }
    })?;
    host.function("sql_notices", |lua, conn: UserDataRef<Conn>| {
        let list = lua.create_table().map_err(internal)?;
        for notice in conn.0.take_notices() {
            let fill = || -> mlua::Result<()> {
                let entry = lua.create_table()?;
                entry.raw_set("severity", notice.severity.as_str())?;
                entry.raw_set("code", notice.code.as_str())?;
                entry.raw_set("message", notice.message.as_str())?;
                list.raw_push(entry)
            };
            fill().map_err(internal)?;
        }
        Ok(list)
    })
}

/// What a function returns of a statement's rows.
type Shape = fn(&Lua, Rows) -> mlua::Result<LuaValue>;

fn statements(host: &HostTable) -> mlua::Result<()> {
    let shapes: [(_, _, Shape); 3] = [
        ("sql_query", "sql_prepared_query", all_rows),
        ("sql_row", "sql_prepared_row", first_row),
        ("sql_value", "sql_prepared_value", first_value),
    ];
    for (plain, prepared, shape) in shapes {
        host.waiting(
            plain,
            move |lua, (conn, text, parameters): (UserDataRef<Conn>, String, Parameters)| {
                let connection = conn.0.clone();
                async move {
                    let rows = run(&connection, connection.query(&text, &parameters.0)).await?;
                    shape(&lua, rows).map_err(internal)
                }
            },
        )?;
        host.waiting(
            prepared,
            move |lua, (prepared, parameters): (UserDataRef<Prepared>, Parameters)| {
                let Prepared(connection, statement) = prepared.clone();
                async move {
                    let work = connection.query_prepared(&statement, &parameters.0);
                    let rows = run(&connection, work).await?;
                    shape(&lua, rows).map_err(internal)
                }
            },
        )?;
    }
    // Without parameters several statements may be given, separated by semicolons.
    host.waiting(
        "sql_exec",
        |_, (conn, text, parameters): (UserDataRef<Conn>, String, Parameters)| {
            let connection = conn.0.clone();
            async move {
                if parameters.0.is_empty() {
                    run(&connection, connection.exec(&text)).await
                } else {
                    run(&connection, connection.exec_params(&text, &parameters.0)).await
                }
            }
        },
    )?;
    host.waiting(
        "sql_prepare",
        |_, (conn, text): (UserDataRef<Conn>, String)| {
            let connection = conn.0.clone();
            async move {
                let statement = run(&connection, connection.prepare(&text)).await?;
                Ok(Prepared(connection, statement))
            }
        },
    )?;
    host.waiting(
        "sql_prepared_exec",
        |_, (prepared, parameters): (UserDataRef<Prepared>, Parameters)| {
            let Prepared(connection, statement) = prepared.clone();
            async move {
                let work = connection.exec_prepared(&statement, &parameters.0);
                run(&connection, work).await
            }
        },
    )
}

/// Rows by name, with the column order beside them: `{ row..., columns = { name... } }`.
fn all_rows(lua: &Lua, rows: Rows) -> mlua::Result<LuaValue> {
    let table = lua.create_table_with_capacity(rows.rows.len(), 2)?;
    for row in rows.rows {
        table.raw_push(row_to_lua(lua, &rows.columns, row)?)?;
    }
    let names = rows.columns.iter().map(|column| column.name.as_str());
    table.raw_set("columns", lua.create_sequence_from(names)?)?;
    table.raw_set("affected", rows.affected)?;
    Ok(LuaValue::Table(table))
}

fn first_row(lua: &Lua, rows: Rows) -> mlua::Result<LuaValue> {
    match rows.rows.into_iter().next() {
        Some(row) => row_to_lua(lua, &rows.columns, row).map(LuaValue::Table),
        None => Ok(LuaValue::Nil),
    }
}

fn first_value(lua: &Lua, rows: Rows) -> mlua::Result<LuaValue> {
    let row = rows.rows.into_iter().next();
    let value = row.and_then(|row| row.into_iter().next());
    value.map_or(Ok(LuaValue::Nil), |value| to_lua(lua, value))
}
