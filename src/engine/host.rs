//! The `host` table: how Rust functions are offered to the standard library.
//!
//! A host function never raises. It returns `true, results...` or `false, error_table`; the prelude
//! raises the table on the Lua side, because an error that crosses Rust loses its identity.

use std::future::Future;

use futures_util::FutureExt;
use futures_util::future::{Either, ready};
use mlua::{FromLuaMulti, IntoLuaMulti, Lua, MultiValue, Table, Value};

use super::error_value;
use crate::failure::{Failure, Kind};

/// Collects host functions under their names.
#[derive(Debug, Clone)]
pub struct HostTable {
    lua: Lua,
    table: Table,
    /// Nothing that waits is done: the script is only looked at.
    inspecting: bool,
}

impl HostTable {
    pub fn new(lua: &Lua, inspecting: bool) -> mlua::Result<Self> {
        Ok(HostTable {
            lua: lua.clone(),
            table: lua.create_table()?,
            inspecting,
        })
    }

    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Adds a plain value.
    pub fn value(&self, name: &str, value: impl mlua::IntoLua) -> mlua::Result<()> {
        self.table.raw_set(name, value)
    }

    /// Adds a function that returns at once.
    pub fn function<A, R, F>(&self, name: &'static str, function: F) -> mlua::Result<()>
    where
        A: FromLuaMulti,
        R: IntoLuaMulti,
        F: Fn(&Lua, A) -> Result<R, Failure> + 'static,
    {
        let wrapped = self
            .lua
            .create_function(move |lua, arguments: MultiValue| {
                let result = A::from_lua_multi(arguments, lua)
                    .map_err(|error| bad_argument(name, &error))
                    .and_then(|arguments| function(lua, arguments));
                reply(lua, result)
            })?;
        self.table.raw_set(name, wrapped)
    }

    /// Adds a function that may wait. The Lua task is suspended meanwhile and others run.
    pub fn waiting<A, R, F, W>(&self, name: &'static str, function: F) -> mlua::Result<()>
    where
        A: FromLuaMulti,
        R: IntoLuaMulti + 'static,
        F: Fn(Lua, A) -> W + 'static,
        W: Future<Output = Result<R, Failure>> + 'static,
    {
        if self.inspecting {
            return self.function(name, |_, _: MultiValue| Err::<(), _>(only_looked_at()));
        }
        let wrapped = self
            .lua
            .create_async_function(move |lua, arguments: MultiValue| {
                let started = A::from_lua_multi(arguments, &lua)
                    .map_err(|error| bad_argument(name, &error))
                    .map(|arguments| function(lua.clone(), arguments));
                // Combinators rather than an async block, which would hold the future twice; the
                // failure boxed, because the rare case should not make each wait larger.
                let result = match started {
                    Ok(future) => Either::Left(future),
                    Err(failure) => {
                        Either::Right(ready(Box::new(failure)).map(|boxed| Err(*boxed)))
                    }
                };
                result.map(move |result| reply(&lua, result))
            })?;
        self.table.raw_set(name, wrapped)
    }
}

fn reply<R: IntoLuaMulti>(lua: &Lua, result: Result<R, Failure>) -> mlua::Result<MultiValue> {
    match result {
        Ok(values) => {
            let mut values = values.into_lua_multi(lua)?;
            values.push_front(Value::Boolean(true));
            Ok(values)
        }
        Err(failure) => {
            let error = error_value::to_lua(lua, &failure)?;
            Ok(MultiValue::from_vec(vec![
                Value::Boolean(false),
                Value::Table(error),
            ]))
        }
    }
}

/// Starting a server, running a program, sleeping: whatever waits does something.
fn only_looked_at() -> Failure {
    Failure::new(Kind::State, "the file does something while it is loaded")
        .code("inspecting")
        .hint("move it into the drill's run; rpitr check, rpitr help and --dry-run start nothing")
}

/// The standard library checks what users pass, so this is the net below it.
fn bad_argument(function: &str, error: &mlua::Error) -> Failure {
    let text = error.to_string();
    let reason = text.lines().next().unwrap_or("wrong argument");
    Failure::new(Kind::Arg, format!("{function}: {reason}"))
}
