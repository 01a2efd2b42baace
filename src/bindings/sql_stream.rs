//! Row streams, COPY and pools for `rpitr.sql`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use mlua::{LuaString, UserData, UserDataRef};
use tokio::sync::Mutex;

use super::internal;
use super::sql::{CANCEL_LIMIT, Conn, run, settings};
use super::sql_value::{Parameters, row_to_lua};
use crate::engine::{HostTable, guard};
use crate::failure::{Failure, Kind};
use crate::sql::{Column, Connection, CopyIn, CopyOut, Pool, Pooled, RowStream};

#[derive(Debug)]
struct Stream(Connection, Rc<Mutex<Option<RowStream>>>);
impl UserData for Stream {}

#[derive(Debug)]
struct Sink(Connection, Rc<Mutex<Option<CopyIn>>>);
impl UserData for Sink {}

#[derive(Debug)]
struct Source(Connection, Rc<Mutex<Option<CopyOut>>>);
impl UserData for Source {}

#[derive(Debug)]
struct LuaPool(Pool);
impl UserData for LuaPool {}

#[derive(Debug)]
struct Lease(RefCell<Option<Pooled>>);
impl UserData for Lease {}

pub fn register(host: &HostTable) -> mlua::Result<()> {
    streams(host)?;
    copies(host)?;
    pools(host)
}

fn streams(host: &HostTable) -> mlua::Result<()> {
    host.waiting(
        "sql_stream",
        |_, (conn, text, fetch, parameters): (UserDataRef<Conn>, String, u16, Parameters)| {
            let connection = conn.0.clone();
            async move {
                let stream =
                    run(&connection, connection.stream(&text, &parameters.0, fetch)).await?;
                Ok(Stream(connection, Rc::new(Mutex::new(Some(stream)))))
            }
        },
    )?;
    host.waiting("sql_stream_next", |lua, stream: UserDataRef<Stream>| {
        let (connection, cell) = (stream.0.clone(), stream.1.clone());
        async move {
            let mut slot = cell.lock().await;
            let Some(stream) = slot.as_mut() else {
                return Ok(None);
            };
            let columns: Vec<Column> = stream.columns().to_vec();
            match run(&connection, stream.next()).await? {
                Some(values) => row_to_lua(&lua, &columns, values)
                    .map(Some)
                    .map_err(internal),
                None => Ok(None),
            }
        }
    })?;
    host.waiting("sql_stream_close", |_, stream: UserDataRef<Stream>| {
        let cell = stream.1.clone();
        async move {
            let taken = cell.lock().await.take();
            match taken {
                Some(stream) => stream.close().await.map_err(Failure::from),
                None => Ok(()),
            }
        }
    })
}

fn copies(host: &HostTable) -> mlua::Result<()> {
    host.waiting(
        "sql_copy_in",
        |_, (conn, text): (UserDataRef<Conn>, String)| {
            let connection = conn.0.clone();
            async move {
                let sink = run(&connection, connection.copy_in(&text)).await?;
                Ok(Sink(connection, Rc::new(Mutex::new(Some(sink)))))
            }
        },
    )?;
    host.waiting(
        "sql_copy_write",
        |_, (sink, chunk): (UserDataRef<Sink>, LuaString)| {
            let cell = sink.1.clone();
            let chunk = chunk.as_bytes().to_vec();
            async move {
                let mut slot = cell.lock().await;
                let sink = slot.as_mut().ok_or_else(|| closed("COPY"))?;
                guard(sink.write(chunk)).await?.map_err(Failure::from)
            }
        },
    )?;
    host.waiting("sql_copy_finish", |_, sink: UserDataRef<Sink>| {
        let (connection, cell) = (sink.0.clone(), sink.1.clone());
        async move {
            let sink = cell.lock().await.take().ok_or_else(|| closed("COPY"))?;
            run(&connection, sink.finish()).await
        }
    })?;
    host.waiting(
        "sql_copy_abort",
        |_, (sink, _reason): (UserDataRef<Sink>, String)| {
            let cell = sink.1.clone();
            async move {
                let taken = cell.lock().await.take();
                match taken {
                    Some(sink) => sink.abort().await.map_err(Failure::from),
                    None => Ok(()),
                }
            }
        },
    )?;
    host.waiting(
        "sql_copy_out",
        |_, (conn, text): (UserDataRef<Conn>, String)| {
            let connection = conn.0.clone();
            async move {
                let source = run(&connection, connection.copy_out(&text)).await?;
                Ok(Source(connection, Rc::new(Mutex::new(Some(source)))))
            }
        },
    )?;
    host.waiting("sql_copy_next", |lua, source: UserDataRef<Source>| {
        let (connection, cell) = (source.0.clone(), source.1.clone());
        async move {
            let mut slot = cell.lock().await;
            let Some(source) = slot.as_mut() else {
                return Ok(None);
            };
            let chunk = run(&connection, source.next()).await?;
            chunk
                .map(|bytes| lua.create_string(bytes))
                .transpose()
                .map_err(internal)
        }
    })?;
    host.waiting("sql_copy_close", |_, source: UserDataRef<Source>| {
        let cell = source.1.clone();
        async move {
            let taken = cell.lock().await.take();
            match taken {
                Some(source) => source.close(CANCEL_LIMIT).await.map_err(Failure::from),
                None => Ok(()),
            }
        }
    })
}

fn pools(host: &HostTable) -> mlua::Result<()> {
    host.function(
        "sql_pool",
        |_, (url, options, max): (Option<String>, HashMap<String, String>, usize)| {
            Ok(LuaPool(Pool::new(settings(url, options)?, max)))
        },
    )?;
    host.waiting("sql_pool_get", |_, pool: UserDataRef<LuaPool>| {
        let pool = pool.0.clone();
        async move {
            let pooled = guard(pool.get()).await?.map_err(Failure::from)?;
            let connection = Connection::clone(&pooled);
            Ok((Conn(connection), Lease(RefCell::new(Some(pooled)))))
        }
    })?;
    host.waiting("sql_pool_release", |_, lease: UserDataRef<Lease>| {
        let pooled = lease.0.borrow_mut().take();
        async move {
            match pooled {
                Some(pooled) => pooled.release().await.map_err(Failure::from),
                None => Ok(()),
            }
        }
    })?;
    host.waiting("sql_pool_close", |_, pool: UserDataRef<LuaPool>| {
        let pool = pool.0.clone();
        async move {
            pool.close().await;
            Ok(())
        }
    })
}

fn closed(what: &str) -> Failure {
    Failure::new(Kind::State, format!("the {what} has ended"))
}
