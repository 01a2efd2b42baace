//! The registry: one small file for each lab, written before anything it names is created.

use std::collections::HashSet;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::{Error, ProcessId};

const SCHEMA: u32 = 1;

/// Everything needed to find and remove a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabRecord {
    pub schema: u32,
    pub id: String,
    /// The run of rpitr that made it.
    pub run: String,
    pub script: Option<String>,
    /// RFC 3339, UTC.
    pub created_at: String,
    pub owner: ProcessId,
    /// Whether `lab gc` leaves it alone once its owner is gone.
    pub keep: bool,
    /// The account its servers run as.
    pub user: String,
    pub uid: u32,
    pub gid: u32,
    pub lab_dir: PathBuf,
    pub socket_dir: PathBuf,
    /// The copy of the rpitr program its servers call.
    pub helper: Option<PathBuf>,
    /// The address of the Docker engine its nodes run on; `None`: they are processes of this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// The bundle of a chaos run that goes on in it, or was going on when rpitr was killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_folder: Option<PathBuf>,
    pub nodes: Vec<NodeRecord>,
    /// How many archives its servers were given: each gets one of its own.
    #[serde(default)]
    pub archives: u32,
    /// The process that is removing it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removing: Option<ProcessId>,
}

impl LabRecord {
    pub(super) fn current_schema() -> u32 {
        SCHEMA
    }

    /// Whether the rpitr process that owns the lab still runs.
    pub fn owner_alive(&self) -> bool {
        self.owner.is_alive()
    }

    /// Whether some process is removing it right now.
    pub fn is_going(&self) -> bool {
        self.removing.as_ref().is_some_and(ProcessId::is_alive)
    }
}

/// A node of a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    pub name: String,
    /// What it is for: `primary`, `standby`, `sandbox`, `receiver`.
    pub role: String,
    pub major: u32,
    pub version: String,
    pub bin_dir: PathBuf,
    /// The folder of the node inside the lab.
    pub dir: PathBuf,
    pub data_dir: PathBuf,
    pub log: PathBuf,
    pub port: u16,
    pub socket_dir: PathBuf,
    /// What its container is made from; the paths above are those inside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerRecord>,
    /// What another process that works on it has to know.
    #[serde(flatten)]
    pub ties: Ties,
}

/// How a node depends on others of its lab.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ties {
    /// Where it archives its WAL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<PathBuf>,
    /// The node it streams from, and its slot there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<String>,
}

/// What a node's container is made from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerRecord {
    pub image: String,
    /// Paths the image declares as volumes.
    pub volumes: Vec<String>,
    /// In a network apart from the other nodes'.
    pub private: bool,
    /// Receivers whose volumes it may read: a restore takes WAL from them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<String>,
}

/// The registry of a state root.
#[derive(Debug, Clone)]
pub struct Registry {
    dir: PathBuf,
}

impl Registry {
    pub(super) fn new(dir: PathBuf) -> Self {
        Registry { dir }
    }

    fn path_of(&self, id: &str) -> PathBuf {
        self.dir.join(format!("{id}.json"))
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether there is a lab of exactly this id.
    pub fn knows(&self, id: &str) -> bool {
        self.path_of(id).exists()
    }

    /// One process at a time decides what becomes of a lab; the lock goes with what is returned.
    pub(super) fn lock(&self) -> Result<Flock<File>, Error> {
        // The folder itself: a file for it would only have to be explained and removed.
        let folder = File::open(&self.dir).map_err(Error::io("open", &self.dir))?;
        Flock::lock(folder, FlockArg::LockExclusive)
            .map_err(|(_, error)| Error::io("lock", &self.dir)(error.into()))
    }

    /// Changes the record on disk, whatever other processes have written to it meanwhile. Nothing is written when
    /// the change is refused.
    pub(super) fn change(
        &self,
        id: &str,
        change: impl FnOnce(&mut LabRecord) -> Result<(), Error>,
    ) -> Result<LabRecord, Error> {
        let _lock = self.lock()?;
        let gone = || Error::LabGone { id: id.to_string() };
        let mut record = read(&self.path_of(id))?.ok_or_else(gone)?;
        change(&mut record)?;
        self.write(&record)?;
        Ok(record)
    }

    /// Writes a record so that a crash leaves either the old one or this one.
    pub fn write(&self, record: &LabRecord) -> Result<(), Error> {
        let path = self.path_of(&record.id);
        let temp = self.dir.join(format!(".{}.new", record.id));
        let write = || -> std::io::Result<()> {
            let mut file = std::fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&temp)?;
            file.write_all(&serde_json::to_vec_pretty(record)?)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            std::fs::rename(&temp, &path)?;
            sync_dir(&self.dir)
        };
        write().map_err(Error::io("write", &path))
    }

    /// Removes a record; one that is gone already is fine.
    pub fn remove(&self, id: &str) -> Result<(), Error> {
        let path = self.path_of(id);
        self.forget_visits(id);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("remove", &path)(error))
            }
            _ => sync_dir(&self.dir).map_err(Error::io("flush", &self.dir)),
        }
    }

    /// All records, oldest first, and an error for each one that cannot be read.
    pub fn list(&self) -> Result<(Vec<LabRecord>, Vec<Error>), Error> {
        let (mut records, mut errors) = (Vec::new(), Vec::new());
        for entry in std::fs::read_dir(&self.dir).map_err(Error::io("read", &self.dir))? {
            let path = entry.map_err(Error::io("read", &self.dir))?.path();
            if path.extension().is_none_or(|ext| ext != "json") {
                continue;
            }
            match read(&path) {
                Ok(Some(record)) => records.push(record),
                Ok(None) => {} // Removed while this was looking.
                Err(error) => errors.push(error),
            }
        }
        records.sort_by(|a, b| (&a.created_at, &a.id).cmp(&(&b.created_at, &b.id)));
        Ok((records, errors))
    }

    /// The record whose id is `id`, or the only one whose id starts with it (`rpitr-` may be left out).
    pub fn load(&self, id: &str) -> Result<LabRecord, Error> {
        let (records, _) = self.list()?;
        if let Some(record) = records.iter().find(|record| record.id == id) {
            return Ok(record.clone());
        }
        let starts = |record: &&LabRecord| {
            !id.is_empty()
                && (record.id.starts_with(id)
                    || record
                        .id
                        .strip_prefix("rpitr-")
                        .is_some_and(|short| short.starts_with(id)))
        };
        let matching: Vec<&LabRecord> = records.iter().filter(starts).collect();
        match matching.as_slice() {
            [record] => Ok((*record).clone()),
            [] => Err(Error::UnknownLab {
                id: id.to_string(),
                known: records.iter().map(|record| record.id.clone()).collect(),
            }),
            several => Err(Error::AmbiguousLab {
                id: id.to_string(),
                matching: several.iter().map(|record| record.id.clone()).collect(),
            }),
        }
    }

    /// The ports of all labs.
    pub fn reserved_ports(&self) -> Result<HashSet<u16>, Error> {
        let (records, _) = self.list()?;
        Ok(records
            .iter()
            .flat_map(|record| record.nodes.iter().map(|node| node.port))
            .collect())
    }
}

fn read(path: &Path) -> Result<Option<LabRecord>, Error> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", path)(error)),
    };
    let bad = |reason: String| Error::BadRecord {
        path: path.to_path_buf(),
        reason,
    };
    let record: LabRecord =
        serde_json::from_slice(&text).map_err(|error| bad(error.to_string()))?;
    if record.schema > SCHEMA {
        return Err(bad("a newer version of rpitr wrote it".into()));
    }
    Ok(Some(record))
}

fn sync_dir(dir: &Path) -> std::io::Result<()> {
    std::fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, port: u16) -> LabRecord {
        LabRecord {
            schema: SCHEMA,
            id: id.into(),
            run: "run".into(),
            script: None,
            created_at: "2026-01-01T00:00:00Z".into(),
            owner: ProcessId::own(),
            keep: false,
            user: "postgres".into(),
            uid: 1,
            gid: 1,
            lab_dir: "/l".into(),
            socket_dir: "/s".into(),
            helper: None,
            engine: None,
            run_folder: None,
            archives: 0,
            removing: None,
            nodes: vec![NodeRecord {
                container: None,
                ties: Ties::default(),
                name: "primary".into(),
                role: "primary".into(),
                major: 15,
                version: "15.1".into(),
                bin_dir: "/b".into(),
                dir: "/l/primary".into(),
                data_dir: "/l/primary/data".into(),
                log: "/l/primary/server.log".into(),
                port,
                socket_dir: "/s".into(),
            }],
        }
    }

    #[test]
    fn written_found_by_prefix_removed() {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::new(dir.path().to_path_buf());
        for (id, port) in [("rpitr-aa01", 1), ("rpitr-aa02", 2), ("rpitr-b", 3)] {
            registry.write(&record(id, port)).unwrap();
        }
        assert_eq!(registry.load("rpitr-b").unwrap(), record("rpitr-b", 3));
        assert_eq!(registry.load("aa02").unwrap().id, "rpitr-aa02");
        assert!(matches!(
            registry.load("aa"),
            Err(Error::AmbiguousLab { .. })
        ));
        assert!(matches!(registry.load("x"), Err(Error::UnknownLab { .. })));
        assert!(matches!(registry.load(""), Err(Error::UnknownLab { .. })));
        assert_eq!(registry.reserved_ports().unwrap(), HashSet::from([1, 2, 3]));
        registry.remove("rpitr-b").unwrap();
        registry.remove("rpitr-b").unwrap();
        std::fs::write(dir.path().join("bad.json"), "{").unwrap();
        let (records, errors) = registry.list().unwrap();
        assert_eq!((records.len(), errors.len()), (2, 1));
        assert!(records[0].owner_alive());
    }
}
