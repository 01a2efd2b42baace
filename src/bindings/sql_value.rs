//! SQL values to Lua and back.
//!
//! Lua to SQL: nil is NULL, a string is text (or the bytes of a bytea), a list is an array, any
//! other table is JSON. SQL to Lua: integers are exact, numeric is a string (no digit is lost),
//! timestamptz and pg_lsn are values that compare, json is decoded, NULL is nil.

use mlua::{FromLuaMulti, Lua, MultiValue, Table, Value as LuaValue};

use super::value::{LuaLsn, LuaTime};
use crate::engine::{json_from_lua, json_to_lua};
use crate::sql::{Column, Timestamp, Value};

/// The parameters of a statement: every remaining argument.
#[derive(Debug)]
pub struct Parameters(pub Vec<Value>);

impl FromLuaMulti for Parameters {
    fn from_lua_multi(values: MultiValue, _: &Lua) -> mlua::Result<Self> {
        let convert = |(index, value): (usize, &LuaValue)| {
            from_lua(value).map_err(|reason| {
                mlua::Error::runtime(format!("parameter ${}: {reason}", index + 1))
            })
        };
        values
            .iter()
            .enumerate()
            .map(convert)
            .collect::<Result<_, _>>()
            .map(Parameters)
    }
}

fn from_lua(value: &LuaValue) -> Result<Value, String> {
    Ok(match value {
        LuaValue::Nil => Value::Null,
        LuaValue::LightUserData(pointer) if pointer.0.is_null() => Value::Null,
        LuaValue::Boolean(flag) => Value::Bool(*flag),
        LuaValue::Integer(number) => Value::Int(*number),
        LuaValue::Number(number) => Value::Float(*number),
        LuaValue::String(text) => match text.to_str() {
            Ok(text) => Value::Text(text.to_string()),
            Err(_) => Value::Bytes(text.as_bytes().to_vec()),
        },
        LuaValue::UserData(data) => {
            if let Ok(lsn) = data.borrow::<LuaLsn>() {
                Value::Lsn(lsn.0)
            } else if let Ok(time) = data.borrow::<LuaTime>() {
                Timestamp::from_unix_micros(time.0)
                    .map(Value::TimestampTz)
                    .ok_or("the time is out of PostgreSQL's range")?
            } else {
                return Err("this object has no SQL form".into());
            }
        }
        LuaValue::Table(table) => from_table(value, table)?,
        other => return Err(format!("a {} has no SQL form", other.type_name())),
    })
}

fn from_table(value: &LuaValue, table: &Table) -> Result<Value, String> {
    let length = table.raw_len();
    let entries = table.pairs::<LuaValue, LuaValue>().count();
    if entries == length {
        let items = (1..=length)
            .map(|index| {
                from_lua(
                    &table
                        .raw_get::<LuaValue>(index)
                        .map_err(|error| error.to_string())?,
                )
            })
            .collect::<Result<Vec<_>, _>>()?;
        return Value::array(items).ok_or_else(|| "nested lists must have the same length".into());
    }
    let json = json_from_lua(value).map_err(|failure| failure.message)?;
    Ok(Value::Json(json.to_string()))
}

/// A row as a table by column name. Of columns with the same name the last one stays.
pub fn row_to_lua(lua: &Lua, columns: &[Column], values: Vec<Value>) -> mlua::Result<Table> {
    let row = lua.create_table_with_capacity(0, columns.len())?;
    for (column, value) in columns.iter().zip(values) {
        row.raw_set(column.name.as_str(), to_lua(lua, value)?)?;
    }
    Ok(row)
}

pub fn to_lua(lua: &Lua, value: Value) -> mlua::Result<LuaValue> {
    Ok(match value {
        Value::Null => LuaValue::Nil,
        Value::Bool(flag) => LuaValue::Boolean(flag),
        Value::Int(number) => LuaValue::Integer(number),
        Value::Float(number) => LuaValue::Number(number),
        // xid8 is unsigned, but no cluster gets near the 64th bit.
        Value::Xid8(number) => LuaValue::Integer(number as i64),
        Value::Bytes(bytes) => LuaValue::String(lua.create_string(bytes)?),
        Value::Numeric(text) | Value::Text(text) => LuaValue::String(lua.create_string(text)?),
        Value::Lsn(lsn) => LuaValue::UserData(lua.create_userdata(LuaLsn(lsn))?),
        Value::TimestampTz(time) => match time.unix_micros() {
            Some(micros) => LuaValue::UserData(lua.create_userdata(LuaTime(micros))?),
            None => LuaValue::String(lua.create_string(Value::TimestampTz(time).to_string())?),
        },
        Value::Json(text) => match serde_json::from_str(&text) {
            Ok(json) => json_to_lua(lua, &json)?,
            Err(_) => LuaValue::String(lua.create_string(text)?),
        },
        Value::Array(array) => {
            let items = array.into_elements();
            let list = lua.create_table_with_capacity(items.len(), 0)?;
            for (index, item) in items.into_iter().enumerate() {
                // A hole would shorten the list.
                let item = if item.is_null() {
                    LuaValue::NULL
                } else {
                    to_lua(lua, item)?
                };
                list.raw_set(index + 1, item)?;
            }
            LuaValue::Table(list)
        }
        other => LuaValue::String(lua.create_string(other.to_string())?),
    })
}
