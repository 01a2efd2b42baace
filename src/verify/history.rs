//! What the clients know: every operation, how it ended for them, and what became of it.

use std::collections::HashMap;
use std::path::Path;

use super::error::Error;
use super::order::Order;
use super::state::State;
use crate::wal::Lsn;
use crate::workload::{Line, read_log};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// COMMIT was answered.
    Ok {
        xid: u64,
        low: Lsn,
        high: Option<Lsn>,
        clock: i64,
        after: Option<i64>,
    },
    /// It never happened.
    Failed,
    /// No answer, a warning, or the writer died first.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op {
    pub op: i64,
    pub writer: u32,
    pub seq: u64,
    pub items: u32,
    pub hash: String,
    pub sent: i64,
    /// When the answer was read.
    pub ended: Option<i64>,
    pub outcome: Outcome,
    /// Its place among the endings of the WAL, once [`History::resolve`] has found it.
    pub commit: Option<usize>,
}

impl Op {
    pub fn is_ok(&self) -> bool {
        matches!(self.outcome, Outcome::Ok { .. })
    }
}

#[derive(Debug, Clone, Default)]
pub struct History {
    pub ops: Vec<Op>,
    by_op: HashMap<i64, usize>,
    /// How far the server's clock lags the writers': at most 0.
    pub skew: i64,
    /// How often writers were started: once more each time rpitr was killed while they worked.
    pub epochs: usize,
}

impl History {
    pub fn read(path: &Path) -> Result<History, Error> {
        let mut history = History::default();
        for line in read_log(path)? {
            history
                .take(line)
                .map_err(|reason| Error::format(path, reason))?;
        }
        let lag = |op: &Op| match op.outcome {
            Outcome::Ok { clock, .. } => clock - op.sent,
            _ => 0,
        };
        history.skew = history.ops.iter().map(lag).min().unwrap_or(0).min(0);
        Ok(history)
    }

    fn take(&mut self, line: Line) -> Result<(), String> {
        let (op, outcome, at) = match line {
            Line::Begin { .. } => {
                self.epochs += 1;
                return Ok(());
            }
            Line::End { .. } => return Ok(()),
            Line::Send {
                op,
                writer,
                seq,
                items,
                hash,
                at,
                ..
            } => {
                let entry = Op {
                    op,
                    writer,
                    seq,
                    items,
                    hash,
                    sent: at,
                    ended: None,
                    outcome: Outcome::Unknown,
                    commit: None,
                };
                return match self.by_op.insert(op, self.ops.len()) {
                    None => {
                        self.ops.push(entry);
                        Ok(())
                    }
                    Some(_) => Err(format!("operation {op} was sent twice")),
                };
            }
            Line::Ok {
                op,
                xid,
                low,
                high,
                clock,
                after,
                at,
            } => (
                op,
                Outcome::Ok {
                    xid,
                    low,
                    high,
                    clock,
                    after,
                },
                at,
            ),
            Line::Fail { op, at, .. } => (op, Outcome::Failed, at),
            Line::Info { op, at, .. } => (op, Outcome::Unknown, at),
        };
        let index = self.by_op.get(&op);
        let entry = index.and_then(|index| self.ops.get_mut(*index));
        let entry = entry.ok_or_else(|| format!("operation {op} ended, but was never sent"))?;
        if entry.ended.is_some() {
            return Err(format!("operation {op} ended twice"));
        }
        (entry.outcome, entry.ended) = (outcome, Some(at));
        Ok(())
    }

    pub fn get(&self, op: i64) -> Option<&Op> {
        self.by_op.get(&op).and_then(|index| self.ops.get(*index))
    }

    /// Finds the commit of each operation: by the transaction the row of the primary's final state
    /// names. An indeterminate operation is never looked up by the transaction id its client saw:
    /// after a crash the server may have given that id to another one.
    pub fn resolve(&mut self, last: &State, order: &Order) {
        for row in &last.rows {
            let index = self.by_op.get(&row.op);
            let commit = row.xid.and_then(|xid| order.commit_of(xid));
            if let (Some(op), Some(commit)) = (index.and_then(|i| self.ops.get_mut(*i)), commit) {
                op.commit = Some(commit);
            }
        }
    }

    /// Earliest moment, by the server's clock, at which the operation can have committed.
    pub fn earliest(&self, op: &Op) -> i64 {
        match op.outcome {
            Outcome::Ok { clock, .. } => clock,
            _ => op.sent + self.skew,
        }
    }

    /// Latest moment; none unless the commit was answered.
    pub fn latest(&self, op: &Op) -> Option<i64> {
        match op.outcome {
            Outcome::Ok { after, .. } => after.or(op.ended),
            _ => None,
        }
    }
}
