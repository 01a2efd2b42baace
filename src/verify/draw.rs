//! Targets worth trying: some anywhere, some where recoveries go wrong.

use std::collections::HashSet;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::bundle::{Backup, Bundle};
use super::goal::{Goal, Target};
use super::order::Order;
use crate::wal::Lsn;

/// How many, and from which stream of the seed: targets of one name do not shift those of another.
#[derive(Debug, Clone, Copy)]
pub struct Draw<'a> {
    pub seed: u64,
    pub name: &'a str,
    pub count: usize,
    /// The share that aims at a place where recoveries go wrong.
    pub adversarial: f64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Drawn {
    pub target: Goal,
    pub why: &'static str,
}

/// The places, in the order they are visited.
const PLACES: [&str; 13] = [
    "a commit's own time",
    "a microsecond before a commit",
    "two commits at the same microsecond",
    "inside a timestamp inversion",
    "the edge of a segment",
    "right behind the backup",
    "around a fault",
    "two transaction ends back to back",
    "an abort",
    "in front of a commit",
    "at a commit, inclusive",
    "a microsecond after a commit",
    "the first end in a segment",
];

/// Draws targets that a recovery can reach. Fewer than asked for, when the WAL has no more.
pub fn draw(bundle: &Bundle, order: &Order, request: &Draw<'_>) -> Vec<Drawn> {
    let Some(pools) = Pools::new(bundle, order) else {
        return Vec::new();
    };
    let digest = Sha256::digest(format!("{}/{}", request.seed, request.name));
    let mut rng = ChaCha8Rng::from_seed(digest.into());
    let mut drawn = Vec::with_capacity(request.count);
    let mut seen = HashSet::new();
    let mut turn = 0;
    for _ in 0..request.count * 20 {
        if drawn.len() == request.count {
            break;
        }
        let aimed = rng.random_bool(request.adversarial.clamp(0.0, 1.0));
        let candidate = if aimed {
            turn += 1;
            let place = PLACES[(turn - 1) % PLACES.len()];
            pools.aim(place, &mut rng).map(|goal| (goal, place))
        } else {
            Some((pools.anywhere(&mut rng), "anywhere"))
        };
        let Some((target, why)) = candidate else {
            continue;
        };
        if reachable(bundle, order, &target) && seen.insert(target) {
            drawn.push(Drawn { target, why });
        }
    }
    drawn
}

/// Whether some backup of the run can be recovered to `goal`.
fn reachable(bundle: &Bundle, order: &Order, goal: &Goal) -> bool {
    let fits = |backup: &Backup| {
        let early = match goal.target {
            Target::Time(us) => us < backup.stop_time_us,
            Target::Lsn(lsn) => lsn <= backup.stop_lsn,
            _ => false,
        };
        let Some(cut) = order.cut(goal, backup.start_lsn).filter(|_| !early) else {
            return false;
        };
        cut.stop
            .is_none_or(|at| order.endings[at].xact.start > backup.stop_lsn)
    };
    bundle.facts.backups.iter().any(fits)
}

/// Endings by what is special about them, as places in the order.
struct Pools<'a> {
    bundle: &'a Bundle,
    order: &'a Order,
    /// Behind the first backup.
    all: Vec<usize>,
    ties: Vec<usize>,
    inverted: Vec<usize>,
    back_to_back: Vec<usize>,
    aborts: Vec<usize>,
    first_in_segment: Vec<usize>,
    /// The first ones behind each backup, and those nearest to each event.
    behind_backup: Vec<usize>,
    around_faults: Vec<usize>,
}

impl<'a> Pools<'a> {
    fn new(bundle: &'a Bundle, order: &'a Order) -> Option<Pools<'a>> {
        let endings = &order.endings;
        let from = bundle.facts.backups.first()?.stop_lsn;
        let behind = |lsn: Lsn| endings.partition_point(|e| e.xact.start <= lsn);
        let all: Vec<_> = (behind(from)..endings.len()).collect();
        all.first()?;
        let keep = |wanted: &dyn Fn(usize) -> bool| -> Vec<usize> {
            let later = all.iter().skip(1).copied();
            later.filter(|at| wanted(*at)).collect()
        };
        let us = |at: usize| endings[at].xact.unix_us;
        let segment = |at: usize| endings[at].xact.start.segment(order.segment_bytes);
        let near = |at_us: i64| {
            let found = all.iter().copied().find(|at| us(*at) >= at_us);
            found.map(|at| (at.saturating_sub(3)..at + 3).filter(|at| *at < endings.len()))
        };
        let behind_backup = bundle.facts.backups.iter().flat_map(|backup| {
            let first = behind(backup.stop_lsn);
            (first..first + 3).filter(|at| *at < endings.len())
        });
        let events = bundle.events.iter().filter(|event| event.at_us > 0);
        Some(Pools {
            bundle,
            order,
            ties: keep(&|at| us(at) == us(at - 1)),
            inverted: keep(&|at| us(at) < us(at - 1)),
            back_to_back: keep(&|at| endings[at].previous == endings[at - 1].xact.start),
            aborts: keep(&|at| !endings[at].xact.kind.is_commit()),
            first_in_segment: keep(&|at| segment(at) != segment(at - 1)),
            behind_backup: behind_backup.collect(),
            around_faults: events.filter_map(|e| near(e.at_us)).flatten().collect(),
            all,
        })
    }

    fn anywhere(&self, rng: &mut ChaCha8Rng) -> Goal {
        let inclusive = rng.random_bool(0.5);
        let first = &self.order.endings[self.all[0]].xact;
        let last = &self.order.endings[self.order.endings.len() - 1].xact;
        let target = match rng.random_range(0..3) {
            0 => {
                let (low, high) = (first.unix_us, last.unix_us.max(first.unix_us));
                Target::Time(rng.random_range(low..=high))
            }
            1 => Target::Lsn(Lsn(rng.random_range(first.start.0..=last.start.0))),
            _ => Target::Xid(self.xid(pick(&self.all, rng).unwrap_or(self.all[0]))),
        };
        Goal { target, inclusive }
    }

    fn xid(&self, at: usize) -> u32 {
        self.order.endings[at].xact.xid
    }

    fn aim(&self, place: &str, rng: &mut ChaCha8Rng) -> Option<Goal> {
        let pool = match place {
            "two commits at the same microsecond" => &self.ties,
            "inside a timestamp inversion" => &self.inverted,
            "the first end in a segment" => &self.first_in_segment,
            "right behind the backup" => &self.behind_backup,
            "around a fault" => &self.around_faults,
            "two transaction ends back to back" => &self.back_to_back,
            "an abort" => &self.aborts,
            _ => &self.all,
        };
        let at = pick(pool, rng)?;
        let xact = &self.order.endings[at].xact;
        let flip = rng.random_bool(0.5);
        let (target, inclusive) = match place {
            "a microsecond before a commit" => (Target::Time(xact.unix_us - 1), flip),
            "a microsecond after a commit" => (Target::Time(xact.unix_us + 1), flip),
            "a commit's own time" | "two commits at the same microsecond" => {
                (Target::Time(xact.unix_us), flip)
            }
            "inside a timestamp inversion" => {
                let before = self.order.endings[at.saturating_sub(1)].xact.unix_us;
                let high = before.max(xact.unix_us);
                (Target::Time(rng.random_range(xact.unix_us..=high)), flip)
            }
            "the edge of a segment" => {
                let edge = xact.start.segment(self.order.segment_bytes) * self.order.segment_bytes;
                (Target::Lsn(Lsn(edge)), flip)
            }
            "two transaction ends back to back" => {
                let end = self.order.endings[at - 1].xact.end;
                (Target::Lsn(end), flip)
            }
            "right behind the backup" if rng.random_bool(0.3) => {
                let backup = self.bundle.facts.backups.first()?;
                (Target::Lsn(Lsn(backup.stop_lsn.0 + 1)), flip)
            }
            "an abort" => (Target::Xid(xact.xid), flip),
            "in front of a commit" => (Target::Lsn(xact.start), false),
            "at a commit, inclusive" => (Target::Lsn(xact.start), true),
            _ => match rng.random_range(0..3) {
                0 => (Target::Time(xact.unix_us), flip),
                1 => (Target::Lsn(xact.start), flip),
                _ => (Target::Xid(xact.xid), flip),
            },
        };
        Some(Goal { target, inclusive })
    }
}

fn pick(pool: &[usize], rng: &mut ChaCha8Rng) -> Option<usize> {
    match pool.len() {
        0 => None,
        len => pool.get(rng.random_range(0..len)).copied(),
    }
}
