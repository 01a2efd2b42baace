//! The configuration files of a node in a container.

use std::path::{Path, PathBuf};

use super::node::DockerNode;
use crate::postgres::{self, Scrubbed};
use crate::runtime::Error;

impl DockerNode {
    /// Takes out of the restored data directory what ties it to its origin.
    pub async fn scrub_conf(&self) -> Result<Scrubbed, Error> {
        self.edit_conf(|dir| Ok(postgres::scrub_data_dir(dir)?))
            .await
    }

    /// Replaces rpitr's settings (`rpitr.conf`, included last by `postgresql.conf`).
    pub async fn set_conf(&self, settings: &[(String, String)]) -> Result<(), Error> {
        self.edit_conf(|dir| {
            let settings = settings.iter().map(|(name, value)| (name, value));
            Ok(postgres::write_own_file(dir, settings)?)
        })
        .await
    }

    /// Has the files of the configuration edited here, in a folder of their own, and sends back what
    /// changed.
    async fn edit_conf<T>(&self, edit: impl FnOnce(&Path) -> Result<T, Error>) -> Result<T, Error> {
        let data = self.inside(Path::new(""))?;
        let container = self.up().await?;
        let before = self.lab.fetch_files(&container, &data, CONF_FILES).await?;
        let scratch = Scratch::new(&self.lab.lab_dir)?;
        for (name, bytes) in &before {
            let path = scratch.0.join(name);
            std::fs::write(&path, bytes).map_err(Error::io("write", &path))?;
        }
        let result = edit(&scratch.0)?;
        for name in CONF_FILES {
            let path = scratch.0.join(name);
            let old = before
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, bytes)| bytes);
            match (std::fs::read(&path), old) {
                (Ok(new), old) if Some(&new) != old => {
                    self.write_file(Path::new(name), &new, 0o600).await?;
                }
                (Err(_), Some(_)) => {
                    self.remove_file(Path::new(name)).await?;
                }
                _ => {}
            }
        }
        Ok(result)
    }
}

/// What editing the configuration looks at.
const CONF_FILES: &[&str] = &[
    "postgresql.conf",
    "postgresql.auto.conf",
    "rpitr.conf",
    "recovery.signal",
    "standby.signal",
];

/// A folder on this machine for a moment.
struct Scratch(PathBuf);

impl Scratch {
    fn new(lab_dir: &Path) -> Result<Self, Error> {
        let path = lab_dir.join(format!(".edit-{:016x}", rand::random::<u64>()));
        std::fs::create_dir_all(&path).map_err(Error::io("create", &path))?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
