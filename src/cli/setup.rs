//! `rpitr setup [DIR]`: what a Lua language server needs to complete, explain and check scripts: stubs of
//! the library in `.rpitr/stubs`, and their place in `.luarc.json`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::args::Global;
use super::consent::agreed;
use crate::api::{Api, stubs};
use crate::exit;
use crate::failure::{Failure, Kind};

/// Where the stubs are, as `.luarc.json` names the place.
const STUBS: &str = ".rpitr/stubs";
const SETTINGS: &str = ".luarc.json";
const SCHEMA: &str =
    "https://raw.githubusercontent.com/LuaLS/vscode-lua/master/setting/schema.json";

/// Writes both; what is there already and right is left alone.
pub fn setup(global: &Global, dir: &Path) -> Result<i32, Failure> {
    if !dir.is_dir() {
        let message = format!("{} is no folder", dir.display());
        return Err(Failure::new(Kind::Arg, message).code("usage"));
    }
    let written = write_stubs(&dir.join(STUBS))?;
    match written {
        0 => outln!("{}: up to date", dir.join(STUBS).display()),
        count => outln!("{}: {count} files written", dir.join(STUBS).display()),
    }
    let settings = dir.join(SETTINGS);
    let said = write_settings(&settings, global.yes)?;
    outln!("{}: {said}", settings.display());
    Ok(exit::PASS)
}

/// Writes what differs, removes stubs of modules that are no more; says how many files changed.
fn write_stubs(folder: &Path) -> Result<usize, Failure> {
    let mut changed = 0;
    let wanted = stubs(Api::embedded());
    for (path, text) in &wanted {
        changed += usize::from(write_if_changed(&folder.join(path), text)?);
    }
    for path in old_stubs(&folder.join("rpitr")) {
        let is_wanted = |(name, _): &(String, String)| folder.join(name) == path;
        if !wanted.iter().any(is_wanted) {
            fs::remove_file(&path).map_err(|error| Failure::io("remove", &path, &error))?;
            changed += 1;
        }
    }
    Ok(changed)
}

/// The files in a folder that are stubs; whatever else somebody put there is not ours to remove.
fn old_stubs(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_stub = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap_or_default();
        path.extension().is_some_and(|end| end == "lua") && text.starts_with("---@meta")
    };
    entries.map(|entry| entry.path()).filter(is_stub).collect()
}

fn write_if_changed(path: &Path, text: &str) -> Result<bool, Failure> {
    if fs::read_to_string(path).is_ok_and(|present| present == text) {
        return Ok(false);
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| Failure::io("create", folder, &error))?;
    }
    fs::write(path, text).map_err(|error| Failure::io("write", path, &error))?;
    Ok(true)
}

fn write_settings(path: &Path, yes: bool) -> Result<&'static str, Failure> {
    let present = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            write_if_changed(path, &pretty(&fresh(), "  "))?;
            return Ok("written");
        }
        Err(error) => return Err(Failure::io("read", path, &error)),
    };
    let Ok(Value::Object(mut settings)) = serde_json::from_str(&present) else {
        let message = format!("{} is not plain JSON and stays as it is", path.display());
        return Err(by_hand(message));
    };
    match add_library(&mut settings) {
        Some(true) => {}
        Some(false) => return Ok("up to date"),
        None => {
            let message = format!("the library in {} is no list", path.display());
            return Err(by_hand(message));
        }
    }
    let what = format!("this adds \"{STUBS}\" to the library in {}", path.display());
    agreed(&what, yes).map_err(|failure| Failure {
        hint: Some(format!(
            "--yes agrees; or add \"{STUBS}\" to workspace.library by hand"
        )),
        ..failure
    })?;
    write_if_changed(path, &pretty(&Value::Object(settings), indent(&present)))?;
    Ok("the stubs added")
}

/// Settings that cannot be added to.
fn by_hand(message: String) -> Failure {
    Failure::new(Kind::State, message)
        .code("settings")
        .hint(format!("add \"{STUBS}\" to workspace.library by hand"))
}

fn fresh() -> Value {
    json!({
        "$schema": SCHEMA,
        "runtime": { "version": "Lua 5.4" },
        "workspace": { "library": [STUBS], "checkThirdParty": false },
    })
}

/// Adds the stubs where the settings keep their libraries, in whichever of the forms a language
/// server reads. Whether that changed anything; nothing when there is something else in the place.
fn add_library(settings: &mut Map<String, Value>) -> Option<bool> {
    for key in ["workspace.library", "Lua.workspace.library"] {
        if let Some(library) = settings.get_mut(key) {
            return add_entry(library);
        }
    }
    let settings = match settings.contains_key("Lua") {
        true => settings.get_mut("Lua")?.as_object_mut()?,
        false => settings,
    };
    // One spelling for one table: "workspace.x" beside "workspace" would be read either way.
    let dotted = settings.keys().any(|key| key.starts_with("workspace."));
    if dotted && !settings.contains_key("workspace") {
        return add_entry(settings.entry("workspace.library").or_insert(json!([])));
    }
    let workspace = settings.entry("workspace").or_insert(json!({}));
    let library = workspace.as_object_mut()?.entry("library");
    add_entry(library.or_insert(json!([])))
}

fn add_entry(library: &mut Value) -> Option<bool> {
    let library = library.as_array_mut()?;
    let same = |entry: &Value| {
        let text = entry.as_str().unwrap_or_default();
        text.trim_start_matches("./").trim_end_matches('/') == STUBS
    };
    if library.iter().any(same) {
        return Some(false);
    }
    library.push(json!(STUBS));
    Some(true)
}

/// What the file's lines are indented by.
fn indent(text: &str) -> &str {
    let line = text.lines().find(|line| line.starts_with([' ', '\t']));
    let line = line.unwrap_or("  ");
    &line[..line.len() - line.trim_start().len()]
}

fn pretty(value: &Value, indent: &str) -> String {
    use serde::Serialize;
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    // A value always has a text.
    let _ = value.serialize(&mut serializer);
    out.push(b'\n');
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(text: &str) -> (Option<bool>, String) {
        let Value::Object(mut settings) = serde_json::from_str(text).unwrap() else {
            panic!()
        };
        let changed = add_library(&mut settings);
        (changed, Value::Object(settings).to_string())
    }

    #[test]
    fn the_library_is_added_where_the_settings_keep_it() {
        let cases = [
            (r#"{}"#, r#"{"workspace":{"library":[".rpitr/stubs"]}}"#),
            (
                r#"{"workspace":{"library":["a"]},"x":1}"#,
                r#"{"workspace":{"library":["a",".rpitr/stubs"]},"x":1}"#,
            ),
            (
                r#"{"workspace.library":[]}"#,
                r#"{"workspace.library":[".rpitr/stubs"]}"#,
            ),
            (
                r#"{"Lua.workspace.library":["a"]}"#,
                r#"{"Lua.workspace.library":["a",".rpitr/stubs"]}"#,
            ),
            (
                r#"{"Lua":{"diagnostics":{}}}"#,
                r#"{"Lua":{"diagnostics":{},"workspace":{"library":[".rpitr/stubs"]}}}"#,
            ),
            (
                r#"{"workspace.checkThirdParty":false}"#,
                r#"{"workspace.checkThirdParty":false,"workspace.library":[".rpitr/stubs"]}"#,
            ),
        ];
        for (before, after) in cases {
            assert_eq!(added(before), (Some(true), after.to_string()));
            assert_eq!(added(after), (Some(false), after.to_string()));
        }
        assert_eq!(added(r#"{"workspace":{"library":"x"}}"#).0, None);
        assert_eq!(
            added(r#"{"workspace":{"library":["./.rpitr/stubs/"]}}"#).0,
            Some(false)
        );
    }

    #[test]
    fn the_indent_of_a_file_is_kept() {
        let text = "{\n    \"a\": 1\n}\n";
        let value: Value = serde_json::from_str(text).unwrap();
        assert_eq!(pretty(&value, indent(text)), text);
    }
}
