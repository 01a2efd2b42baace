//! What must hold of the run as a whole, whatever the targets: the primary's last state, the clients
//! and the WAL agree with each other.

use super::history::{History, Op, Outcome};
use super::order::Order;
use super::state::State;

/// Rows against what they should be. Operations are listed in the order they were found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diff {
    /// Expected, and not there.
    pub lost: Vec<i64>,
    /// There, and not expected.
    pub phantom: Vec<i64>,
    /// There more than once.
    pub duplicate: Vec<i64>,
    /// Some rows of the transaction are missing.
    pub torn: Vec<i64>,
    /// Complete, with other content.
    pub altered: Vec<i64>,
}

impl Diff {
    pub fn named(&self) -> [(&'static str, &Vec<i64>); 5] {
        [
            ("lost", &self.lost),
            ("phantom", &self.phantom),
            ("duplicate", &self.duplicate),
            ("torn", &self.torn),
            ("altered", &self.altered),
        ]
    }

    /// What differs, in words; one line a kind.
    pub fn problems(&self) -> Vec<String> {
        let differing = self.named().into_iter().filter(|(_, ops)| !ops.is_empty());
        differing
            .map(|(name, ops)| format!("{} {name}: operation {}", ops.len(), some(ops)))
            .collect()
    }
}

/// The first few of a list.
pub fn some(ops: &[i64]) -> String {
    let shown: Vec<_> = ops.iter().take(3).map(i64::to_string).collect();
    let more = if ops.len() > shown.len() { ", ..." } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// Compares rows with the operations that should be there, by content.
pub fn compare(state: &State, history: &History, expected: impl Fn(&Op) -> bool) -> Diff {
    let mut diff = Diff::default();
    let count = state.count();
    for op in &history.ops {
        if expected(op) && !count.contains_key(&op.op) {
            diff.lost.push(op.op);
        }
    }
    let mut last = None;
    for row in &state.rows {
        let again = last == Some(row.op);
        last = Some(row.op);
        if again {
            continue;
        }
        if count.get(&row.op).is_some_and(|times| *times > 1) {
            diff.duplicate.push(row.op);
        }
        let Some(op) = history.get(row.op).filter(|op| expected(op)) else {
            diff.phantom.push(row.op);
            continue;
        };
        if row.xid.is_none() || row.found != op.items || row.items != Some(op.items) {
            diff.torn.push(row.op);
        } else if row.hash.as_ref() != Some(&op.hash) {
            diff.altered.push(row.op);
        }
    }
    diff
}

fn list(problem: &str, ops: Vec<i64>) -> Option<String> {
    (!ops.is_empty()).then(|| format!("{} {problem}: operation {}", ops.len(), some(&ops)))
}

fn pick(history: &History, wanted: impl Fn(&Op) -> bool) -> Vec<i64> {
    let found = history.ops.iter().filter(|op| wanted(op));
    found.map(|op| op.op).collect()
}

/// Acknowledged means there, refused means not there: on the primary itself.
pub fn acknowledged(history: &History, last: &State) -> Vec<String> {
    let count = last.count();
    let present = |op: &Op| count.contains_key(&op.op);
    let problems = [
        list(
            "acknowledged, but not on the primary",
            pick(history, |op| op.is_ok() && !present(op)),
        ),
        list(
            "refused, but on the primary",
            pick(history, |op| op.outcome == Outcome::Failed && present(op)),
        ),
    ];
    problems.into_iter().flatten().collect()
}

/// Every row of the primary is whole, and as its client wrote it.
pub fn content(history: &History, last: &State) -> Vec<String> {
    let count = last.count();
    compare(last, history, |op| count.contains_key(&op.op)).problems()
}

/// The WAL holds the commit of every row, and where the client saw it.
pub fn commits(history: &History, last: &State, order: &Order, clock_moved: bool) -> Vec<String> {
    let count = last.count();
    let ending = |op: &Op| op.commit.and_then(|at| order.endings.get(at));
    let outside_of = |op: &Op| match (op.outcome, ending(op)) {
        (Outcome::Ok { xid, low, high, .. }, Some(ending)) => {
            let xact = &ending.xact;
            u64::from(xact.xid) != xid & 0xFFFF_FFFF
                || xact.start < low
                || high.is_some_and(|high| xact.start >= high)
        }
        _ => false,
    };
    let mistimed = |op: &Op| match (op.outcome, ending(op)) {
        (Outcome::Ok { clock, after, .. }, Some(ending)) => {
            let us = ending.xact.unix_us;
            // Servers before 14 count in floating point: a microsecond either way.
            us < clock - 1 || after.is_some_and(|after| us > after + 1)
        }
        _ => false,
    };
    let problems = [
        list(
            "on the primary, but the WAL does not hold the commit",
            pick(history, |op| {
                op.commit.is_none() && count.contains_key(&op.op)
            }),
        ),
        list(
            "committed at a position or by a transaction other than the client saw",
            pick(history, outside_of),
        ),
        list(
            "stamped outside of the interval the client saw",
            pick(history, |op| !clock_moved && mistimed(op)),
        ),
    ];
    problems.into_iter().flatten().collect()
}

/// Without any clock of a server: what was acknowledged before another operation was sent commits
/// before it, and a writer's operations commit in the order it sent them.
pub fn real_time(history: &History) -> Vec<String> {
    let committed: Vec<_> = history.ops.iter().filter(|o| o.commit.is_some()).collect();
    let mut answers: Vec<_> = committed.iter().filter(|op| op.is_ok()).collect();
    answers.sort_by_key(|op| op.ended);
    let mut sends = committed.clone();
    sends.sort_by_key(|op| op.sent);
    let (mut at, mut latest, mut wrong) = (0, None, Vec::new());
    for op in sends {
        while let Some(answer) = answers
            .get(at)
            .filter(|answer| answer.ended < Some(op.sent))
        {
            latest = latest.max(answer.commit);
            at += 1;
        }
        if latest > op.commit {
            wrong.push(op.op);
        }
    }
    list(
        "sent after another was acknowledged, but committed before it",
        wrong,
    )
    .into_iter()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::Lsn;

    fn op(number: i64, sent: i64, ended: i64, commit: usize) -> Op {
        Op {
            op: number,
            writer: 1,
            seq: number as u64,
            items: 1,
            hash: format!("h{number}"),
            sent,
            ended: Some(ended),
            outcome: Outcome::Ok {
                xid: 1,
                low: Lsn(0),
                high: None,
                clock: sent,
                after: None,
            },
            commit: Some(commit),
        }
    }

    #[test]
    fn reordered_commits_are_found() {
        let mut history = History::default();
        history.ops = vec![op(1, 0, 10, 0), op(2, 20, 30, 1), op(3, 25, 40, 2)];
        assert!(real_time(&history).is_empty());
        history.ops[0].commit = Some(1);
        history.ops[1].commit = Some(0);
        assert_eq!(real_time(&history).len(), 1);
        // Those that overlapped may commit in either order.
        history.ops[0].commit = Some(0);
        history.ops[1].commit = Some(2);
        history.ops[2].commit = Some(1);
        assert!(real_time(&history).is_empty());
    }
}
