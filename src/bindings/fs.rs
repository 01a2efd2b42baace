//! Files on the machine rpitr runs on, for scripts and reports.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use mlua::LuaString;
use sha2::{Digest, Sha256};

use super::internal;
use crate::engine::{HostTable, json_from_lua, json_to_lua};
use crate::failure::{Failure, Kind};

pub fn register(host: &HostTable) -> mlua::Result<()> {
    host.function("fs_read", |lua, path: String| {
        let bytes = fs::read(&path).map_err(|error| Failure::io("read", &path, &error))?;
        lua.create_string(bytes).map_err(internal)
    })?;
    host.function("fs_write", |_, (path, text): (String, LuaString)| {
        fs::write(&path, text.as_bytes()).map_err(|error| Failure::io("write", &path, &error))
    })?;
    host.function("fs_append", |_, (path, text): (String, LuaString)| {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(&text.as_bytes()))
            .map_err(|error| Failure::io("append to", &path, &error))
    })?;
    host.function("fs_exists", |_, path: String| Ok(Path::new(&path).exists()))?;
    host.function("fs_mkdir", |_, path: String| {
        fs::create_dir_all(&path).map_err(|error| Failure::io("create", &path, &error))
    })?;
    host.function("fs_remove", |_, path: String| {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Failure::io("remove", &path, &error))
            }
            _ => Ok(()),
        }
    })?;
    host.function("fs_list", |_, path: String| {
        let entries = fs::read_dir(&path).map_err(|error| Failure::io("list", &path, &error))?;
        let mut names: Vec<String> = entries
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        Ok(names)
    })?;
    host.function("fs_sha256", |_, path: String| {
        let failed = |error: io::Error| Failure::io("read", &path, &error);
        let mut file = fs::File::open(&path).map_err(failed)?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            match file.read(&mut buffer).map_err(failed)? {
                0 => break,
                read => hasher.update(&buffer[..read]),
            }
        }
        Ok(hex(&hasher.finalize()))
    })?;
    host.function("sha256", |_, text: LuaString| {
        Ok(hex(&Sha256::digest(text.as_bytes())))
    })?;
    host.function(
        "json_encode",
        |_, (value, pretty): (mlua::Value, Option<bool>)| {
            let json = json_from_lua(&value)?;
            let text = if pretty.unwrap_or(false) {
                serde_json::to_string_pretty(&json)
            } else {
                serde_json::to_string(&json)
            };
            text.map_err(|error| Failure::new(Kind::Internal, error.to_string()))
        },
    )?;
    host.function("json_decode", |lua, text: LuaString| {
        let json = serde_json::from_slice(&text.as_bytes()).map_err(|error| {
            Failure::new(Kind::Arg, format!("not valid JSON: {error}")).code("json")
        })?;
        json_to_lua(lua, &json).map_err(internal)
    })?;
    host.value("json_null", mlua::Value::NULL)?;
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
