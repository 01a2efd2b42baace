//! Where Lua source comes from: the embedded standard library and scripts, overridden from disk.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use super::host::HostTable;
use crate::failure::{Failure, Kind};

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// The folder that replaces embedded standard library files, if the user set one.
fn override_folder() -> Option<PathBuf> {
    env::var_os("RPITR_STDLIB").map(PathBuf::from)
}

/// An embedded or overridden standard library file, by its path inside `stdlib/`.
pub fn stdlib(path: &str) -> Option<Cow<'static, str>> {
    let overridden =
        override_folder().and_then(|folder| fs::read_to_string(folder.join(path)).ok());
    match overridden {
        Some(source) => Some(Cow::Owned(source)),
        None => embedded(STDLIB, path).map(Cow::Borrowed),
    }
}

/// Every file of the standard library, by its path inside `stdlib/`.
pub fn library() -> impl Iterator<Item = (&'static str, Cow<'static, str>)> {
    STDLIB
        .iter()
        .map(|(path, text)| (*path, stdlib(path).unwrap_or(Cow::Borrowed(*text))))
}

fn embedded(files: &'static [(&str, &str)], path: &str) -> Option<&'static str> {
    files
        .iter()
        .find(|(name, _)| *name == path)
        .map(|(_, source)| *source)
}

/// The embedded scripts: name and source.
pub fn scripts() -> impl Iterator<Item = (&'static str, &'static str)> {
    SCRIPTS.iter().copied()
}

/// A script, ready to run.
#[derive(Debug, Clone)]
pub struct Source {
    /// What error messages call it.
    pub name: String,
    pub text: String,
    /// Where `require` looks first; `None` for embedded scripts and code from the command line.
    pub folder: Option<PathBuf>,
}

/// Finds a script on disk, with or without `.lua`, or among the embedded ones.
pub fn find_script(name: &str) -> Result<Source, Failure> {
    find_script_or(name, &[])
}

/// The same, where a command could have been meant.
pub fn find_script_or(name: &str, commands: &[String]) -> Result<Source, Failure> {
    let candidates = [PathBuf::from(name), PathBuf::from(format!("{name}.lua"))];
    let mut folder = None;
    for path in &candidates {
        match fs::read(path) {
            Ok(bytes) => return from_disk(path, bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // A folder does not hide the embedded script of its name: reports are often written there.
            Err(_) if path.is_dir() => folder = Some(path),
            Err(error) => {
                let failure = Failure::io("read", path, &error);
                return Err(Failure {
                    kind: Kind::Arg,
                    ..failure
                }
                .code("usage"));
            }
        }
    }
    let stem = name.strip_prefix("scripts/").unwrap_or(name);
    let stem = stem.strip_suffix(".lua").unwrap_or(stem);
    if let Some(text) = embedded(SCRIPTS, &format!("{stem}.lua")) {
        return Ok(Source {
            name: format!("scripts/{stem}.lua"),
            text: text.to_string(),
            folder: None,
        });
    }
    if let Some(folder) = folder {
        return Err(usage(format!(
            "{} is a folder, not a script",
            folder.display()
        )));
    }
    let failure = usage(format!("no such script: {name}"));
    Err(match meant(name, stem, commands) {
        Some(hint) => failure.hint(hint),
        None => failure.hint("give a path to a Lua file, or a name that rpitr list shows"),
    })
}

/// What was probably meant by a name that is no script: one that ships, a command, a Lua file near by.
fn meant(name: &str, stem: &str, commands: &[String]) -> Option<String> {
    let shipped = scripts().map(|(name, _)| {
        let name = name.trim_end_matches(".lua");
        let hint = format!("did you mean \"{name}\"? rpitr list shows all");
        (name.to_string(), hint)
    });
    let commands = commands
        .iter()
        .map(|command| (command.clone(), format!("did you mean rpitr {command}?")));
    let files = lua_files_beside(Path::new(name)).into_iter().map(|path| {
        let hint = format!("did you mean \"{path}\"?");
        (path.trim_end_matches(".lua").to_string(), hint)
    });
    let candidates: Vec<(String, String)> = shipped.chain(commands).chain(files).collect();
    // Where a folder is named, a file of that folder is.
    let wanted = name.strip_suffix(".lua").unwrap_or(name);
    let names = || candidates.iter().map(|(name, _)| name.as_str());
    let found = nearest(wanted, names()).or_else(|| nearest(stem, names()))?;
    let hint = candidates.iter().find(|(name, _)| name == found);
    hint.map(|(_, hint)| hint.clone())
}

/// The Lua files in the folder of a path, written as that path is.
fn lua_files_beside(path: &Path) -> Vec<String> {
    let parent = path.parent().unwrap_or(Path::new(""));
    let folder = match parent.as_os_str().is_empty() {
        true => Path::new("."),
        false => parent,
    };
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut found: Vec<String> = entries
        .flatten()
        .map(|entry| parent.join(entry.file_name()))
        .filter(|path| path.extension().is_some_and(|end| end == "lua"))
        .map(|path| path.display().to_string())
        .collect();
    found.sort();
    found
}

fn from_disk(path: &Path, bytes: Vec<u8>) -> Result<Source, Failure> {
    let text = String::from_utf8(bytes)
        .map_err(|_| usage(format!("{} is not a text file", path.display())))?;
    let folder = path.parent().map(|parent| {
        let parent = if parent.as_os_str().is_empty() {
            Path::new(".")
        } else {
            parent
        };
        parent.to_path_buf()
    });
    Ok(Source {
        name: path.display().to_string(),
        text,
        folder,
    })
}

impl Source {
    /// The text as Lua takes it. A byte order mark and a `#!` line are not Lua; spaces in their
    /// stead keep the places of what follows.
    pub fn lua(&self) -> Cow<'_, str> {
        let mark = self.text.len() - self.text.trim_start_matches('\u{feff}').len();
        let rest = &self.text[mark..];
        let line = match rest.starts_with('#') {
            true => rest.find('\n').unwrap_or(rest.len()),
            false => 0,
        };
        match mark + line {
            0 => Cow::Borrowed(&self.text),
            blank => Cow::Owned(format!("{}{}", " ".repeat(blank), &rest[line..])),
        }
    }
}

fn usage(message: String) -> Failure {
    Failure::new(Kind::Arg, message).code("usage")
}

/// The candidate nearest to a misspelt word, if one is near enough to be meant.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| {
            *distance <= word.len().max(candidate.len()) / 3 + usize::from(word.len() > 2)
        })
        .min_by_key(|(distance, candidate)| (*distance, candidate.len()))
        .map(|(_, candidate)| candidate)
}

pub fn register(host: &HostTable) -> mlua::Result<()> {
    // Source and chunk name of a standard library module, or nothing.
    host.function("stdlib_source", |_, module: String| {
        let path = format!("rpitr/{}.lua", module.replace('.', "/"));
        // Named the same when it comes from disk: the hook and the error renderer tell the
        // library from scripts by this.
        let name = format!("=[rpitr.{module}]");
        Ok((stdlib(&path).map(std::borrow::Cow::into_owned), name))
    })?;
    host.function("stdlib_modules", |_, ()| {
        let names = STDLIB
            .iter()
            .filter_map(|(path, _)| path.strip_prefix("rpitr/")?.strip_suffix(".lua"));
        Ok(names.filter(|name| !name.contains('/')).collect::<Vec<_>>())
    })?;
    // A script as the command line finds it: its text and its name.
    host.function("find_script", |_, name: String| {
        let source = find_script(&name)?;
        Ok((source.text, source.name))
    })?;
    // The text of a Lua file, or nothing if there is no such file.
    host.function("lua_source", |_, path: String| {
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::io("read", &path, &error)),
        }
    })?;
    host.function("nearest", |_, (word, candidates): (String, Vec<String>)| {
        Ok(nearest(&word, candidates.iter().map(String::as_str)).map(str::to_string))
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions_are_near_or_absent() {
        let names = ["connect", "query", "copy_in"];
        assert_eq!(nearest("conect", names.into_iter()), Some("connect"));
        assert_eq!(nearest("qeury", names.into_iter()), Some("query"));
        assert_eq!(nearest("zebra", names.into_iter()), None);
    }

    #[test]
    fn a_misspelt_script_gets_a_usage_error() {
        let failure = find_script("no/such/file").unwrap_err();
        assert_eq!(failure.code.as_deref(), Some("usage"));
    }
}
