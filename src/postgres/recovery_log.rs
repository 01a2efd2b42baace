//! What a recovery did, as the server log tells it. "It came up" is not "it stopped where it was
//! asked": these lines say where it stopped and why.

use super::log::{Level, parse_log};
use crate::wal::Lsn;

/// Where recovery stopped because of its target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoppedAt {
    /// At a commit or abort; `before`: that transaction is not in the result.
    Transaction {
        before: bool,
        committed: bool,
        xid: u32,
        /// As the server prints it, in its `log_timezone`.
        time: String,
    },
    Lsn {
        before: bool,
        lsn: Lsn,
    },
    RestorePoint {
        name: String,
        time: String,
    },
    /// Target `immediate`.
    Consistency,
}

/// The recovery of the last start in a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveryOutcome {
    /// The target as the server understood it (`starting point-in-time recovery to ...`).
    pub target: Option<String>,
    pub standby_mode: bool,
    /// Crash recovery instead of, or before, archive recovery.
    pub crash_recovery: bool,
    pub redo_start: Option<Lsn>,
    pub consistent_at: Option<Lsn>,
    pub stopped: Option<StoppedAt>,
    /// Waiting at the target for `pg_wal_replay_resume()`.
    pub paused: bool,
    pub redo_done: Option<Lsn>,
    pub last_commit_time: Option<String>,
    pub new_timeline: Option<u32>,
    /// Recovery ended and the server opened for writing.
    pub complete: bool,
    /// Files taken from the archive, in order.
    pub restored: Vec<String>,
    /// FATAL: the WAL ended before the target.
    pub target_not_reached: bool,
    /// FATAL: the target lies before the end of the backup.
    pub before_consistency: bool,
    /// Why the server took a place for the end of the WAL: damaged or foreign WAL shows here.
    pub end_of_wal: Vec<String>,
}

impl RecoveryOutcome {
    /// Reads the text of a server log; of several starts in it the last one counts.
    pub fn parse(text: &str) -> Self {
        let mut outcome = RecoveryOutcome::default();
        for entry in parse_log(text) {
            outcome.take(&entry.message, entry.level);
        }
        outcome
    }

    fn take(&mut self, message: &str, level: Level) {
        let after = |start: &str| message.strip_prefix(start);
        if message.starts_with("starting PostgreSQL ") {
            *self = RecoveryOutcome::default();
        } else if let Some(target) = after("starting point-in-time recovery to ") {
            self.target = Some(target.to_string());
        } else if message == "entering standby mode" {
            self.standby_mode = true;
        } else if message.starts_with("database system was not properly shut down") {
            self.crash_recovery = true;
        } else if let Some(at) = after("redo starts at ") {
            self.redo_start = first_lsn(at);
        } else if let Some(at) = after("consistent recovery state reached at ") {
            self.consistent_at = first_lsn(at);
        } else if let Some(what) = after("recovery stopping ") {
            self.stopped = stopped(what);
        } else if message == "recovery has paused" || message == "pausing at the end of recovery" {
            self.paused = true;
        } else if let Some(at) = after("redo done at ") {
            self.redo_done = first_lsn(at);
            self.paused = false;
        } else if let Some(time) = after("last completed transaction was at log time ") {
            self.last_commit_time = Some(time.to_string());
        } else if let Some(timeline) = after("selected new timeline ID: ") {
            self.new_timeline = timeline.trim().parse().ok();
        } else if message == "archive recovery complete" {
            self.complete = true;
        } else if let Some(file) = after("restored log file \"") {
            self.restored
                .extend(file.split_once('"').map(|(name, _)| name.to_string()));
        } else if level >= Level::Fatal {
            self.target_not_reached |=
                message.starts_with("recovery ended before configured recovery target");
            self.before_consistency |=
                message.starts_with("requested recovery stop point is before consistent");
        } else if is_end_of_wal(message) {
            self.end_of_wal.push(message.to_string());
        }
    }
}

fn first_lsn(text: &str) -> Option<Lsn> {
    text.split_whitespace().next()?.parse().ok()
}

/// `after commit of transaction 733, time 2026-...`, `before WAL location (LSN) "0/3"`,
/// `at restore point "x", time ...`, `after reaching consistency`.
fn stopped(text: &str) -> Option<StoppedAt> {
    if text == "after reaching consistency" {
        return Some(StoppedAt::Consistency);
    }
    if let Some(point) = text.strip_prefix("at restore point \"") {
        let (name, time) = point.rsplit_once("\", time ")?;
        return Some(StoppedAt::RestorePoint {
            name: name.to_string(),
            time: time.to_string(),
        });
    }
    let (side, rest) = text.split_once(' ')?;
    let before = side == "before";
    if let Some(lsn) = rest.strip_prefix("WAL location (LSN) \"") {
        let lsn = lsn.trim_end_matches('"').parse().ok()?;
        return Some(StoppedAt::Lsn { before, lsn });
    }
    let (kind, rest) = rest.split_once(" of transaction ")?;
    let (xid, time) = rest.split_once(", time ")?;
    Some(StoppedAt::Transaction {
        before,
        committed: kind == "commit",
        xid: xid.parse().ok()?,
        time: time.to_string(),
    })
}

/// The messages with which the server reports that the WAL cannot be read further.
fn is_end_of_wal(message: &str) -> bool {
    const STARTS: &[&str] = &[
        "invalid record length at ",
        "record with incorrect prev-link ",
        "incorrect resource manager data checksum ",
        "invalid resource manager ID ",
        "invalid magic number ",
        "unexpected pageaddr ",
        "out-of-sequence timeline ID ",
        "WAL file is from different database system",
        "contrecord is requested by ",
        "there is no contrecord flag ",
        "invalid contrecord length ",
        "missing contrecord at ",
        "record length ",
        "invalid info bits ",
        "invalid XLOG page header",
        "could not locate a valid checkpoint record",
    ];
    STARTS.iter().any(|start| message.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_target_and_promotion() {
        let outcome = RecoveryOutcome::parse(
            "\
[1] LOG:  starting PostgreSQL 15.18 on x86_64
[2] LOG:  starting point-in-time recovery to 2026-11-21 07:40:00+00
[2] LOG:  restored log file \"000000010000000000000002\" from archive
[2] LOG:  redo starts at 0/2000028
[2] LOG:  consistent recovery state reached at 0/2000100
[2] LOG:  recovery stopping before commit of transaction 733, time 2026-11-21 07:40:01.5+00
[2] LOG:  recovery has paused
[2] HINT:  Execute pg_wal_replay_resume() to promote.
[2] LOG:  redo done at 0/3000148 system usage: CPU: user: 0.00 s
[2] LOG:  last completed transaction was at log time 2026-11-21 07:39:59+00
[2] LOG:  selected new timeline ID: 2
[2] LOG:  archive recovery complete
",
        );
        assert_eq!(outcome.target.as_deref(), Some("2026-11-21 07:40:00+00"));
        assert_eq!(outcome.consistent_at, Some(Lsn(0x2000100)));
        assert_eq!(
            outcome.stopped,
            Some(StoppedAt::Transaction {
                before: true,
                committed: true,
                xid: 733,
                time: "2026-11-21 07:40:01.5+00".into()
            })
        );
        assert_eq!(outcome.redo_done, Some(Lsn(0x3000148)));
        assert_eq!(outcome.new_timeline, Some(2));
        assert!(outcome.complete && !outcome.paused);
        assert_eq!(outcome.restored, ["000000010000000000000002"]);
    }

    #[test]
    fn other_ways_to_stop() {
        assert_eq!(
            stopped("after WAL location (LSN) \"0/3000060\""),
            Some(StoppedAt::Lsn {
                before: false,
                lsn: Lsn(0x3000060)
            })
        );
        assert_eq!(
            stopped("at restore point \"a\", time x\", time 2026-01-01 00:00:00+00"),
            Some(StoppedAt::RestorePoint {
                name: "a\", time x".into(),
                time: "2026-01-01 00:00:00+00".into()
            })
        );
        assert_eq!(
            stopped("after reaching consistency"),
            Some(StoppedAt::Consistency)
        );
        assert_eq!(stopped("for lunch"), None);
    }

    #[test]
    fn only_the_last_start_counts() {
        let outcome = RecoveryOutcome::parse(
            "\
[1] LOG:  archive recovery complete
[1] LOG:  starting PostgreSQL 15.18 on x86_64
[2] LOG:  invalid record length at 0/3000148: wanted 24, got 0
[2] FATAL:  recovery ended before configured recovery target was reached
",
        );
        assert!(outcome.target_not_reached && !outcome.complete);
        assert_eq!(outcome.end_of_wal.len(), 1);
    }
}
