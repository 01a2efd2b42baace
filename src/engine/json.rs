//! JSON to Lua and back. `null` inside arrays and objects is the `json.null` light userdata;
//! a table is an array when its keys are exactly 1..n, or when it is empty and marked as one
//! (`json.array`).

use mlua::{Lua, Value};
use serde_json::{Map, Number, Value as Json};

use crate::failure::{Failure, Kind};

const DEEPEST: usize = 128;

pub fn to_lua(lua: &Lua, json: &Json) -> mlua::Result<Value> {
    Ok(match json {
        Json::Null => Value::NULL,
        Json::Bool(flag) => Value::Boolean(*flag),
        Json::Number(number) => match number.as_i64() {
            Some(integer) => Value::Integer(integer),
            None => Value::Number(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::String(lua.create_string(text)?),
        Json::Array(items) => {
            let table = lua.create_table_with_capacity(items.len(), 0)?;
            for (index, item) in items.iter().enumerate() {
                table.raw_set(index + 1, to_lua(lua, item)?)?;
            }
            Value::Table(table)
        }
        Json::Object(fields) => {
            let table = lua.create_table_with_capacity(0, fields.len())?;
            for (key, item) in fields {
                table.raw_set(key.as_str(), to_lua(lua, item)?)?;
            }
            Value::Table(table)
        }
    })
}

pub fn from_lua(value: &Value) -> Result<Json, Failure> {
    convert(value, 0)
}

fn convert(value: &Value, depth: usize) -> Result<Json, Failure> {
    if depth > DEEPEST {
        return Err(refuse("the table is nested too deeply, or contains itself"));
    }
    Ok(match value {
        Value::Nil => Json::Null,
        Value::LightUserData(pointer) if pointer.0.is_null() => Json::Null,
        Value::Boolean(flag) => Json::Bool(*flag),
        Value::Integer(number) => Json::Number((*number).into()),
        Value::Number(number) => Number::from_f64(*number).map_or(Json::Null, Json::Number),
        Value::String(text) => Json::String(text.to_string_lossy()),
        Value::Table(table) => return convert_table(table, depth),
        // LSNs and times are written as their text.
        Value::UserData(_) => Json::String(
            value
                .to_string()
                .map_err(|error| refuse(&error.to_string()))?,
        ),
        other => return Err(refuse(&format!("a {} has no JSON form", other.type_name()))),
    })
}

fn convert_table(table: &mlua::Table, depth: usize) -> Result<Json, Failure> {
    let length = table.raw_len();
    let mut keys = Vec::new();
    for pair in table.pairs::<Value, Value>() {
        let (key, item) = pair.map_err(|error| refuse(&error.to_string()))?;
        keys.push((key, item));
    }
    let marked = || {
        let metatable = table.metatable();
        metatable.is_some_and(|mt| mt.raw_get::<bool>("__array").unwrap_or(false))
    };
    if keys.len() == length && (length > 0 || marked()) {
        let items = (1..=length).map(|index| {
            let item = table
                .raw_get::<Value>(index)
                .map_err(|error| refuse(&error.to_string()))?;
            convert(&item, depth + 1)
        });
        return items.collect::<Result<_, _>>().map(Json::Array);
    }
    let mut fields: Vec<(String, Json)> = Vec::with_capacity(keys.len());
    for (key, item) in &keys {
        let name = match key {
            Value::String(text) => text.to_string_lossy(),
            Value::Integer(number) => number.to_string(),
            other => {
                return Err(refuse(&format!(
                    "a {} cannot be a JSON key",
                    other.type_name()
                )));
            }
        };
        fields.push((name, convert(item, depth + 1)?));
    }
    // Lua's order is arbitrary; sorted keys make reports comparable.
    fields.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(Json::Object(Map::from_iter(fields)))
}

fn refuse(message: &str) -> Failure {
    Failure::new(Kind::Arg, message).code("json")
}
