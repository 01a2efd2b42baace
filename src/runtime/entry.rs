//! What a lab's entry in the registry says, and changing it. Other processes may do so, too: each change is made
//! to what is on disk.

use std::path::{Path, PathBuf};

use super::{Error, Lab, LabRecord, NodeRecord, ProcessId, Ties};

impl Lab {
    /// Changes the registry first; only then what the lab knows. Other processes may have changed it, too: the
    /// change is made to what is on disk.
    pub(super) fn update(
        &self,
        change: impl FnOnce(&mut LabRecord) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let record = self.runtime.registry().change(&self.id(), change)?;
        self.record.replace(record);
        Ok(())
    }

    /// Whether the lab stays when its owner is gone.
    pub fn set_keep(&self, keep: bool) -> Result<(), Error> {
        self.update(|record| {
            record.keep = keep;
            Ok(())
        })
    }

    /// Notes the bundle of a run that goes on in the lab: whoever finds it can resume the run.
    pub fn set_run_folder(&self, folder: Option<&Path>) -> Result<(), Error> {
        let folder = match folder {
            Some(folder) => Some(std::path::absolute(folder).map_err(Error::io("find", folder))?),
            None => None,
        };
        self.update(|record| {
            record.run_folder = folder;
            Ok(())
        })
    }

    /// Makes this process, or its supervisor, the owner of a lab whose owner is gone.
    pub fn adopt(&self) -> Result<(), Error> {
        let own = ProcessId::owner();
        self.update(|record| {
            if record.owner != own && record.owner_alive() {
                return Err(Error::LabInUse {
                    id: record.id.clone(),
                    pid: record.owner.pid,
                });
            }
            record.owner = own;
            Ok(())
        })
    }

    /// Whether nobody has removed it.
    pub fn exists(&self) -> bool {
        self.runtime.registry().knows(&self.id())
    }

    /// A folder for the archive of a server that begins a new life. It is for the caller to make.
    pub fn new_archive(&self, node: &str) -> Result<PathBuf, Error> {
        self.update(|record| {
            record.archives += 1;
            Ok(())
        })?;
        let name = format!("{}-{node}", self.record.borrow().archives);
        Ok(self.dir().join("archive").join(name))
    }

    /// Puts on record what another process has to know of a node.
    pub fn note(&self, node: &str, role: Option<&str>, ties: Ties) -> Result<(), Error> {
        self.update(|record| {
            for known in record.nodes.iter_mut().filter(|known| known.name == node) {
                if let Some(role) = role {
                    known.role = role.to_string();
                }
                known.ties = ties.clone();
            }
            Ok(())
        })
    }

    /// Puts a new node on record.
    pub(super) fn enter(&self, node: &NodeRecord) -> Result<(), Error> {
        self.update(|record| {
            if record.nodes.iter().any(|known| known.name == node.name) {
                return Err(Error::NodeExists {
                    lab: record.id.clone(),
                    node: node.name.clone(),
                });
            }
            record.nodes.push(node.clone());
            Ok(())
        })
    }
}
