//! What must hold of the run as a whole, whatever the targets: the primary's last state, the clients
//! and the WAL agree with each other.

use super::history::{History, Op, Outcome};
use super::order::Order;
use super::state::State;
use crate::wal::Lsn;

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

/// Acknowledged means there, on the primary itself.
pub fn acknowledged(history: &History, last: &State) -> Vec<String> {
    let count = last.count();
    let lost = pick(history, |op| op.is_ok() && !count.contains_key(&op.op));
    list("acknowledged, but not on the primary", lost)
        .into_iter()
        .collect()
}

/// Refused means not there.
pub fn refused(history: &History, last: &State) -> Vec<String> {
    let count = last.count();
    let there = |op: &Op| op.outcome == Outcome::Failed && count.contains_key(&op.op);
    list("refused, but on the primary", pick(history, there))
        .into_iter()
        .collect()
}

/// What survived of one life of the server.
#[derive(Debug, Clone, Copy, Default)]
struct Life {
    last_commit: Lsn,
    last_sent: i64,
}

/// With `synchronous_commit = off` a crash may take acknowledged commits, but only the last ones of the server's life:
/// the WAL is written in order, so whatever survives has everything in front of it. Finds those that were lost although
/// something behind them survived the same crash. Clocks of servers play no part in it.
pub fn losses(history: &History, order: &Order) -> Vec<String> {
    let mut lives: Vec<Life> = Vec::new();
    // Commits that survived, by when they were acknowledged, each with the latest life up to it.
    let mut answered: Vec<(i64, usize)> = Vec::new();
    for op in &history.ops {
        let Some(ending) = op.commit.and_then(|at| order.endings.get(at)) else {
            continue;
        };
        let at = order.life(ending.xact.start);
        lives.resize(lives.len().max(at + 1), Life::default());
        let life = &mut lives[at];
        life.last_commit = life.last_commit.max(ending.xact.start);
        life.last_sent = life.last_sent.max(op.sent);
        if let (true, Some(ended)) = (op.is_ok(), op.ended) {
            answered.push((ended, at));
        }
    }
    answered.sort_unstable();
    let mut latest = 0;
    for (_, life) in &mut answered {
        latest = latest.max(*life);
        *life = latest;
    }
    let out_of_order = |op: &Op| {
        let Outcome::Ok { high, .. } = op.outcome else {
            return false;
        };
        if op.commit.is_some() {
            return false;
        }
        // It was lost in this life or in a later one of which nothing in front of it is known.
        let before = answered.partition_point(|(ended, _)| *ended < op.sent);
        let at = before.checked_sub(1).map_or(0, |last| answered[last].1);
        lives.get(at).is_some_and(|life| {
            high.is_some_and(|high| life.last_commit >= high) || op.ended < Some(life.last_sent)
        })
    };
    let what = "acknowledged and lost, although a later commit survived the same crash";
    list(what, pick(history, out_of_order))
        .into_iter()
        .collect()
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
    use super::super::order::tests::order_with_restarts;
    use super::*;

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

    /// Operations 1 to 6, one after another, at 0x100 to 0x600; those of `lost` did not survive.
    fn crashed(restarts: &[u64], lost: &[i64]) -> Vec<String> {
        let order = order_with_restarts(&[10, 20, 30, 40, 50, 60], restarts);
        let mut history = History::default();
        for number in 1..=6 {
            let mut one = op(number, number * 10, number * 10 + 5, number as usize - 1);
            one.commit = one.commit.filter(|_| !lost.contains(&number));
            let at = number as u64 * 0x100;
            one.outcome = Outcome::Ok {
                xid: number as u64,
                low: Lsn(at - 0x10),
                high: Some(Lsn(at + 0x20)),
                clock: number,
                after: None,
            };
            history.ops.push(one);
        }
        losses(&history, &order)
    }

    #[test]
    fn what_a_crash_takes_is_the_end_of_a_life() {
        assert!(crashed(&[], &[]).is_empty());
        // Nothing is known behind them.
        assert!(crashed(&[], &[5, 6]).is_empty());
        // The server came back behind 3 and wrote over what it had lost.
        assert!(crashed(&[0x380], &[]).is_empty());
        assert!(crashed(&[0x450], &[4]).is_empty());
        assert!(crashed(&[0x350, 0x550], &[3, 5]).is_empty());
        for (restarts, lost) in [
            (vec![], vec![3]),
            (vec![0x550], vec![3]),
            (vec![0x250], vec![4]),
            (vec![0x350, 0x550], vec![2, 5]),
        ] {
            let found = crashed(&restarts, &lost);
            assert_eq!(found.len(), 1, "{restarts:?} {lost:?}: {found:?}");
        }
    }
}
