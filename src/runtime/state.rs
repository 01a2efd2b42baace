//! The state root: the directory that holds the registry, the labs and the helper programs.

use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Error, Registry, ServerUser};

const REGISTRY: &str = "registry";

/// A prepared state root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateRoot {
    path: PathBuf,
}

impl StateRoot {
    /// `RPITR_STATE`; else as root `/var/lib/rpitr`; else `$XDG_STATE_HOME/rpitr` or
    /// `~/.local/state/rpitr`.
    pub fn default_path() -> Result<PathBuf, Error> {
        let var = |name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        if let Some(path) = var("RPITR_STATE") {
            return std::path::absolute(&path).map_err(Error::io("resolve", &path));
        }
        if nix::unistd::Uid::effective().is_root() {
            return Ok(PathBuf::from("/var/lib/rpitr"));
        }
        // The XDG specification: a relative path is to be ignored.
        var("XDG_STATE_HOME")
            .filter(|path| path.is_absolute())
            .or_else(|| Some(var("HOME")?.join(".local/state")))
            .map(|path| path.join("rpitr"))
            .ok_or(Error::NoStateRoot)
    }

    /// Creates what is missing at `path` and makes sure that the server user can get there.
    pub fn prepare(path: &Path, user: &ServerUser) -> Result<Self, Error> {
        let make = |dir: &Path, mode| {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(mode)
                .create(dir)
                .map_err(Error::io("create", dir))
        };
        make(path, 0o755)?;
        let path = path.canonicalize().map_err(Error::io("resolve", path))?;
        let root = StateRoot { path };
        make(&root.labs_dir(), 0o755)?;
        make(&root.helper_dir(), 0o755)?;
        make(&root.registry_dir(), 0o700)?;
        if user.switch {
            root.check_reachable(user)?;
        }
        Ok(root)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn labs_dir(&self) -> PathBuf {
        self.path.join("labs")
    }

    /// Where the bundles of runs are that nobody asked for.
    pub fn runs_dir(&self) -> PathBuf {
        self.path.join("runs")
    }

    /// Removes the bundle of a run, unless somebody asked for it: then it is somewhere else.
    pub fn discard_run(&self, folder: &Path) -> Result<(), Error> {
        if folder.parent() != Some(&self.runs_dir()) {
            return Ok(());
        }
        match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("remove", folder)(error))
            }
            _ => Ok(()),
        }
    }

    /// Where copies of the rpitr program for the server user live.
    pub fn helper_dir(&self) -> PathBuf {
        self.path.join("bin")
    }

    pub fn registry_dir(&self) -> PathBuf {
        self.path.join(REGISTRY)
    }

    pub fn registry(&self) -> Registry {
        Self::registry_of(&self.path)
    }

    pub(super) fn registry_of(root: &Path) -> Registry {
        Registry::new(root.join(REGISTRY))
    }

    /// Names the first folder on the way to the labs that the server user cannot enter.
    fn check_reachable(&self, user: &ServerUser) -> Result<(), Error> {
        let labs = self.labs_dir();
        let mut folders: Vec<&Path> = labs.ancestors().collect();
        folders.reverse();
        for folder in folders {
            let found = std::fs::metadata(folder).map_err(Error::io("read", folder))?;
            let bit = if found.uid() == user.uid {
                0o100
            } else if found.gid() == user.gid {
                0o010
            } else {
                0o001
            };
            if found.mode() & bit == 0 && !can_enter(user, folder) {
                return Err(Error::Blocked {
                    root: self.path.clone(),
                    blocker: folder.to_path_buf(),
                    user: user.name.clone(),
                });
            }
        }
        Ok(())
    }
}

/// Asks the kernel, which knows access control lists as well.
fn can_enter(user: &ServerUser, folder: &Path) -> bool {
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", "cd -- \"$1\"", "sh"])
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    user.apply(&mut command);
    command.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn names_the_folder_that_blocks() {
        let user = ServerUser::resolve(None).unwrap();
        if !user.switch {
            return; // Only root has somebody else to block.
        }
        let temp = tempfile::tempdir().unwrap();
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(temp.path(), open).unwrap();
        let closed = temp.path().join("closed");
        std::fs::create_dir(&closed).unwrap();
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).unwrap();
        let error = StateRoot::prepare(&closed.join("state"), &user).unwrap_err();
        let Error::Blocked { blocker, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(blocker, &closed.canonicalize().unwrap());
        assert!(Failure::from(error).hint.unwrap().contains("RPITR_STATE"));
        StateRoot::prepare(&temp.path().join("state"), &user).unwrap();
    }
}
