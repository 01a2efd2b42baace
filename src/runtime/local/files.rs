//! The files of a node. Relative paths start in the data directory. Reading works everywhere, changes
//! are made only inside the lab, as the server user's files.

use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use super::LocalNode;
use crate::postgres::{self, Scrubbed};
use crate::runtime::files::{self, Copied, CopyOptions, DirEntry, DiskSpace, TreeSize};
use crate::runtime::{Error, marker};

impl LocalNode {
    /// The absolute path of a file of the node.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.record.borrow().data_dir.join(path)
    }

    /// The path if it lies inside the lab, also after links on the way are followed.
    pub(super) fn inside(&self, path: &Path) -> Result<PathBuf, Error> {
        let path = self.path(path);
        let lab_dir = &self.launcher.lab_dir;
        let outside = || Error::OutsideLab {
            path: path.clone(),
            lab_dir: lab_dir.clone(),
        };
        if path.components().any(|part| part == Component::ParentDir) {
            return Err(outside());
        }
        let parent = path.parent().ok_or_else(outside)?;
        let existing = parent.ancestors().find(|folder| folder.exists());
        let real = existing
            .and_then(|folder| folder.canonicalize().ok())
            .ok_or_else(outside)?;
        match real.starts_with(lab_dir) {
            true => Ok(path),
            false => Err(outside()),
        }
    }

    pub async fn read_file(&self, path: impl AsRef<Path>) -> Result<Vec<u8>, Error> {
        let path = self.path(path);
        std::fs::read(&path).map_err(Error::io("read", &path))
    }

    /// Writes a whole file in one step: readers see the old contents or the new ones.
    pub async fn write_file(
        &self,
        path: impl AsRef<Path>,
        contents: &[u8],
        mode: u32,
    ) -> Result<(), Error> {
        let path = self.inside(path.as_ref())?;
        let mut temp = path.clone();
        temp.as_mut_os_string().push(".rpitr-new");
        marker::remove_any(&temp)?;
        let write = || -> std::io::Result<()> {
            let mut file = std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&temp)?;
            file.write_all(contents)?;
            self.finish(&file, mode)?;
            std::fs::rename(&temp, &path)
        };
        write().map_err(|error| {
            let _ = std::fs::remove_file(&temp);
            Error::io("write", &path)(error)
        })
    }

    /// Adds to the end of a file, which is created if it is missing.
    pub async fn append_file(&self, path: impl AsRef<Path>, contents: &[u8]) -> Result<(), Error> {
        let path = self.inside(path.as_ref())?;
        let append = || -> std::io::Result<()> {
            let is_new = !path.exists();
            let mut file = std::fs::OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o600)
                .custom_flags(nix::libc::O_NOFOLLOW)
                .open(&path)?;
            if is_new {
                self.finish(&file, 0o600)?;
            }
            file.write_all(contents)
        };
        append().map_err(Error::io("write", &path))
    }

    fn finish(&self, file: &std::fs::File, mode: u32) -> std::io::Result<()> {
        let user = &self.launcher.user;
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        if user.switch {
            std::os::unix::fs::fchown(file, Some(user.uid), Some(user.gid))?;
        }
        Ok(())
    }

    /// Removes a file or a link; `false` when there was none.
    pub async fn remove_file(&self, path: impl AsRef<Path>) -> Result<bool, Error> {
        let path = self.inside(path.as_ref())?;
        match std::fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::io("remove", &path)(error)),
        }
    }

    pub async fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<(), Error> {
        let (from, to) = (self.inside(from.as_ref())?, self.inside(to.as_ref())?);
        std::fs::rename(&from, &to).map_err(Error::io("rename", &from))
    }

    /// Makes a private directory of the server user, with those above it; an existing one is fine.
    pub async fn mkdir(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = self.inside(path.as_ref())?;
        let missing: Vec<&Path> = path.ancestors().take_while(|dir| !dir.exists()).collect();
        for dir in missing.into_iter().rev() {
            std::fs::create_dir(dir).map_err(Error::io("create", dir))?;
            std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))
                .map_err(Error::io("change the mode of", dir))?;
            self.launcher.user.own(dir)?;
        }
        Ok(())
    }

    pub async fn list_dir(&self, path: impl AsRef<Path>) -> Result<Vec<DirEntry>, Error> {
        files::list_dir(&self.path(path))
    }

    pub async fn exists(&self, path: impl AsRef<Path>) -> bool {
        std::fs::symlink_metadata(self.path(path)).is_ok()
    }

    /// The length of a file in bytes.
    pub async fn file_size(&self, path: impl AsRef<Path>) -> Result<u64, Error> {
        let path = self.path(path);
        let found = std::fs::metadata(&path).map_err(Error::io("read", &path))?;
        Ok(found.len())
    }

    /// Files and bytes of a tree.
    pub async fn tree_size(&self, path: impl AsRef<Path>) -> Result<TreeSize, Error> {
        let path = self.path(path);
        blocking(move || files::tree_size(&path)).await
    }

    /// Copies a tree into the lab; see [`CopyOptions`]. The copy must not exist yet.
    pub async fn copy_tree(
        &self,
        from: impl AsRef<Path>,
        to: impl AsRef<Path>,
        options: CopyOptions,
    ) -> Result<Copied, Error> {
        let to = self.inside(to.as_ref())?;
        files::copy_tree(&self.path(from), &to, options).await
    }

    /// Removes a tree inside the lab without following links; `false` when there was none.
    pub async fn remove_tree(&self, path: impl AsRef<Path>) -> Result<bool, Error> {
        let path = self.inside(path.as_ref())?;
        if path == self.launcher.lab_dir {
            return Err(Error::OutsideLab {
                path,
                lab_dir: self.launcher.lab_dir.clone(),
            });
        }
        let existed = std::fs::symlink_metadata(&path).is_ok();
        blocking(move || marker::remove_any(&path)).await?;
        Ok(existed)
    }

    /// Space on the disk that holds the lab.
    pub async fn disk_space(&self) -> Result<DiskSpace, Error> {
        files::disk_space(&self.launcher.lab_dir)
    }

    /// Takes out of the restored data directory what ties it to its origin.
    pub async fn scrub_conf(&self) -> Result<Scrubbed, Error> {
        Ok(postgres::scrub_data_dir(&self.inside(Path::new(""))?)?)
    }

    /// Replaces rpitr's settings (`rpitr.conf`, included last by `postgresql.conf`).
    pub async fn set_conf(&self, settings: &[(String, String)]) -> Result<(), Error> {
        let data_dir = self.inside(Path::new(""))?;
        let settings = settings.iter().map(|(name, value)| (name, value));
        Ok(postgres::write_own_file(&data_dir, settings)?)
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::Worker(error.to_string()))?
}
