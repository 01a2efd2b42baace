//! Value types scripts handle: LSNs and times.

use chrono::{SecondsFormat, Utc};
use mlua::{
    AnyUserData, FromLua, Lua, MetaMethod, UserData, UserDataFields, UserDataMethods, Value,
};

use crate::engine::HostTable;
use crate::failure::{Failure, Kind};
use crate::moment::date_time;
pub use crate::moment::{format_time, parse_time};
use crate::wal::Lsn;

/// An LSN in Lua: compares, subtracts to bytes, adds bytes, prints as `0/16B3748`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LuaLsn(pub Lsn);

/// A point in time in Lua: microseconds since the Unix epoch, UTC. Compares, subtracts to seconds,
/// adds seconds, prints as `2026-11-21 03:16:27.828671+00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LuaTime(pub i64);

impl UserData for LuaLsn {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_meta_method(MetaMethod::ToString, |_, this, ()| Ok(this.0.to_string()));
        methods.add_meta_function(MetaMethod::Concat, concat);
        // Lua asks whenever two userdata meet; values of different types differ.
        methods.add_meta_function(MetaMethod::Eq, |lua, (a, b): (Value, Value)| {
            Ok(matches!((lsn_of(lua, &a), lsn_of(lua, &b)), (Ok(a), Ok(b)) if a == b))
        });
        methods.add_meta_function(MetaMethod::Lt, |lua, (a, b): (Value, Value)| {
            Ok(lsn_of(lua, &a)? < lsn_of(lua, &b)?)
        });
        methods.add_meta_function(MetaMethod::Le, |lua, (a, b): (Value, Value)| {
            Ok(lsn_of(lua, &a)? <= lsn_of(lua, &b)?)
        });
        // lsn - lsn is bytes, lsn - bytes is an LSN.
        methods.add_meta_function(MetaMethod::Sub, |lua, (a, b): (Value, Value)| {
            let left = lsn_of(lua, &a)?;
            if let Value::Integer(bytes) = b {
                return shifted(left, bytes.checked_neg()).and_then(|lsn| lsn.into_lua_value(lua));
            }
            let right = lsn_of(lua, &b)?;
            Ok(Value::Integer(left.0.wrapping_sub(right.0) as i64))
        });
        methods.add_meta_function(MetaMethod::Add, |lua, (a, bytes): (Value, i64)| {
            let left = lsn_of(lua, &a)?;
            shifted(left, Some(bytes))
        });
        methods.add_method("bytes", |_, this, ()| Ok(this.0.0 as i64));
    }
}

impl UserData for LuaTime {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_field_method_get("micros", |_, this| Ok(this.0));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_meta_method(MetaMethod::ToString, |_, this, ()| Ok(format_time(this.0)));
        methods.add_meta_function(MetaMethod::Concat, concat);
        methods.add_meta_function(MetaMethod::Eq, |lua, (a, b): (Value, Value)| {
            Ok(matches!((time_of(lua, &a), time_of(lua, &b)), (Ok(a), Ok(b)) if a == b))
        });
        methods.add_meta_function(MetaMethod::Lt, |lua, (a, b): (Value, Value)| {
            Ok(time_of(lua, &a)? < time_of(lua, &b)?)
        });
        methods.add_meta_function(MetaMethod::Le, |lua, (a, b): (Value, Value)| {
            Ok(time_of(lua, &a)? <= time_of(lua, &b)?)
        });
        // time - time is seconds, time - seconds is a time.
        methods.add_meta_function(MetaMethod::Sub, |lua, (a, b): (Value, Value)| {
            let left = time_of(lua, &a)?;
            match b {
                Value::Integer(_) | Value::Number(_) => {
                    let seconds = f64::from_lua(b, lua)?;
                    LuaTime(left - (seconds * 1e6).round() as i64).into_lua_value(lua)
                }
                other => Ok(Value::Number((left - time_of(lua, &other)?) as f64 / 1e6)),
            }
        });
        methods.add_meta_function(MetaMethod::Add, |lua, (a, seconds): (Value, f64)| {
            LuaTime(time_of(lua, &a)? + (seconds * 1e6).round() as i64).into_lua_value(lua)
        });
        methods.add_method("unix", |_, this, ()| Ok(this.0 as f64 / 1e6));
        methods.add_method("rfc3339", |_, this, ()| {
            Ok(date_time(this.0).map(|time| time.to_rfc3339_opts(SecondsFormat::Micros, true)))
        });
    }
}

trait IntoLuaValue {
    fn into_lua_value(self, lua: &Lua) -> mlua::Result<Value>;
}

impl<T: UserData + 'static> IntoLuaValue for T {
    fn into_lua_value(self, lua: &Lua) -> mlua::Result<Value> {
        lua.create_userdata(self).map(Value::UserData)
    }
}

/// An LSN some bytes on; before the first or after the last there is none.
fn shifted(from: Lsn, bytes: Option<i64>) -> mlua::Result<LuaLsn> {
    let to = bytes.and_then(|bytes| from.0.checked_add_signed(bytes));
    to.map(|to| LuaLsn(Lsn(to))).ok_or_else(|| {
        let text =
            format!("{from} cannot be moved that far: LSNs go from 0/0 to FFFFFFFF/FFFFFFFF");
        mlua::Error::external(Failure::new(Kind::Arg, text))
    })
}

fn concat(lua: &Lua, (a, b): (Value, Value)) -> mlua::Result<String> {
    let text = |value: Value| -> mlua::Result<String> {
        match value {
            Value::UserData(_) => value.to_string(),
            other => String::from_lua(other, lua),
        }
    };
    Ok(text(a)? + &text(b)?)
}

/// Reads an LSN argument: the userdata or its text.
pub fn lsn_of(_: &Lua, value: &Value) -> mlua::Result<Lsn> {
    match value {
        Value::UserData(data) => Ok(data.borrow::<LuaLsn>()?.0),
        Value::String(text) => text
            .to_string_lossy()
            .parse::<Lsn>()
            .map_err(|error| mlua::Error::external(Failure::from(error))),
        other => Err(wrong_type("an LSN", other)),
    }
}

fn time_of(_: &Lua, value: &Value) -> mlua::Result<i64> {
    match value {
        Value::UserData(data) => Ok(data.borrow::<LuaTime>()?.0),
        Value::String(text) => parse_time(&text.to_string_lossy()).map_err(mlua::Error::external),
        other => Err(wrong_type("a time", other)),
    }
}

fn wrong_type(expected: &str, value: &Value) -> mlua::Error {
    let got = value.type_name();
    mlua::Error::external(Failure::new(
        Kind::Arg,
        format!("expected {expected}, got {got}"),
    ))
}

pub fn register(host: &HostTable) -> mlua::Result<()> {
    host.function("lsn_parse", |_, text: String| {
        Ok(LuaLsn(text.parse::<Lsn>()?))
    })?;
    host.function("lsn_from_bytes", |_, bytes: i64| {
        Ok(LuaLsn(Lsn(bytes as u64)))
    })?;
    host.function("is_lsn", |_, value: Value| {
        Ok(value.as_userdata().is_some_and(AnyUserData::is::<LuaLsn>))
    })?;
    host.function("time_parse", |_, text: String| {
        parse_time(&text).map(LuaTime)
    })?;
    host.function("time_now", |_, ()| {
        Ok(LuaTime(Utc::now().timestamp_micros()))
    })?;
    host.function("time_from_micros", |_, micros: i64| Ok(LuaTime(micros)))?;
    host.function("time_micros", |_, time: mlua::UserDataRef<LuaTime>| {
        Ok(time.0)
    })?;
    host.function("is_time", |_, value: Value| {
        Ok(value.as_userdata().is_some_and(AnyUserData::is::<LuaTime>))
    })?;
    Ok(())
}
