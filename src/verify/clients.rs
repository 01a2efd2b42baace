//! The second oracle: the clients' log alone, without a look at the WAL.
//!
//! By one server's clock, or by positions in its WAL: what was over before the target must be there,
//! what had not begun to commit must not, and what lies between may be.

use super::history::{History, Op, Outcome};

/// Bounds of every commit on one axis, a clock or WAL positions, and its place in the WAL's order.
#[derive(Debug)]
pub struct Axis {
    /// Upper bounds, ascending, each with the largest place up to it.
    must: Vec<(i64, usize)>,
    /// Lower bounds, ascending, each with the smallest place from it on.
    must_not: Vec<(i64, usize)>,
}

impl Axis {
    pub fn of_times(history: &History) -> Axis {
        let upper = |op: &Op| history.latest(op);
        let lower = |op: &Op| Some(history.earliest(op));
        Axis::new(history, upper, lower)
    }

    pub fn of_positions(history: &History) -> Axis {
        let upper = |op: &Op| match op.outcome {
            Outcome::Ok { high, .. } => high.map(|lsn| lsn.0 as i64),
            _ => None,
        };
        let lower = |op: &Op| match op.outcome {
            Outcome::Ok { low, .. } => Some(low.0 as i64),
            _ => None,
        };
        Axis::new(history, upper, lower)
    }

    fn new(
        history: &History,
        upper: impl Fn(&Op) -> Option<i64>,
        lower: impl Fn(&Op) -> Option<i64>,
    ) -> Axis {
        let collect = |bound: &dyn Fn(&Op) -> Option<i64>| {
            let bounded = |op: &Op| Some((bound(op)?, op.commit?));
            let mut list: Vec<_> = history.ops.iter().filter_map(bounded).collect();
            list.sort_unstable();
            list
        };
        let (mut must, mut must_not) = (collect(&upper), collect(&lower));
        let mut largest = 0;
        for (_, place) in &mut must {
            largest = largest.max(*place);
            *place = largest;
        }
        let mut smallest = usize::MAX;
        for (_, place) in must_not.iter_mut().rev() {
            smallest = smallest.min(*place);
            *place = smallest;
        }
        Axis { must, must_not }
    }

    /// Whether keeping the first `kept` endings at target `at` contradicts a client. An inclusive
    /// position may take one ending from behind it: `spare`.
    pub fn contradicts(&self, at: i64, kept: usize, spare: usize) -> Option<&'static str> {
        let over = self.must.partition_point(|(upper, _)| *upper < at);
        if over > 0 && self.must[over - 1].1 >= kept {
            return Some("a commit that was acknowledged before the target is not kept");
        }
        let begun = self.must_not.partition_point(|(lower, _)| *lower <= at);
        match self.must_not.get(begun) {
            Some((_, place)) if place + spare < kept => {
                Some("a commit that was begun after the target is kept")
            }
            _ => None,
        }
    }

    /// How many operations the clients cannot decide at `at`.
    pub fn undecided(&self, at: i64) -> usize {
        let begun = self.must_not.partition_point(|(lower, _)| *lower <= at);
        let over = self.must.partition_point(|(upper, _)| *upper < at);
        begun.saturating_sub(over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::Lsn;

    fn history(bounds: &[(i64, i64)]) -> History {
        let mut history = History::default();
        for (at, (clock, after)) in bounds.iter().enumerate() {
            history.ops.push(Op {
                op: at as i64,
                writer: 1,
                seq: at as u64 + 1,
                items: 1,
                hash: String::new(),
                sent: *clock,
                ended: Some(*after),
                outcome: Outcome::Ok {
                    xid: 1,
                    low: Lsn(*clock as u64),
                    high: Some(Lsn(*after as u64)),
                    clock: *clock,
                    after: Some(*after),
                },
                commit: Some(at),
            });
        }
        history
    }

    #[test]
    fn one_too_few_and_one_too_many_are_noticed() {
        let axis = Axis::of_times(&history(&[(10, 12), (20, 22), (30, 32)]));
        assert_eq!(axis.contradicts(25, 2, 0), None);
        assert!(axis.contradicts(25, 1, 0).unwrap().contains("not kept"));
        assert!(axis.contradicts(25, 3, 0).unwrap().contains("is kept"));
        assert_eq!(axis.contradicts(25, 3, 1), None);
        // Between its bounds, a commit may be on either side.
        assert_eq!(axis.contradicts(21, 1, 0), None);
        assert_eq!(axis.contradicts(21, 2, 0), None);
        assert_eq!(axis.undecided(21), 1);
        assert_eq!(axis.undecided(25), 0);
    }
}
