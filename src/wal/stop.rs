//! What a recovery with a given target will do, computed from the WAL.
//!
//! This follows `recoveryStopsBefore` and `recoveryStopsAfter` in PostgreSQL's `xlogrecovery.c`
//! (`xlog.c` before 15) record by record, so the answer can be compared with what the server did:
//! the switch point in the new timeline's history file is [`Stop::switchpoint`].

use super::xact::Xact;
use super::{End, Lsn};
use crate::failure::{Failure, Kind};

/// Where recovery is asked to stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Unix microseconds, compared with the ends of transactions only.
    Time(i64),
    /// A top-level transaction.
    Xid(u32),
    /// Compared with the *start* of records.
    Lsn(Lsn),
    /// A restore point.
    Name(String),
    /// As soon as the backup is consistent.
    Immediate,
    /// The last valid record.
    Latest,
}

/// What recovery starts from and is asked for.
#[derive(Debug, Clone)]
pub struct StopRequest {
    pub target: Target,
    /// `recovery_target_inclusive`; on by default in PostgreSQL.
    pub inclusive: bool,
    /// Where replay starts: the redo position of the backup's checkpoint.
    pub start: Lsn,
    /// The backup's stop position, before which no state is consistent.
    pub consistent: Lsn,
    /// When the backup ended. Given, a time target before it is refused; PostgreSQL accepts one
    /// when nothing committed during the backup, and stops too late.
    pub backup_stop_time: Option<i64>,
}

/// Where recovery stops and what that keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// The start of the first record that is not replayed; `None` when no record follows.
    pub stop_lsn: Option<Lsn>,
    /// The end of the last replayed record: where the new timeline branches off.
    pub switchpoint: Lsn,
    /// The start of the last replayed record: as an LSN target, inclusive, it stops here.
    pub last_record: Option<Lsn>,
    pub last_replayed_commit: Option<Xact>,
    /// The first commit that is lost.
    pub next_commit: Option<Xact>,
    pub timeline: u32,
    /// The rule that stopped recovery, in words.
    pub why: String,
}

/// Why recovery will not stop where it was asked to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the target is not reached: the WAL ends at {last_lsn}")]
    NotReached {
        /// The end of the last record.
        last_lsn: Lsn,
        last_record: Option<Lsn>,
        last_commit: Option<Xact>,
        /// The restore points that do exist.
        restore_points: Vec<String>,
        end: Box<End>,
    },
    #[error("the target {at} lies before the end of the backup ({consistent})")]
    BeforeConsistent { at: Lsn, consistent: Lsn },
    #[error("the target time lies before the end of the backup")]
    BeforeBackupStop { target_us: i64, backup_stop_us: i64 },
    #[error("transaction {xid} is a subtransaction of {top}, which committed at {commit}")]
    Subtransaction { xid: u32, top: u32, commit: Lsn },
    #[error("{} restore points are named \"{name}\": {}", at.len(), list(at))]
    AmbiguousName { name: String, at: Vec<Lsn> },
    #[error("{0}")]
    Damage(Box<End>),
}

fn list(at: &[Lsn]) -> String {
    at.iter().map(Lsn::to_string).collect::<Vec<_>>().join(", ")
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let failure = Failure::new(Kind::Wal, refusal.to_string());
        match refusal {
            Refusal::NotReached {
                last_commit,
                restore_points,
                ..
            } => {
                let failure = failure.code("not_reached").hint(
                    "choose an earlier target, or `latest` for the last record that was archived",
                );
                match (last_commit, restore_points.is_empty()) {
                    (_, false) => failure.detail(format!(
                        "restore points in this WAL: {}",
                        restore_points.join(", ")
                    )),
                    (Some(commit), _) => failure.detail(format!(
                        "the last commit is transaction {} at {}",
                        commit.xid, commit.start
                    )),
                    (None, _) => failure.detail("no transaction ends in this WAL"),
                }
            }
            Refusal::BeforeConsistent { .. } | Refusal::BeforeBackupStop { .. } => failure
                .code("before_consistent")
                .hint("use an older base backup, or a later target"),
            Refusal::Subtransaction { top, .. } => failure
                .code("subtransaction")
                .hint(format!("use the top-level transaction {top} as the target")),
            Refusal::AmbiguousName { .. } => failure
                .code("ambiguous_name")
                .hint("use one of these positions as an LSN target"),
            Refusal::Damage(end) => (*end).into(),
        }
    }
}

mod walk;

pub use walk::stop_point;
