//! A copy of the running program where the server user can execute it.
//!
//! Servers call rpitr back (`archive_command`), and the program may live in a folder their user
//! cannot enter: a checkout in somebody's home.

use std::collections::HashSet;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::{Error, StateRoot};

/// The path of the copy, made now if it is missing. Its name tells version, size and age of the
/// original, so that a rebuilt program is never confused with an older copy.
pub fn ensure(state: &StateRoot) -> Result<PathBuf, Error> {
    let program = std::env::current_exe().map_err(Error::io("find", "the running program"))?;
    ensure_copy(state, &program)
}

fn ensure_copy(state: &StateRoot, program: &Path) -> Result<PathBuf, Error> {
    let found = std::fs::metadata(program).map_err(Error::io("read", program))?;
    let name = format!(
        "rpitr-{}-{:x}-{:x}{:08x}",
        env!("CARGO_PKG_VERSION"),
        found.size(),
        found.mtime(),
        found.mtime_nsec()
    );
    let path = state.helper_dir().join(&name);
    if std::fs::metadata(&path).is_ok_and(|copy| copy.size() == found.size()) {
        return Ok(path);
    }
    let temp = state
        .helper_dir()
        .join(format!(".{name}.{}", std::process::id()));
    let make = || -> std::io::Result<()> {
        std::fs::copy(program, &temp)?;
        std::fs::set_permissions(&temp, std::fs::Permissions::from_mode(0o755))?;
        std::fs::rename(&temp, &path)
    };
    make().map_err(|error| {
        let _ = std::fs::remove_file(&temp);
        Error::io("write", &path)(error)
    })?;
    Ok(path)
}

/// Removes copies that no lab uses; returns their names.
pub fn prune(state: &StateRoot) -> Result<Vec<String>, Error> {
    let (records, unreadable) = state.registry().list()?;
    if !unreadable.is_empty() {
        return Ok(Vec::new()); // One of those labs may use any of them.
    }
    let used: HashSet<PathBuf> = records.into_iter().filter_map(|lab| lab.helper).collect();
    let mut removed = Vec::new();
    let dir = state.helper_dir();
    for entry in std::fs::read_dir(&dir)
        .map_err(Error::io("read", &dir))?
        .flatten()
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        let fresh_temp = name.starts_with('.')
            && entry
                .metadata()
                .and_then(|found| found.modified())
                .is_ok_and(|at| at.elapsed().is_ok_and(|age| age.as_secs() < 60));
        let ours = name.trim_start_matches('.').starts_with("rpitr-");
        if ours && !fresh_temp && !used.contains(&entry.path()) {
            std::fs::remove_file(entry.path()).map_err(Error::io("remove", entry.path()))?;
            removed.push(name);
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::ServerUser;

    #[test]
    fn copied_once_and_pruned() {
        let temp = tempfile::tempdir().unwrap();
        let user = ServerUser {
            switch: false,
            ..ServerUser::resolve(None).unwrap()
        };
        let state = StateRoot::prepare(&temp.path().join("state"), &user).unwrap();
        let program = temp.path().join("program");
        std::fs::write(&program, "#!/bin/sh\n").unwrap();
        let copy = ensure_copy(&state, &program).unwrap();
        let mode = std::fs::metadata(&copy).unwrap().mode();
        assert_eq!(mode & 0o777, 0o755);
        let inode = std::fs::metadata(&copy).unwrap().ino();
        assert_eq!(ensure_copy(&state, &program).unwrap(), copy);
        assert_eq!(std::fs::metadata(&copy).unwrap().ino(), inode);
        std::fs::write(&program, "#!/bin/sh\n#\n").unwrap();
        assert_ne!(ensure_copy(&state, &program).unwrap(), copy);
        assert_eq!(prune(&state).unwrap().len(), 2);
        assert!(!copy.exists());
    }
}
