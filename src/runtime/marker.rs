//! The file that says a directory is rpitr's and which lab it belongs to. Only directories that
//! carry it are ever deleted.

use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::{Error, ServerUser};

const NAME: &str = ".rpitr-lab";

/// What a marker says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    pub lab: String,
    /// The state root whose registry knows the lab: another root's directories are not ours to judge.
    pub state_root: PathBuf,
}

impl Marker {
    /// Reads the marker of a directory.
    pub fn read(dir: &Path) -> Option<Marker> {
        let text = std::fs::read_to_string(dir.join(NAME)).ok()?;
        let (lab, root) = text.strip_suffix('\n')?.split_once('\n')?;
        Some(Marker {
            lab: lab.to_string(),
            state_root: PathBuf::from(root),
        })
    }

    /// Creates a private directory of the server user with this marker; it must not exist yet.
    pub fn create_dir(&self, dir: &Path, user: &ServerUser) -> Result<(), Error> {
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(dir)
            .map_err(Error::io("create", dir))?;
        let path = dir.join(NAME);
        let text = format!("{}\n{}\n", self.lab, self.state_root.display());
        std::fs::write(&path, text).map_err(Error::io("write", &path))?;
        user.own(&path)?;
        user.own(dir)
    }

    /// Removes a directory that carries this marker, or that a crash left without a complete one:
    /// then nothing else is in it. `false` when there is none.
    pub fn remove_dir(&self, dir: &Path) -> Result<bool, Error> {
        match std::fs::symlink_metadata(dir) {
            Ok(found) if found.is_dir() => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            _ => return Err(self.not_ours(dir)),
        }
        match Marker::read(dir) {
            Some(marker) if marker == *self => {}
            None if is_fresh(dir) => {}
            _ => return Err(self.not_ours(dir)),
        }
        // The marker goes last: a removal that is cut short can be taken up again.
        let entries = std::fs::read_dir(dir).map_err(Error::io("read", dir))?;
        for entry in entries.flatten() {
            if entry.file_name() != NAME {
                remove_any(&entry.path())?;
            }
        }
        remove_any(&dir.join(NAME))?;
        match std::fs::remove_dir(dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("remove", dir)(error))
            }
            _ => Ok(true),
        }
    }

    fn not_ours(&self, dir: &Path) -> Error {
        Error::NotOurs {
            path: dir.to_path_buf(),
            lab: self.lab.clone(),
        }
    }
}

/// Empty, or with nothing but a marker that was never completed.
fn is_fresh(dir: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return false;
    };
    entries.flatten().all(|entry| {
        entry.file_name() == NAME && entry.metadata().is_ok_and(|marker| marker.size() < 4096)
    })
}

/// Removes a file, a link or a tree without following links; what is gone already is fine.
pub(super) fn remove_any(path: &Path) -> Result<(), Error> {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_marked_directories_go() {
        let temp = tempfile::tempdir().unwrap();
        let user = ServerUser {
            switch: false,
            ..ServerUser::resolve(None).unwrap()
        };
        let marker = Marker {
            lab: "rpitr-1".into(),
            state_root: "/s".into(),
        };
        let dir = temp.path().join("lab");
        assert!(!marker.remove_dir(&dir).unwrap());
        marker.create_dir(&dir, &user).unwrap();
        assert_eq!(Marker::read(&dir).unwrap(), marker);
        std::fs::create_dir(dir.join("data")).unwrap();
        let other = Marker {
            lab: "rpitr-2".into(),
            ..marker.clone()
        };
        assert!(matches!(other.remove_dir(&dir), Err(Error::NotOurs { .. })));
        assert!(marker.remove_dir(&dir).unwrap());
        assert!(!dir.exists());

        // Half-created: a directory without a marker goes only when it is empty.
        std::fs::create_dir(&dir).unwrap();
        assert!(marker.remove_dir(&dir).unwrap());
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("precious"), "x").unwrap();
        assert!(marker.remove_dir(&dir).is_err());
        let link = temp.path().join("link");
        std::os::unix::fs::symlink(&dir, &link).unwrap();
        assert!(marker.remove_dir(&link).is_err());
    }
}
