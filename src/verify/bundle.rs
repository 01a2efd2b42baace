//! The folder a run leaves behind.
//!
//! ```text
//! bundle.json            what was run: server, backups, seed, what a verdict requires
//! schedule.json          the faults, as planned before the run
//! events.jsonl           what happened, and when
//! verification_log.jsonl what the clients know
//! archive/               the WAL
//! received/              what the receiver got of it, if there was one
//! promotions/N.json      a promotion that a fault struck, and promotions/N.tsv.zst: the rows of the new primary
//! final.tsv.zst          the primary's rows at the end
//! restores/N.json        a restore: asked, predicted, what the server said
//! restores/N.tsv.zst     the rows it had
//! ```

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::Error;
use super::goal::Goal;
use crate::wal::Lsn;

#[derive(Debug, Clone, Deserialize)]
pub struct Facts {
    pub schema: u32,
    pub seed: u64,
    pub timeline: u32,
    pub backups: Vec<Backup>,
    /// The WAL is complete up to here.
    #[serde(deserialize_with = "lsn")]
    pub end_lsn: Lsn,
    /// "on" unless the run says that acknowledged commits may be lost in a crash.
    pub synchronous_commit: String,
    /// The server's clock was moved: times prove nothing then.
    #[serde(default)]
    pub clock_moved: bool,
    /// The node that received the WAL, too.
    #[serde(default)]
    pub receiver: Option<String>,
    /// How many targets to judge on the bundle.
    pub targets: usize,
    pub require: Require,
}

impl Facts {
    /// Whether an acknowledged commit must survive a crash.
    pub fn keeps_promises(&self) -> bool {
        self.synchronous_commit != "off"
    }
}

/// Less than this, and a run says nothing.
#[derive(Debug, Clone, Deserialize)]
pub struct Require {
    pub operations: usize,
    pub restores: usize,
    pub faults: usize,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Backup {
    pub label: String,
    #[serde(deserialize_with = "lsn")]
    pub start_lsn: Lsn,
    #[serde(deserialize_with = "lsn")]
    pub stop_lsn: Lsn,
    pub stop_time_us: i64,
}

/// One line of `events.jsonl`; fields of other events are left alone.
#[derive(Debug, Clone, Deserialize)]
pub struct Event {
    pub e: String,
    #[serde(default)]
    pub n: u64,
    #[serde(default)]
    pub kind: String,
    #[serde(default)]
    pub at_us: i64,
    #[serde(default)]
    pub reason: String,
}

/// A real restore.
#[derive(Debug, Clone, Deserialize)]
pub struct Restore {
    pub n: u32,
    /// What was asked of it.
    pub target: Goal,
    /// Why this target was drawn.
    #[serde(default)]
    pub why: String,
    /// Set when it did not come up.
    #[serde(default)]
    pub error: Option<String>,
    #[serde(default)]
    pub backup: Option<String>,
    #[serde(default)]
    pub timeline: Option<u32>,
    /// Where the server left the old timeline.
    #[serde(default, deserialize_with = "lsn_or_none")]
    pub reached: Option<Lsn>,
    /// The last commit it keeps, as predicted from the WAL before it was started.
    #[serde(default)]
    pub predicted_xid: Option<u32>,
    #[serde(default)]
    pub server: Option<ServerStop>,
    #[serde(default)]
    pub state: Option<String>,
}

/// A promotion in the middle of which a fault struck.
#[derive(Debug, Clone, Deserialize)]
pub struct Promotion {
    pub n: u32,
    pub began_us: i64,
    pub struck_us: i64,
    /// When the new primary took writes.
    #[serde(default)]
    pub accepted_us: Option<i64>,
    /// Where its timeline left the primary's.
    #[serde(default, deserialize_with = "lsn_or_none")]
    pub fork_lsn: Option<Lsn>,
    /// Its rows.
    #[serde(default)]
    pub state: Option<String>,
    #[serde(default)]
    pub error: Option<String>,
}

/// The server's own line: "recovery stopping before commit of transaction ...".
#[derive(Debug, Clone, Deserialize)]
pub struct ServerStop {
    pub before: bool,
    #[serde(default)]
    pub xid: Option<u32>,
    #[serde(default)]
    pub committed: bool,
    #[serde(default)]
    pub time_us: Option<i64>,
    #[serde(default, deserialize_with = "lsn_or_none")]
    pub lsn: Option<Lsn>,
}

/// The folder and what its small files say.
#[derive(Debug, Clone)]
pub struct Bundle {
    pub folder: PathBuf,
    pub facts: Facts,
    pub events: Vec<Event>,
    /// In the order of their numbers.
    pub restores: Vec<Restore>,
    pub promotions: Vec<Promotion>,
}

impl Bundle {
    pub fn open(folder: &Path) -> Result<Bundle, Error> {
        Ok(Bundle {
            folder: folder.to_path_buf(),
            facts: json(&folder.join("bundle.json"))?,
            events: lines(&folder.join("events.jsonl"))?,
            restores: numbered(&folder.join("restores"), |restore: &Restore| restore.n)?,
            promotions: numbered(&folder.join("promotions"), |one: &Promotion| one.n)?,
        })
    }

    pub fn log(&self) -> PathBuf {
        self.folder.join("verification_log.jsonl")
    }

    pub fn archive(&self) -> PathBuf {
        self.folder.join("archive")
    }

    /// What the receiver got.
    pub fn received(&self) -> PathBuf {
        self.folder.join("received")
    }

    /// The backup replay starts from.
    pub fn backup(&self, label: Option<&str>) -> Option<&Backup> {
        let backups = &self.facts.backups;
        backups.iter().find(|one| Some(one.label.as_str()) == label)
    }

    /// The newest backup that ends before a position: the one a restore takes.
    pub fn backup_before(&self, fits: impl Fn(&Backup) -> bool) -> Option<&Backup> {
        self.facts.backups.iter().rev().find(|one| fits(one))
    }
}

fn json<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let bytes = std::fs::read(path).map_err(|source| Error::io(path, source))?;
    serde_json::from_slice(&bytes).map_err(|error| Error::format(path, error))
}

fn lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, Error> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(Error::io(path, source)),
    };
    text.lines()
        .map(|line| serde_json::from_str(line).map_err(|error| Error::format(path, error)))
        .collect()
}

/// The descriptions in a folder, in the order of their numbers.
fn numbered<T: DeserializeOwned>(folder: &Path, n: fn(&T) -> u32) -> Result<Vec<T>, Error> {
    let listing = match std::fs::read_dir(folder) {
        Ok(listing) => listing,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(Error::io(folder, source)),
    };
    let mut found = Vec::new();
    for entry in listing {
        let path = entry.map_err(|source| Error::io(folder, source))?.path();
        if path.extension().is_some_and(|end| end == "json") {
            found.push(json(&path)?);
        }
    }
    found.sort_by_key(n);
    Ok(found)
}

fn lsn<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Lsn, D::Error> {
    let text = String::deserialize(from)?;
    text.parse().map_err(serde::de::Error::custom)
}

fn lsn_or_none<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Lsn>, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    text.map(|text| text.parse().map_err(serde::de::Error::custom))
        .transpose()
}
