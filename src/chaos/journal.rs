//! The undo journal of a lab: a line is on disk before the fault it names happens, and another one when that is
//! healed. Whoever reads it knows what is still to be undone.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Check, Error, Undo};
use crate::runtime::{ProcessId, StateRoot};

const FOLDER: &str = "chaos";
const SUFFIX: &str = "journal";
/// What somebody else's healing may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// The nodes of a lab that faults and probes know by role.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    pub primary: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standby: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receiver: Option<String>,
    /// The primary's archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<PathBuf>,
}

/// A fault and how it is undone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub seq: u64,
    /// As the script gave it: `kind`, `target` and options.
    pub fault: Value,
    /// Undone from the last to the first. Empty: what it did ends with the process.
    #[serde(default)]
    pub undo: Vec<Undo>,
    /// What it acts on (`process:primary`); a probe that needs one of them waits until it is healed.
    #[serde(default)]
    pub uses: Vec<String>,
    /// Milliseconds since the Unix epoch.
    pub began: u64,
    /// When the guardian heals it, if nobody else has.
    pub until: u64,
}

impl Entry {
    /// `pause of primary`
    pub fn describe(&self) -> String {
        let text = |key: &str| self.fault.get(key).and_then(Value::as_str);
        match (text("kind"), text("target")) {
            (Some(kind), Some(target)) => format!("{kind} of {target}"),
            (Some(kind), None) => kind.to_string(),
            _ => format!("fault {}", self.seq),
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
enum Line {
    Opened {
        schema: u32,
        lab: String,
        owner: ProcessId,
    },
    Guardian {
        process: ProcessId,
    },
    Cluster(Cluster),
    Began(Entry),
    Healed {
        seq: u64,
        by: String,
        at: u64,
        millis: u64,
        checks: Vec<Check>,
    },
    Failed {
        seq: u64,
        by: String,
        at: u64,
        reason: String,
    },
}

/// What a journal says.
#[derive(Debug, Clone)]
pub struct State {
    pub lab: String,
    pub owner: ProcessId,
    pub guardian: Option<ProcessId>,
    pub cluster: Cluster,
    /// Faults that are not healed, in the order they began.
    pub active: Vec<Entry>,
}

/// A journal, by its path. Handles of several processes may exist; changes are appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journal {
    path: PathBuf,
}

impl Journal {
    /// Creates the journal of a lab.
    pub fn create(state: &StateRoot, lab: &str) -> Result<Self, Error> {
        let folder = state.path().join(FOLDER);
        std::fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        let journal = Journal::of(state, lab);
        let created = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&journal.path);
        created.map_err(Error::io("create", &journal.path))?;
        let folder_file = File::open(&folder).and_then(|folder| folder.sync_all());
        folder_file.map_err(Error::io("flush", &folder))?;
        journal.append(&Line::Opened {
            schema: 1,
            lab: lab.to_string(),
            owner: ProcessId::own(),
        })?;
        Ok(journal)
    }

    /// The journal of a lab, whether it exists or not.
    pub fn of(state: &StateRoot, lab: &str) -> Self {
        let name = format!("{lab}.{SUFFIX}");
        Journal {
            path: state.path().join(FOLDER).join(name),
        }
    }

    pub fn at(path: &Path) -> Self {
        Journal {
            path: path.to_path_buf(),
        }
    }

    /// The journals of a state root.
    pub fn list(state: &StateRoot) -> Vec<Journal> {
        let entries = std::fs::read_dir(state.path().join(FOLDER)).into_iter();
        let mut paths: Vec<PathBuf> = entries
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|end| end == SUFFIX))
            .collect();
        paths.sort();
        paths.into_iter().map(|path| Journal { path }).collect()
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is still something it may say.
    pub(super) fn exists(&self) -> bool {
        self.path.exists()
    }

    /// Where the guardian writes what went wrong.
    pub(super) fn log(&self) -> PathBuf {
        self.path.with_extension("log")
    }

    fn append(&self, line: &Line) -> Result<(), Error> {
        let write = || -> io::Result<()> {
            // Not created: a journal that was removed is closed for good.
            let mut file = OpenOptions::new().append(true).open(&self.path)?;
            let mut text = serde_json::to_vec(line)?;
            text.push(b'\n');
            file.write_all(&text)?;
            file.sync_data()
        };
        write().map_err(Error::io("write", &self.path))
    }

    pub fn set_cluster(&self, cluster: &Cluster) -> Result<(), Error> {
        self.append(&Line::Cluster(cluster.clone()))
    }

    pub(super) fn set_guardian(&self) -> Result<(), Error> {
        self.append(&Line::Guardian {
            process: ProcessId::own(),
        })
    }

    /// Names a fault. When this returns, the fault may happen.
    pub fn begin(&self, entry: &Entry) -> Result<(), Error> {
        self.append(&Line::Began(entry.clone()))
    }

    pub(super) fn healed(
        &self,
        seq: u64,
        by: &str,
        took: Duration,
        checks: &[Check],
    ) -> Result<(), Error> {
        self.append(&Line::Healed {
            seq,
            by: by.to_string(),
            at: now(),
            millis: took.as_millis() as u64,
            checks: checks.to_vec(),
        })
    }

    pub(super) fn failed(&self, seq: u64, by: &str, reason: &str) -> Result<(), Error> {
        self.append(&Line::Failed {
            seq,
            by: by.to_string(),
            at: now(),
            reason: reason.to_string(),
        })
    }

    /// What it says; `None` when there is none any more, or nothing was ever written to it.
    pub fn read(&self) -> Result<Option<State>, Error> {
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", &self.path)(error)),
        };
        let mut state: Option<State> = None;
        for (index, line) in text.split_inclusive('\n').enumerate() {
            // A line without an end was being written when its writer died: its fault never happened.
            let Some(line) = line.strip_suffix('\n') else {
                break;
            };
            let line = serde_json::from_str(line).map_err(|error| Error::BadJournal {
                path: self.path.clone(),
                line: index + 1,
                reason: error.to_string(),
            })?;
            apply(&mut state, line);
        }
        Ok(state)
    }

    /// Removes it: nothing is left to heal.
    pub fn remove(&self) -> Result<(), Error> {
        for path in [self.path.clone(), self.log()] {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", &path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Only one process heals at a time; `None` when there is no journal any more.
    pub(super) async fn lock(&self) -> Result<Option<Flock<File>>, Error> {
        let began = Instant::now();
        loop {
            let file = match File::open(&self.path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(Error::io("open", &self.path)(error)),
            };
            if let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                // It may have been removed while this waited.
                return Ok(self.path.exists().then_some(lock));
            }
            if began.elapsed() > PATIENCE {
                return Err(Error::Busy {
                    path: self.path.clone(),
                    seconds: PATIENCE.as_secs(),
                });
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn apply(state: &mut Option<State>, line: Line) {
    if let Line::Opened { lab, owner, .. } = line {
        *state = Some(State {
            lab,
            owner,
            guardian: None,
            cluster: Cluster::default(),
            active: Vec::new(),
        });
        return;
    }
    let Some(state) = state else { return };
    match line {
        Line::Guardian { process } => state.guardian = Some(process),
        Line::Cluster(cluster) => state.cluster = cluster,
        Line::Began(entry) => state.active.push(entry),
        Line::Healed { seq, .. } => state.active.retain(|entry| entry.seq != seq),
        Line::Opened { .. } | Line::Failed { .. } => {}
    }
}

/// Milliseconds since the Unix epoch.
pub(super) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::ServerUser;

    fn entry(seq: u64) -> Entry {
        Entry {
            seq,
            fault: serde_json::json!({ "kind": "pause", "target": "primary" }),
            undo: vec![Undo::Resume {
                node: "primary".into(),
            }],
            uses: vec!["process:primary".into()],
            began: 1,
            until: 2,
        }
    }

    fn journal(folder: &Path) -> Journal {
        let state = StateRoot::prepare(&folder.join("state"), &ServerUser::myself()).unwrap();
        Journal::create(&state, "rpitr-1").unwrap()
    }

    #[test]
    fn what_is_not_healed_is_active() {
        let folder = tempfile::tempdir().unwrap();
        let journal = journal(folder.path());
        for seq in 1..=3 {
            journal.begin(&entry(seq)).unwrap();
        }
        journal.healed(2, "script", Duration::ZERO, &[]).unwrap();
        journal.failed(3, "guardian", "no").unwrap();
        let state = journal.read().unwrap().unwrap();
        assert_eq!(state.active, [entry(1), entry(3)]);
        assert_eq!(state.active[0].describe(), "pause of primary");
        assert_eq!(state.owner, ProcessId::own());
        journal.remove().unwrap();
        assert!(journal.read().unwrap().is_none());
        assert!(journal.begin(&entry(4)).is_err(), "a removed one is closed");
    }

    #[test]
    fn a_torn_line_is_a_fault_that_never_happened_and_a_damaged_one_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let journal = journal(folder.path());
        journal.begin(&entry(1)).unwrap();
        let mut text = std::fs::read_to_string(journal.path()).unwrap();
        text.push_str("{\"line\":\"began\",\"seq\":2");
        std::fs::write(journal.path(), &text).unwrap();
        assert_eq!(journal.read().unwrap().unwrap().active, [entry(1)]);
        text.push('\n');
        std::fs::write(journal.path(), &text).unwrap();
        assert!(matches!(
            journal.read(),
            Err(Error::BadJournal { line: 3, .. })
        ));
    }
}
