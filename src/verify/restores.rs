//! One real restore against both oracles.

use serde::Serialize;

use super::bundle::{Bundle, Restore, ServerStop};
use super::checks::{compare, some};
use super::error::Error;
use super::goal::{Goal, Target};
use super::history::{History, Op, Outcome};
use super::order::{Cut, Order};
use super::state::State;

/// What became of a restore.
#[derive(Debug, Clone, Serialize)]
pub struct Restored {
    pub n: u32,
    pub target: String,
    pub kind: &'static str,
    pub why: String,
    /// Operations that should be there.
    pub expected: usize,
    pub rows: usize,
    pub lost: usize,
    pub phantom: usize,
    pub duplicate: usize,
    pub torn: usize,
    pub altered: usize,
    /// Empty when it is exactly what was asked for.
    pub problems: Vec<String>,
}

/// What all restores of a run are judged by.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    pub bundle: &'a Bundle,
    pub order: &'a Order,
    pub history: &'a History,
}

impl Known<'_> {
    /// Judges one; the rows are given back for comparison with other restores.
    pub fn judge(&self, restore: &Restore) -> Result<(Restored, Option<State>), Error> {
        let mut judged = Restored {
            n: restore.n,
            target: restore.target.to_string(),
            kind: restore.target.kind(),
            why: restore.why.clone(),
            expected: 0,
            rows: 0,
            lost: 0,
            phantom: 0,
            duplicate: 0,
            torn: 0,
            altered: 0,
            problems: Vec::new(),
        };
        if let Some(error) = &restore.error {
            judged.problems.push(format!("it did not come up: {error}"));
            return Ok((judged, None));
        }
        let backup = self.bundle.backup(restore.backup.as_deref());
        let cut = backup.and_then(|one| self.order.cut(&restore.target, one.start_lsn));
        let (Some(cut), Some(file)) = (cut, &restore.state) else {
            let what = match backup {
                None => "it names no backup of the run",
                Some(_) if restore.state.is_none() => "its rows were not written down",
                Some(_) => "its target is not reached in the WAL, and yet it came up",
            };
            judged.problems.push(what.into());
            return Ok((judged, None));
        };
        let state = State::read(&self.bundle.folder.join("restores").join(file))?;
        self.rows(&state, cut, &mut judged);
        judged.problems.extend(self.place(restore, cut));
        judged.problems.extend(self.clients(restore, &state));
        Ok((judged, Some(state)))
    }

    /// The rows are exactly those of the transactions that are kept.
    fn rows(&self, state: &State, cut: Cut, judged: &mut Restored) {
        let kept = |op: &Op| op.commit.is_some_and(|at| at < cut.kept);
        judged.expected = self.history.ops.iter().filter(|op| kept(op)).count();
        judged.rows = state.rows.len();
        let diff = compare(state, self.history, kept);
        judged.lost = diff.lost.len();
        judged.phantom = diff.phantom.len();
        judged.duplicate = diff.duplicate.len();
        judged.torn = diff.torn.len();
        judged.altered = diff.altered.len();
        judged.problems.extend(diff.problems());
    }

    /// The server stopped where the order of the WAL says, and says so itself.
    fn place(&self, restore: &Restore, cut: Cut) -> Vec<String> {
        let mut problems = Vec::new();
        let endings = &self.order.endings;
        let (last, next) = (
            endings[..cut.kept].last().map(|e| e.xact),
            endings.get(cut.kept).map(|e| e.xact),
        );
        if restore.timeline != Some(self.bundle.facts.timeline) {
            problems.push(format!(
                "it followed timeline {}, the run wrote timeline {}",
                restore.timeline.unwrap_or(0),
                self.bundle.facts.timeline
            ));
        }
        match restore.reached {
            Some(reached)
                if last.is_none_or(|last| last.end <= reached)
                    && next.is_none_or(|next| reached <= next.start) => {}
            reached => problems.push(format!(
                "it left the old timeline at {}, which is not between the last transaction that is kept and the first that is not",
                reached.map_or("no known position".into(), |lsn| lsn.to_string())
            )),
        }
        // A plan reads the WAL from its backup on, and knows no commit in front of it.
        let redo = self.bundle.backup(restore.backup.as_deref());
        let known = |xact: &&crate::wal::Xact| redo.is_none_or(|b| xact.start >= b.start_lsn);
        let commit = self.order.last_commit(cut.kept).filter(known);
        let commit = commit.map(|xact| xact.xid);
        if restore.predicted_xid != commit {
            problems.push(format!(
                "the plan said the last commit would be of transaction {}, the order of the WAL says {}",
                number(restore.predicted_xid),
                number(commit)
            ));
        }
        match &restore.server {
            None => problems.push("the server's log has no line that says where it stopped".into()),
            Some(server) => problems.extend(self.server_line(&restore.target, server, cut)),
        }
        problems
    }

    fn server_line(&self, goal: &Goal, server: &ServerStop, cut: Cut) -> Option<String> {
        let stop = cut.stop.and_then(|at| self.order.endings.get(at));
        let agrees = match (goal.target, stop) {
            (Target::Time(_) | Target::Xid(_), Some(stop)) => {
                let before = matches!(goal.target, Target::Time(_)) || !goal.inclusive;
                server.before == before
                    && server.xid == Some(stop.xact.xid)
                    && server.committed == stop.xact.kind.is_commit()
                    && server.time_us == Some(stop.xact.unix_us)
            }
            (Target::Lsn(lsn), _) => {
                server.before != goal.inclusive && server.lsn.is_some_and(|at| at >= lsn)
            }
            _ => server.lsn.is_some(),
        };
        (!agrees).then(|| {
            format!(
                "the server says it stopped {} {}, the order of the WAL says {}",
                if server.before { "before" } else { "after" },
                match (server.xid, server.lsn) {
                    (Some(xid), _) => format!("transaction {xid}"),
                    (_, Some(lsn)) => format!("position {lsn}"),
                    _ => "an unknown place".into(),
                },
                match stop {
                    Some(stop) => format!("at transaction {}", stop.xact.xid),
                    None => goal.to_string(),
                }
            )
        })
    }

    /// What the clients know, row by row.
    fn clients(&self, restore: &Restore, state: &State) -> Vec<String> {
        let (history, count) = (self.history, state.count());
        let present = |op: &Op| count.contains_key(&op.op);
        let ops = || history.ops.iter();
        let mut problems = Vec::new();
        let mut report = |found: Vec<i64>, what: &str, spare: usize| {
            if found.len() > spare {
                problems.push(format!(
                    "{} {what}: operation {}",
                    found.len(),
                    some(&found)
                ));
            }
        };
        let pick = |wanted: &dyn Fn(&Op) -> bool| -> Vec<i64> {
            ops().filter(|op| wanted(op)).map(|op| op.op).collect()
        };
        let kept_promises = self.bundle.facts.keeps_promises();
        // What a crash may take is judged as a whole, by `checks::losses`.
        let owed = |op: &Op| kept_promises || op.commit.is_some();
        match restore.target.target {
            Target::Time(us) if !self.bundle.facts.clock_moved => {
                let must = |op: &Op| owed(op) && history.latest(op).is_some_and(|at| at < us);
                let must_not = |op: &Op| history.earliest(op) > us;
                let what = "acknowledged before the target, and missing";
                report(pick(&|op| must(op) && !present(op)), what, 0);
                let what = "begun to commit after the target, and there";
                report(pick(&|op| must_not(op) && present(op)), what, 0);
            }
            Target::Lsn(lsn) => {
                let over = |op: &Op| {
                    owed(op)
                        && matches!(op.outcome, Outcome::Ok { high: Some(high), .. } if high <= lsn)
                };
                let ahead = |op: &Op| matches!(op.outcome, Outcome::Ok { low, .. } if low >= lsn);
                let what = "committed in front of the target, and missing";
                report(pick(&|op| over(op) && !present(op)), what, 0);
                let spare = usize::from(restore.target.inclusive);
                let what = "committed behind the target, and there";
                report(pick(&|op| ahead(op) && present(op)), what, spare);
            }
            _ => {}
        }
        // What is there has a past: everything acknowledged before any of it was sent.
        let newest = ops().filter(|op| present(op)).map(|op| op.sent).max();
        let past = |op: &Op| op.is_ok() && owed(op) && op.ended < newest && !present(op);
        let what = "acknowledged before one was sent that is there, and missing";
        report(pick(&past), what, 0);
        problems
    }
}

fn number(xid: Option<u32>) -> String {
    xid.map_or("none".into(), |xid| xid.to_string())
}
