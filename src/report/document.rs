//! `report.json`: the one source every other report is made from. Its schema is versioned; a field may
//! be added, none changes its meaning without a new version.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The version this program writes.
pub const SCHEMA: u64 = 3;

/// Sorted, so that the same report reads the same twice.
type Map<V> = BTreeMap<String, V>;

/// A run of a drill.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    pub schema: u64,
    pub drill: String,
    pub summary: String,
    /// The file it came from.
    #[serde(default)]
    pub script: Option<String>,
    pub run: String,
    pub seed: i64,
    pub runtime: String,
    /// `pass`, `fail`, `error`, `interrupted` or `timeout`.
    pub verdict: String,
    /// With its UTC offset.
    pub started: String,
    pub finished: String,
    pub seconds: f64,
    #[serde(default)]
    pub arguments: Map<Value>,
    #[serde(default)]
    pub environment: Map<Value>,
    #[serde(default)]
    pub steps: Vec<Step>,
    #[serde(default)]
    pub narration: Vec<Line>,
    #[serde(default)]
    pub metrics: Map<Metric>,
    #[serde(default)]
    pub expectations: Vec<Expectation>,
    #[serde(default)]
    pub checks: Vec<Check>,
    #[serde(default)]
    pub tables: Vec<Table>,
    /// Tables compared before and after; since version 3.
    #[serde(default)]
    pub comparisons: Vec<Comparison>,
    #[serde(default)]
    pub recoveries: Vec<Recovery>,
    /// Measurements over time, by name.
    #[serde(default)]
    pub series: Map<Series>,
    /// Times to mark in the plots: faults, restarts.
    #[serde(default)]
    pub bands: Vec<Band>,
    #[serde(default)]
    pub postgres: Option<PostgresTime>,
    #[serde(default)]
    pub error: Option<RunError>,
    #[serde(default)]
    pub cleanup_failures: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    pub name: String,
    /// Seconds since the run began.
    pub started: f64,
    #[serde(default)]
    pub seconds: f64,
    #[serde(default)]
    pub depth: u32,
    #[serde(default)]
    pub ok: bool,
    #[serde(default)]
    pub error: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    #[serde(default)]
    pub at: f64,
    #[serde(default)]
    pub step: Option<String>,
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// The last one recorded.
    pub value: Value,
    #[serde(default)]
    pub values: Vec<Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    pub text: String,
    #[serde(default)]
    pub value: Option<Value>,
    pub ok: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    pub name: String,
    pub ok: bool,
    #[serde(default)]
    pub detail: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    pub title: String,
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Value>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    pub title: String,
    pub tables: Vec<Compared>,
}

/// What became of the rows of one table. Without counts there were too many rows to tell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compared {
    pub name: String,
    pub before: u64,
    pub after: u64,
    #[serde(default)]
    pub missing: Option<u64>,
    #[serde(default)]
    pub extra: Option<u64>,
    #[serde(default)]
    pub altered: Option<u64>,
    pub same: bool,
    /// The first rows that differ, in words.
    #[serde(default)]
    pub differing: Vec<String>,
}

/// One restore: what was asked, what was reached.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recovery {
    pub node: String,
    pub asked: String,
    pub backup: String,
    pub backup_start_lsn: String,
    pub backup_stop_lsn: String,
    #[serde(default)]
    pub backup_time: Option<String>,
    pub reached_lsn: String,
    #[serde(default)]
    pub last_wal_lsn: Option<String>,
    pub timeline: u32,
    pub parent_timeline: u32,
    #[serde(default)]
    pub last_commit: Option<Commit>,
    /// The first that was not replayed: the incident, when the target is just before it.
    #[serde(default)]
    pub next_commit: Option<Commit>,
    pub why: String,
    #[serde(default)]
    pub wal_files: u64,
    #[serde(default)]
    pub seconds: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commit {
    pub xid: i64,
    pub lsn: String,
    pub time: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Series {
    pub unit: String,
    /// Seconds since the run began, and the value.
    pub points: Vec<(f64, f64)>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Band {
    pub label: String,
    pub from: f64,
    pub to: f64,
}

/// How long PostgreSQL's own programs were at work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresTime {
    pub seconds: f64,
    #[serde(default)]
    pub programs: Vec<Program>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    pub name: String,
    pub count: u64,
    pub seconds: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunError {
    pub kind: String,
    pub message: String,
    #[serde(default)]
    pub code: Option<String>,
    #[serde(default)]
    pub detail: Option<String>,
    #[serde(default)]
    pub hint: Option<String>,
    #[serde(default)]
    pub step: Option<String>,
    #[serde(default, rename = "where")]
    pub place: Option<Value>,
}

impl Document {
    /// A metric as a number.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.metrics.get(name)?.value.as_f64()
    }

    pub fn passed(&self) -> bool {
        self.verdict == "pass"
    }

    /// The parts of the recovery time, in the order they were recorded: `rto_restore`, `rto_swap`.
    pub fn phases(&self) -> Vec<(&str, f64)> {
        let parts = self.metrics.iter().filter_map(|(name, metric)| {
            Some((name.strip_prefix("rto_")?, metric.value.as_f64()?))
        });
        let mut parts: Vec<_> = parts.collect();
        let order = |name: &str| {
            ["restore", "promote", "prove", "swap", "rebuild"]
                .iter()
                .position(|known| *known == name)
        };
        parts.sort_by_key(|(name, _)| order(name).unwrap_or(usize::MAX));
        parts
    }

    /// The recovery point: what was given up, under whichever name the drill recorded it.
    pub fn rpo(&self) -> Option<(&str, f64)> {
        self.metrics.iter().find_map(|(name, metric)| {
            let name = name.as_str();
            (name == "rpo" || name.starts_with("rpo_"))
                .then(|| metric.value.as_f64())?
                .map(|value| (name, value))
        })
    }
}
