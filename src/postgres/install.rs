//! Finding PostgreSQL server installations.
//!
//! Starting a program costs milliseconds, and a drill's start-up time counts: a directory whose
//! name tells the major version is only asked for its full version when it is picked, and the
//! answer is kept for the life of the process.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::Error;

/// The oldest major version rpitr works with: recovery in 12 promotes silently when the
/// target is not reached.
pub const OLDEST_MAJOR: u32 = 13;

/// A PostgreSQL server installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Install {
    /// The directory that really holds `postgres` (symbolic links resolved).
    pub bin_dir: PathBuf,
    pub major: u32,
    /// As the server says it: `15.14`, `18beta1`.
    pub version: String,
}

impl Install {
    /// The path of one of its programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin_dir.join(name)
    }
}

/// Where to look. [`Lookup::from_env`] is what the tool uses; tests build their own.
#[derive(Debug, Clone, Default)]
pub struct Lookup {
    /// `RPITR_PG_BIN`: when set, nothing else is looked at.
    pub pg_bin: Option<PathBuf>,
    /// `PATH`.
    pub path: Option<OsString>,
    /// Whether the usual version directories and `pg_config` are searched.
    pub usual_places: bool,
}

impl Lookup {
    /// The lookup the environment of this process asks for.
    pub fn from_env() -> Self {
        Lookup {
            pg_bin: std::env::var_os("RPITR_PG_BIN")
                .filter(|value| !value.is_empty())
                .map(PathBuf::from),
            path: std::env::var_os("PATH"),
            usual_places: true,
        }
    }
}

/// Parent directory, prefix and suffix of the version directories distributions use.
const USUAL_PLACES: &[(&str, &str, &str)] = &[
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/opt/homebrew/opt", "postgresql@", "bin"),
    ("/usr/local/opt", "postgresql@", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
];

/// Every installation, newest first.
pub fn discover(lookup: &Lookup) -> Result<Vec<Install>, Error> {
    let mut found = Vec::new();
    for candidate in candidates(lookup)? {
        match install_at(&candidate.bin_dir) {
            Ok(install) => found.push(install),
            Err(error) if lookup.pg_bin.is_some() => return Err(error),
            Err(_) => {}
        }
    }
    found.sort_by_key(|install| std::cmp::Reverse(install.major));
    Ok(found)
}

/// The installation to use: of major `version`, or the newest.
pub fn pick(lookup: &Lookup, version: Option<u32>) -> Result<Install, Error> {
    let mut candidates = candidates(lookup)?;
    // Only a directory whose name does not tell has to be asked.
    for candidate in &mut candidates {
        if candidate.major.is_none() {
            match install_at(&candidate.bin_dir) {
                Ok(install) => candidate.major = Some(install.major),
                Err(error) if lookup.pg_bin.is_some() => return Err(error),
                Err(_) => {}
            }
        }
    }
    candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.major));
    let chosen = candidates.iter().find(|candidate| match version {
        Some(wanted) => candidate.major == Some(wanted),
        None => candidate.major.is_some(),
    });
    let Some(chosen) = chosen else {
        return Err(match version {
            Some(wanted) if !candidates.is_empty() => {
                let mut installed: Vec<u32> = candidates.iter().filter_map(|c| c.major).collect();
                installed.dedup();
                Error::NotInstalled { wanted, installed }
            }
            _ => Error::NoneFound {
                looked: places(lookup),
            },
        });
    };
    let install = install_at(&chosen.bin_dir)?;
    if install.major < OLDEST_MAJOR {
        return Err(Error::TooOld {
            version: install.version,
            bin_dir: install.bin_dir,
        });
    }
    Ok(install)
}

/// A directory that holds a `postgres`, and the major its name tells.
#[derive(Debug)]
struct Candidate {
    bin_dir: PathBuf,
    major: Option<u32>,
}

fn candidates(lookup: &Lookup) -> Result<Vec<Candidate>, Error> {
    let mut found: Vec<Candidate> = Vec::new();
    let mut add = |dir: &Path| -> bool {
        // A name on PATH may be a link into the real bin directory: resolve the program itself.
        let Ok(program) = dir.join("postgres").canonicalize() else {
            return false;
        };
        let Some(bin_dir) = program.parent() else {
            return false;
        };
        if !bin_dir.join("initdb").exists() {
            return false;
        }
        if found.iter().all(|known| known.bin_dir != bin_dir) {
            found.push(Candidate {
                bin_dir: bin_dir.to_path_buf(),
                major: major_from_path(bin_dir),
            });
        }
        true
    };
    if let Some(dir) = &lookup.pg_bin {
        if !add(dir) {
            return Err(Error::NotAnInstall {
                bin_dir: dir.clone(),
                reason: "it does not hold both postgres and initdb (RPITR_PG_BIN names it)".into(),
            });
        }
        return Ok(found);
    }
    for dir in lookup.path.iter().flat_map(std::env::split_paths) {
        add(&dir);
    }
    if lookup.usual_places {
        for (parent, prefix, suffix) in USUAL_PLACES {
            for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().starts_with(prefix) {
                    add(&entry.path().join(suffix));
                }
            }
        }
        if found.is_empty()
            && let Some(dir) = pg_config_bindir()
            && let Ok(program) = dir.join("postgres").canonicalize()
            && let Some(bin_dir) = program.parent()
        {
            found.push(Candidate {
                bin_dir: bin_dir.to_path_buf(),
                major: major_from_path(bin_dir),
            });
        }
    }
    Ok(found)
}

fn places(lookup: &Lookup) -> Vec<String> {
    let mut places = vec!["PATH".to_string()];
    if lookup.usual_places {
        places.push("pg_config --bindir".into());
        for (parent, prefix, suffix) in USUAL_PLACES {
            places.push(format!("{parent}/{prefix}*/{suffix}"));
        }
    }
    places
}

/// `/usr/lib/postgresql/15/bin`, `/usr/pgsql-15/bin`, `postgresql@15/bin`: the directory above `bin`
/// names the major.
fn major_from_path(bin_dir: &Path) -> Option<u32> {
    let parent = bin_dir.parent()?;
    let name = parent.file_name()?.to_str()?;
    let digits = name
        .strip_prefix("pgsql-")
        .or_else(|| name.strip_prefix("postgresql@"));
    if let Some(digits) = digits {
        return digits.parse().ok();
    }
    let above = parent.parent()?.file_name()?.to_str()?;
    if above == "postgresql" || above == "Versions" {
        return name.parse().ok();
    }
    None
}

fn pg_config_bindir() -> Option<PathBuf> {
    let output = Command::new("pg_config")
        .arg("--bindir")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(PathBuf::from(text.trim()))
}

/// Asks the server in `bin_dir` for its version, once per process.
fn install_at(bin_dir: &Path) -> Result<Install, Error> {
    static KNOWN: OnceLock<Mutex<HashMap<PathBuf, Install>>> = OnceLock::new();
    let known = KNOWN.get_or_init(Mutex::default);
    if let Some(install) = known
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(bin_dir)
    {
        return Ok(install.clone());
    }
    let not_an_install = |reason: String| Error::NotAnInstall {
        bin_dir: bin_dir.to_path_buf(),
        reason,
    };
    let output = Command::new(bin_dir.join("postgres"))
        .arg("--version")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| not_an_install(format!("postgres does not start: {error}")))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let (major, version) = parse_version(&text)
        .ok_or_else(|| not_an_install(format!("postgres --version printed {:?}", text.trim())))?;
    let install = Install {
        bin_dir: bin_dir.to_path_buf(),
        major,
        version,
    };
    known
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(bin_dir.to_path_buf(), install.clone());
    Ok(install)
}

/// `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)`.
fn parse_version(text: &str) -> Option<(u32, String)> {
    let version = text
        .split_once("(PostgreSQL)")?
        .1
        .split_whitespace()
        .next()?;
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    Some((digits.parse().ok()?, version.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::{Failure, Kind};
    use std::os::unix::fs::PermissionsExt;

    fn fake_install(dir: &Path, version: &str) {
        std::fs::create_dir_all(dir).unwrap();
        for name in ["postgres", "initdb"] {
            let path = dir.join(name);
            std::fs::write(
                &path,
                format!("#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n"),
            )
            .unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    #[test]
    fn version_texts() {
        let parse = |text| parse_version(text).unwrap();
        assert_eq!(
            parse("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n"),
            (15, "15.14".into())
        );
        assert_eq!(
            parse("postgres (PostgreSQL) 18beta1"),
            (18, "18beta1".into())
        );
        assert_eq!(
            parse("postgres (PostgreSQL) 19devel"),
            (19, "19devel".into())
        );
        assert_eq!(parse_version("mysqld 8"), None);
    }

    #[test]
    fn directory_names_tell_the_major() {
        let major = |path: &str| major_from_path(Path::new(path));
        assert_eq!(major("/usr/lib/postgresql/15/bin"), Some(15));
        assert_eq!(major("/usr/pgsql-16/bin"), Some(16));
        assert_eq!(major("/opt/homebrew/opt/postgresql@17/bin"), Some(17));
        assert_eq!(
            major("/Applications/Postgres.app/Contents/Versions/16/bin"),
            Some(16)
        );
        assert_eq!(major("/opt/pg/bin"), None);
        assert_eq!(major("/opt/15/bin"), None);
    }

    #[test]
    fn picks_newest_and_names_what_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old/bin"), dir.path().join("new/bin"));
        fake_install(&old, "14.1");
        fake_install(&new, "16.3");
        // A link on PATH stands for the directory it leads to.
        let links = dir.path().join("links");
        std::fs::create_dir(&links).unwrap();
        std::os::unix::fs::symlink(new.join("postgres"), links.join("postgres")).unwrap();
        let lookup = Lookup {
            path: Some(std::env::join_paths([&old, &links]).unwrap()),
            ..Lookup::default()
        };
        let newest = pick(&lookup, None).unwrap();
        assert_eq!((newest.major, newest.version.as_str()), (16, "16.3"));
        assert_eq!(newest.bin_dir, new.canonicalize().unwrap());
        assert_eq!(pick(&lookup, Some(14)).unwrap().major, 14);
        assert_eq!(discover(&lookup).unwrap().len(), 2);
        let failure = Failure::from(pick(&lookup, Some(12)).unwrap_err());
        assert_eq!(failure.kind, Kind::Environment);
        assert_eq!(failure.detail.as_deref(), Some("installed: 16, 14"));
    }

    #[test]
    fn too_old_and_none() {
        let dir = tempfile::tempdir().unwrap();
        fake_install(dir.path(), "12.9");
        let lookup = Lookup {
            pg_bin: Some(dir.path().to_path_buf()),
            ..Lookup::default()
        };
        let error = pick(&lookup, None).unwrap_err();
        assert!(error.to_string().contains("12.9"), "{error}");
        assert!(matches!(error, Error::TooOld { .. }));
        let none = pick(&Lookup::default(), None).unwrap_err();
        assert!(
            Failure::from(none)
                .hint
                .unwrap()
                .contains("apt install postgresql")
        );
        let wrong = Lookup {
            pg_bin: Some(dir.path().join("nowhere")),
            ..Lookup::default()
        };
        assert!(matches!(
            pick(&wrong, None),
            Err(Error::NotAnInstall { .. })
        ));
    }
}
