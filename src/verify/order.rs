//! The exact oracle: which transactions a recovery to a target keeps, from the order of their ends
//! in the WAL.

use std::collections::HashMap;

use super::error::Error;
use super::goal::{Goal, Target};
use crate::wal::{self, Event, Lsn, Reader, Wal, Xact, XlogEvent, event};

/// The end of a transaction, a commit or an abort: both are places where recovery may stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    pub xact: Xact,
    /// Where the record in front of it begins.
    pub previous: Lsn,
}

/// All of them between two positions, in WAL order.
#[derive(Debug, Clone)]
pub struct Order {
    pub endings: Vec<Ending>,
    /// Behind the last record.
    pub end: Lsn,
    pub last_record: Option<Lsn>,
    pub segment_bytes: u64,
    pub records: u64,
    /// Where the server began to work again after a stop or a crash: its checkpoints at that time.
    restarts: Vec<Lsn>,
    by_xid: HashMap<u32, usize>,
}

/// What a recovery keeps: the first `kept` endings. `stop` is the one that ended it, for the kinds
/// of targets that look at endings only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    pub kept: usize,
    pub stop: Option<usize>,
}

/// Clock readings that run against the order of the WAL.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Inversions {
    pub count: usize,
    pub worst_us: i64,
}

impl Order {
    /// Reads the WAL from `from` on. Damage is an error: an order with a hole in it proves nothing.
    pub fn read(wal: &Wal, from: Lsn) -> Result<Order, Error> {
        let mut order = Order {
            endings: Vec::new(),
            end: from,
            last_record: None,
            segment_bytes: wal.segment_size().bytes(),
            records: 0,
            restarts: Vec::new(),
            by_xid: HashMap::new(),
        };
        let mut reader = Reader::new(wal, from);
        loop {
            let record = match reader.read() {
                Ok(record) => record,
                Err(end) if end.is_damage() => return Err(wal::Error::Damage(end).into()),
                Err(_) => return Ok(order),
            };
            (order.end, order.last_record) = (record.end, Some(record.start));
            order.records += 1;
            let (start, previous) = (record.start, record.header.prev);
            match event(&record) {
                Ok(Some(Event::Xact(detail))) => order.add(detail.xact, previous),
                Ok(Some(Event::Xlog {
                    event: XlogEvent::Checkpoint { shutdown: true, .. },
                    ..
                })) => order.restarts.push(start),
                Ok(_) => {}
                Err(error) => {
                    let end = Box::new(reader.reject(start, error));
                    return Err(wal::Error::Damage(end).into());
                }
            }
        }
    }

    fn add(&mut self, xact: Xact, previous: Lsn) {
        if xact.kind.is_commit() {
            self.by_xid.insert(xact.xid, self.endings.len());
        }
        self.endings.push(Ending { xact, previous });
    }

    /// The how-manieth life of the server a position belongs to, from 0. A crash ends one: what the server had not
    /// written by then is gone, and the next one goes on from there.
    pub fn life(&self, at: Lsn) -> usize {
        self.restarts.partition_point(|restart| *restart <= at)
    }

    /// Where a transaction committed.
    pub fn commit_of(&self, xid: u64) -> Option<usize> {
        // A row's xid carries the epoch in its upper half; WAL records do not.
        self.by_xid.get(&((xid & 0xFFFF_FFFF) as u32)).copied()
    }

    /// What recovery to `goal` keeps, when replay starts at `redo`; `None` when the target is never
    /// reached. PostgreSQL looks at every record from there on, so an ending before it cannot stop
    /// a recovery, whatever its time.
    pub fn cut(&self, goal: &Goal, redo: Lsn) -> Option<Cut> {
        let first = self
            .endings
            .partition_point(|ending| ending.xact.start < redo);
        let stop_at = |stops: &dyn Fn(&Xact) -> bool| {
            let found = self.endings[first..].iter().position(|e| stops(&e.xact));
            found.map(|at| first + at)
        };
        match goal.target {
            Target::Time(us) => {
                // Inclusive keeps what ended at that very microsecond.
                let limit = if goal.inclusive { us } else { us - 1 };
                stop_at(&|xact| xact.unix_us > limit).map(|at| Cut {
                    kept: at,
                    stop: Some(at),
                })
            }
            Target::Xid(xid) => stop_at(&|xact| xact.xid == xid).map(|at| Cut {
                kept: at + usize::from(goal.inclusive),
                stop: Some(at),
            }),
            Target::Lsn(lsn) => {
                if self.last_record.is_none_or(|last| last < lsn) {
                    return None;
                }
                // Inclusive also replays the first record at or behind the target, and that one is
                // an ending exactly when the record in front of it lies before the target.
                let kept = self.endings.partition_point(|ending| match goal.inclusive {
                    true => ending.previous < lsn,
                    false => ending.xact.start < lsn,
                });
                Some(Cut { kept, stop: None })
            }
            Target::Latest => Some(Cut {
                kept: self.endings.len(),
                stop: None,
            }),
        }
    }

    /// The last commit among the first `kept` endings.
    pub fn last_commit(&self, kept: usize) -> Option<&Xact> {
        let endings = &self.endings[..kept.min(self.endings.len())];
        let commit = |ending: &&Ending| ending.xact.kind.is_commit();
        endings.iter().rev().find(commit).map(|e| &e.xact)
    }

    /// Endings stamped earlier than one that lies before them.
    pub fn inversions(&self) -> Inversions {
        let mut found = Inversions::default();
        let mut latest = i64::MIN;
        for ending in &self.endings {
            let us = ending.xact.unix_us;
            if us < latest {
                found.count += 1;
                found.worst_us = found.worst_us.max(latest - us);
            }
            latest = latest.max(us);
        }
        found
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::wal::XactKind;

    /// Transactions 1, 2, 3... at 0x100, 0x200, 0x300...; each stamped as given.
    pub(crate) fn order_with_restarts(stamps: &[i64], restarts: &[u64]) -> Order {
        Order {
            restarts: restarts.iter().copied().map(Lsn).collect(),
            ..order(stamps)
        }
    }

    pub(crate) fn order(stamps: &[i64]) -> Order {
        let mut order = Order {
            endings: Vec::new(),
            end: Lsn(0x100 * (stamps.len() as u64 + 1)),
            last_record: Some(Lsn(0x100 * (stamps.len() as u64) + 0x80)),
            segment_bytes: 1 << 20,
            records: 2 * stamps.len() as u64,
            restarts: Vec::new(),
            by_xid: HashMap::new(),
        };
        for (at, us) in stamps.iter().enumerate() {
            let start = 0x100 * (at as u64 + 1);
            let xact = Xact {
                xid: at as u32 + 1,
                kind: XactKind::Commit,
                start: Lsn(start),
                end: Lsn(start + 0x40),
                timeline: 1,
                unix_us: *us,
            };
            order.add(xact, Lsn(start - 0x80));
        }
        order
    }

    fn kept(order: &Order, target: Target, inclusive: bool) -> Option<usize> {
        let goal = Goal { target, inclusive };
        order.cut(&goal, Lsn(0)).map(|cut| cut.kept)
    }

    #[test]
    fn time_stops_at_the_first_record_behind_it_not_at_the_last_before() {
        // The third is stamped before the second: an inversion.
        let order = order(&[10, 30, 20, 40]);
        assert_eq!(kept(&order, Target::Time(25), true), Some(1));
        assert_eq!(kept(&order, Target::Time(30), true), Some(3));
        assert_eq!(kept(&order, Target::Time(30), false), Some(1));
        assert_eq!(
            kept(&order, Target::Time(40), true),
            None,
            "nothing is behind it"
        );
        assert_eq!(
            order.inversions(),
            Inversions {
                count: 1,
                worst_us: 10
            }
        );
    }

    #[test]
    fn an_inclusive_position_takes_the_next_record_too() {
        let order = order(&[10, 20, 30]);
        // A record begins at 0x180, before the ending at 0x200.
        assert_eq!(kept(&order, Target::Lsn(Lsn(0x200)), false), Some(1));
        assert_eq!(kept(&order, Target::Lsn(Lsn(0x200)), true), Some(2));
        assert_eq!(
            kept(&order, Target::Lsn(Lsn(0x181)), true),
            Some(2),
            "back to back"
        );
        assert_eq!(kept(&order, Target::Lsn(Lsn(0x180)), true), Some(1));
        assert_eq!(kept(&order, Target::Lsn(Lsn(0x400)), true), None);
    }

    #[test]
    fn a_transaction_is_found_from_the_redo_position_on() {
        let order = order(&[10, 20, 30]);
        assert_eq!(kept(&order, Target::Xid(2), true), Some(2));
        assert_eq!(kept(&order, Target::Xid(2), false), Some(1));
        assert_eq!(kept(&order, Target::Xid(9), false), None);
        let goal = Goal {
            target: Target::Xid(1),
            inclusive: true,
        };
        assert_eq!(order.cut(&goal, Lsn(0x180)), None);
    }
}
