//! Who uses a lab: its owner, and visitors: processes that work on a lab another one made.
//!
//! A visitor leaves a file beside the lab's record and takes it along when it goes. One whose process is gone
//! counts for nothing, so a visitor that dies neither keeps a lab nor removes it.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{Error, LabRecord, ProcessId, Registry};

const SUFFIX: &str = "visit";

/// Held by a process as long as it visits a lab.
#[derive(Debug)]
pub struct Visit {
    path: PathBuf,
}

impl Drop for Visit {
    fn drop(&mut self) {
        // What cannot be removed counts for nothing once this process has ended.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Who uses a lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Use {
    None,
    /// The process that owns it.
    Owned(i32),
    /// A process that is attached to it; the owner is gone.
    Visited(i32),
}

impl Use {
    pub fn is_none(&self) -> bool {
        *self == Use::None
    }

    /// For an owner, who may remove its lab whoever else uses it.
    pub(super) fn any(&self) -> bool {
        true
    }

    /// The process to name to whoever asks.
    pub fn pid(&self) -> Option<i32> {
        match self {
            Use::None => None,
            Use::Owned(pid) | Use::Visited(pid) => Some(*pid),
        }
    }
}

impl Registry {
    /// Notes that this process works on a lab from now on.
    pub(super) fn visit(&self, id: &str) -> Result<Visit, Error> {
        let _lock = self.lock()?;
        let record = self.load(id)?;
        if record.is_going() {
            return Err(Error::LabGone { id: id.to_string() });
        }
        let name = format!("{id}.{:08x}.{SUFFIX}", rand::random::<u32>());
        let path = self.dir().join(name);
        let write = || -> std::io::Result<()> {
            let mut file = std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)?;
            file.write_all(&serde_json::to_vec(&ProcessId::own())?)
        };
        write().map_err(Error::io("write", &path))?;
        Ok(Visit { path })
    }

    /// Who uses a lab now.
    pub fn use_of(&self, record: &LabRecord) -> Use {
        if record.owner_alive() {
            return Use::Owned(record.owner.pid);
        }
        let visitors = self.visits(&record.id).into_iter().filter_map(|path| {
            let visitor: ProcessId = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
            visitor.is_alive().then_some(visitor.pid)
        });
        visitors.min().map_or(Use::None, Use::Visited)
    }

    /// Why a lab is still there, in a word or two.
    pub fn condition(&self, record: &LabRecord) -> &'static str {
        match self.use_of(record) {
            Use::Owned(_) => "in use",
            Use::Visited(_) => "attached",
            Use::None if record.keep => "kept",
            Use::None => "left behind",
        }
    }

    /// Announces that this process removes a lab, if `may` agrees with its use: nobody can attach to it then.
    pub(super) fn claim(&self, id: &str, may: impl FnOnce(&Use) -> bool) -> Result<bool, Error> {
        let mut claimed = false;
        self.change(id, |record| {
            claimed = may(&self.use_of(record));
            if claimed {
                record.removing = Some(ProcessId::own());
            }
            Ok(())
        })?;
        Ok(claimed)
    }

    /// Removes what visitors of a lab left, dead or not.
    pub(super) fn forget_visits(&self, id: &str) {
        for path in self.visits(id) {
            let _ = std::fs::remove_file(path);
        }
    }

    fn visits(&self, id: &str) -> Vec<PathBuf> {
        let is_visit = |path: &Path| {
            let name = path.file_name().map(|name| name.to_string_lossy());
            name.is_some_and(|name| {
                name.strip_prefix(id)
                    .is_some_and(|rest| rest.starts_with('.') && rest.ends_with(SUFFIX))
            })
        };
        let entries = std::fs::read_dir(self.dir()).into_iter().flatten();
        let paths = entries.flatten().map(|entry| entry.path());
        paths.filter(|path| is_visit(path)).collect()
    }
}
