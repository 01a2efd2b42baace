//! The configuration files of a data directory: rpitr's own include file, and scrubbing what a
//! restored directory brings along from the server it was taken from.
//!
//! A restored server must not archive into its origin's archive, follow its origin, wait for its
//! origin's standbys, or stop at a target somebody asked for long ago.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::Error;
use super::conf::{ConfLine, Setting, lex_line, render};

/// The include file rpitr owns in a data directory.
pub const OWN_FILE: &str = "rpitr.conf";
const OWN_INCLUDE: &str = "include 'rpitr.conf'";

/// Settings that tie a restored directory to where it came from.
const SCRUBBED: &[&str] = &[
    "restore_command",
    "archive_cleanup_command",
    "recovery_end_command",
    "recovery_min_apply_delay",
    "primary_conninfo",
    "primary_slot_name",
    "archive_mode",
    "archive_command",
    "archive_library",
    "archive_timeout",
    "synchronous_standby_names",
    "synchronized_standby_slots",
    "sync_replication_slots",
    "promote_trigger_file",
    "trigger_file",
    // Paths that lead out of the directory: a server started on the copy would open the original.
    "data_directory",
    "hba_file",
    "ident_file",
    "external_pid_file",
];

/// Something scrubbing took out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// Relative to the data directory.
    pub file: String,
    /// Line number; 0 for a whole file.
    pub line: usize,
    /// The setting, or the name of a signal file.
    pub name: String,
    /// The value, passwords hidden.
    pub value: String,
}

/// What scrubbing did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scrubbed {
    pub removed: Vec<Removed>,
    /// Include directives, which are kept: what they lead to was not looked at.
    pub includes: Vec<Removed>,
    /// Lines the server would refuse: file and number.
    pub invalid: Vec<(String, usize)>,
}

/// Scrubs a restored data directory: its configuration files and both signal files.
pub fn scrub_data_dir(data_dir: &Path) -> Result<Scrubbed, Error> {
    let mut scrubbed = Scrubbed::default();
    for file in ["postgresql.conf", OWN_FILE, "postgresql.auto.conf"] {
        let path = data_dir.join(file);
        let Some(text) = read_if_present(&path)? else {
            continue;
        };
        let before = scrubbed.removed.len();
        let kept = scrub_text(file, &text, &mut scrubbed);
        if scrubbed.removed.len() > before {
            replace(data_dir, &path, &kept)?;
        }
    }
    for file in ["recovery.signal", "standby.signal"] {
        let path = data_dir.join(file);
        match std::fs::remove_file(&path) {
            Ok(()) => scrubbed.removed.push(Removed {
                file: file.to_string(),
                line: 0,
                name: file.to_string(),
                value: String::new(),
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("remove", &path)(error)),
        }
    }
    Ok(scrubbed)
}

/// The bytes to keep. Lines are handled as bytes: a comment may be in any encoding.
fn scrub_text(file: &str, text: &[u8], scrubbed: &mut Scrubbed) -> Vec<u8> {
    let mut kept = Vec::with_capacity(text.len());
    for (index, raw) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let line = String::from_utf8_lossy(raw);
        let entry = |name: String, value: String| Removed {
            file: file.to_string(),
            line: index + 1,
            value: hide_password(&value),
            name,
        };
        match lex_line(line.trim_end_matches('\n')) {
            ConfLine::Setting(setting) if is_scrubbed(&setting.name) => {
                kept.extend_from_slice(
                    format!("# removed by rpitr: {}\n", setting.name).as_bytes(),
                );
                scrubbed.removed.push(entry(setting.name, setting.value));
                continue;
            }
            ConfLine::Include(setting) if setting.value != OWN_FILE => {
                scrubbed.includes.push(entry(setting.name, setting.value));
            }
            ConfLine::Invalid => scrubbed.invalid.push((file.to_string(), index + 1)),
            _ => {}
        }
        kept.extend_from_slice(raw);
    }
    kept
}

fn is_scrubbed(name: &str) -> bool {
    name.starts_with("recovery_target") || SCRUBBED.contains(&name)
}

/// Hides the password of a connection string in either of its spellings.
fn hide_password(value: &str) -> String {
    let mut hidden = String::new();
    let mut rest = value;
    while let Some(at) = rest.to_ascii_lowercase().find("password") {
        let after = &rest[at + "password".len()..];
        let Some(secret) = after.trim_start().strip_prefix('=') else {
            hidden.push_str(&rest[..at + "password".len()]);
            rest = after;
            continue;
        };
        let secret = secret.trim_start();
        let end = match secret.strip_prefix('\'') {
            Some(quoted) => quoted_end(quoted) + 1,
            None => secret
                .find(|char: char| char.is_whitespace() || char == '&')
                .unwrap_or(secret.len()),
        };
        hidden.push_str(&rest[..at]);
        hidden.push_str("password=***");
        rest = &secret[end..];
    }
    hidden.push_str(rest);
    // postgresql://user:secret@host
    if let Some((scheme, tail)) = hidden.split_once("://")
        && let Some((credentials, host)) = tail.split_once('@')
        && let Some((user, _)) = credentials.split_once(':')
    {
        return format!("{scheme}://{user}:***@{host}");
    }
    hidden
}

/// Where the quoted text ends, its closing quote included.
fn quoted_end(quoted: &str) -> usize {
    let mut escaped = false;
    for (at, char) in quoted.char_indices() {
        match char {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\'' => return at + 1,
            _ => {}
        }
    }
    quoted.len()
}

/// Writes `rpitr.conf` with these settings and sees to it that `postgresql.conf` includes it, last and
/// once. `postgresql.auto.conf` still wins over it: scrub that first.
pub fn write_own_file<N: AsRef<str>, V: AsRef<str>>(
    data_dir: &Path,
    settings: impl IntoIterator<Item = (N, V)>,
) -> Result<(), Error> {
    let text = format!(
        "# Written by rpitr; changes are overwritten.\n{}",
        render(settings)?
    );
    replace(data_dir, &data_dir.join(OWN_FILE), text.as_bytes())?;
    include_own_file(data_dir)
}

/// The settings in the text of `rpitr.conf`.
pub fn read_own_file(text: &str) -> Vec<Setting> {
    let lines = text.lines().map(lex_line);
    let settings = lines.filter_map(|line| match line {
        ConfLine::Setting(setting) => Some(setting),
        _ => None,
    });
    settings.collect()
}

/// Makes `include 'rpitr.conf'` the last line of `postgresql.conf`, once.
pub fn include_own_file(data_dir: &Path) -> Result<(), Error> {
    let path = data_dir.join("postgresql.conf");
    let text = read_if_present(&path)?.unwrap_or_default();
    let mut kept = Vec::with_capacity(text.len() + OWN_INCLUDE.len() + 2);
    for raw in text.split_inclusive(|byte| *byte == b'\n') {
        let line = String::from_utf8_lossy(raw);
        match lex_line(line.trim_end_matches('\n')) {
            ConfLine::Include(setting) if setting.value == OWN_FILE => {}
            _ => kept.extend_from_slice(raw),
        }
    }
    if kept.last().is_some_and(|byte| *byte != b'\n') {
        kept.push(b'\n');
    }
    kept.extend_from_slice(OWN_INCLUDE.as_bytes());
    kept.push(b'\n');
    if kept == text {
        return Ok(());
    }
    replace(data_dir, &path, &kept)
}

fn read_if_present(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match std::fs::read(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}

/// Replaces a file of a data directory in one step, owned as the directory is.
fn replace(data_dir: &Path, path: &Path, text: &[u8]) -> Result<(), Error> {
    let dir = std::fs::metadata(data_dir).map_err(Error::io("read", data_dir))?;
    let mode = std::fs::symlink_metadata(path)
        .ok()
        .filter(std::fs::Metadata::is_file)
        .map_or(0o600, |file| file.permissions().mode() & 0o777);
    let mut temp: PathBuf = path.to_path_buf();
    temp.as_mut_os_string().push(".rpitr-new");
    let write = || -> std::io::Result<()> {
        // A leftover of an earlier crash, or a link put there: never written through.
        let _ = std::fs::remove_file(&temp);
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temp)?;
        file.write_all(text)?;
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        let owner = file.metadata()?;
        if (owner.uid(), owner.gid()) != (dir.uid(), dir.gid()) {
            std::os::unix::fs::fchown(&file, Some(dir.uid()), Some(dir.gid()))?;
        }
        std::fs::rename(&temp, path)
    };
    write().map_err(|error| {
        let _ = std::fs::remove_file(&temp);
        Error::io("write", path)(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir_with(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    #[test]
    fn takes_out_what_ties_to_the_origin() {
        let dir = dir_with(&[
            (
                "postgresql.conf",
                "port = 1\nArchive_Mode on\n# archive_mode = on\ninclude 'x.conf'\ndata_directory = '/prod'\n",
            ),
            (
                "postgresql.auto.conf",
                "recovery_target_time = '2020-01-01'\nprimary_conninfo = 'host=h password=geheim'\nwork_mem = '8MB'\n",
            ),
            ("recovery.signal", ""),
            ("standby.signal", ""),
        ]);
        let scrubbed = scrub_data_dir(dir.path()).unwrap();
        let names: Vec<&str> = scrubbed.removed.iter().map(|r| r.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "archive_mode",
                "data_directory",
                "recovery_target_time",
                "primary_conninfo",
                "recovery.signal",
                "standby.signal"
            ]
        );
        assert_eq!(scrubbed.removed[0].line, 2);
        assert_eq!(scrubbed.removed[3].value, "host=h password=***");
        assert_eq!(scrubbed.includes[0].value, "x.conf");
        assert!(!dir.path().join("standby.signal").exists());
        let auto = std::fs::read_to_string(dir.path().join("postgresql.auto.conf")).unwrap();
        assert!(
            auto.contains("work_mem = '8MB'") && !auto.contains("geheim"),
            "{auto}"
        );
        assert_eq!(scrub_data_dir(dir.path()).unwrap().removed, []);
    }

    #[test]
    fn own_file_is_included_last_and_once() {
        let dir = dir_with(&[("postgresql.conf", "include 'rpitr.conf'\nport = 1")]);
        for _ in 0..2 {
            write_own_file(dir.path(), [("work_mem", "1MB")]).unwrap();
        }
        let conf = std::fs::read_to_string(dir.path().join("postgresql.conf")).unwrap();
        assert_eq!(conf, "port = 1\ninclude 'rpitr.conf'\n");
        let own = std::fs::read_to_string(dir.path().join("rpitr.conf")).unwrap();
        assert!(own.ends_with("work_mem = '1MB'\n"), "{own}");
        let read = read_own_file(&own);
        assert_eq!(
            (read[0].name.as_str(), read[0].value.as_str()),
            ("work_mem", "1MB")
        );
        assert_eq!(read.len(), 1);
        assert!(write_own_file(dir.path(), [("no good", "")]).is_err());
    }

    #[test]
    fn passwords_are_hidden() {
        for (given, shown) in [
            ("host=a password='x y' port=1", "host=a password=*** port=1"),
            ("password = secret", "password=***"),
            ("passwordless", "passwordless"),
            ("postgresql://u:secret@h/db", "postgresql://u:***@h/db"),
            (
                "postgresql://h/db?password=x&a=b",
                "postgresql://h/db?password=***&a=b",
            ),
        ] {
            assert_eq!(hide_password(given), shown);
        }
    }
}
