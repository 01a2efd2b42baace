//! From a bundle to a verdict.

use std::collections::HashSet;

use super::bundle::{Bundle, Event};
use super::checks;
use super::clients::Axis;
use super::draw::{Draw, draw};
use super::error::Error;
use super::goal::Target;
use super::history::{History, Op, Outcome};
use super::order::{Ending, Order};
use super::promotions;
use super::received::{Compared, Stretch};
use super::restores::{Known, Restored};
use super::state::State;
use super::verdict::{Check, Judged, Run, Verdict, Word};
use crate::wal::{Lsn, Options, SegmentSize, Wal};

/// Everything a verdict rests on.
struct Evidence {
    bundle: Bundle,
    history: History,
    last: State,
    order: Order,
}

/// Judges a finished run. An error means that the bundle cannot be read; a run that went wrong is a
/// verdict.
pub fn judge(bundle: Bundle) -> Result<Verdict, Error> {
    let rows = bundle.folder.join("final.tsv.zst");
    if !rows.exists() {
        return Err(Error::Unfinished {
            path: bundle.folder,
        });
    }
    let mut history = History::read(&bundle.log())?;
    let last = State::read(&rows)?;
    let order = match read_order(&bundle) {
        Ok(order) => order,
        // Without the order there is nothing to hold anything against.
        Err(problem) => return Ok(broken_archive(&bundle, &history, problem)),
    };
    history.resolve(&last, &order);
    let evidence = Evidence {
        bundle,
        history,
        last,
        order,
    };
    evidence.verdict()
}

/// The WAL from the first backup on; it must reach the position the run ended at.
fn read_order(bundle: &Bundle) -> Result<Order, String> {
    let facts = &bundle.facts;
    let from = facts.backups.first().map_or(Lsn(0), |one| one.start_lsn);
    let options = Options {
        timeline: Some(facts.timeline),
        ..Options::default()
    };
    let wal = Wal::open(&bundle.archive(), &options).map_err(|error| error.to_string())?;
    let order = Order::read(&wal, from).map_err(|error| error.to_string())?;
    if order.end < facts.end_lsn {
        return Err(format!(
            "the WAL ends at {}, the run ended at {}",
            order.end, facts.end_lsn
        ));
    }
    Ok(order)
}

fn broken_archive(bundle: &Bundle, history: &History, problem: String) -> Verdict {
    let mut verdict = Verdict {
        schema: 1,
        verdict: Word::Fail,
        missing: Vec::new(),
        run: Run {
            operations: history.ops.len(),
            acknowledged: history.ops.iter().filter(|op| op.is_ok()).count(),
            faults: fired(bundle),
            ..Run::default()
        },
        checks: vec![Check {
            name: "the archive is whole",
            problems: vec![problem],
        }],
        targets: Judged::default(),
        restores: Vec::new(),
    };
    verdict.conclude();
    verdict
}

fn fired(bundle: &Bundle) -> usize {
    let injected = |event: &&Event| event.e == "inject";
    bundle.events.iter().filter(injected).count()
}

/// How many processes it took: one more each time rpitr was killed and the run resumed.
fn epochs(bundle: &Bundle) -> usize {
    let begun = bundle.events.iter().filter(|event| event.e == "epoch");
    begun.count().max(1)
}

fn not_healed(bundle: &Bundle) -> Vec<String> {
    let failed = bundle
        .events
        .iter()
        .filter(|event| event.e == "heal_failed");
    let ended: HashSet<u64> = bundle
        .events
        .iter()
        .filter(|event| event.e == "heal" || event.e == "heal_failed")
        .map(|event| event.n)
        .collect();
    let open = bundle
        .events
        .iter()
        .filter(|event| event.e == "inject" && !ended.contains(&event.n));
    failed
        .map(|event| format!("fault {} ({}): {}", event.n, event.kind, event.reason))
        .chain(open.map(|event| format!("fault {} ({}) was never healed", event.n, event.kind)))
        .collect()
}

impl Evidence {
    fn verdict(&self) -> Result<Verdict, Error> {
        let (judged, disagreements) = self.targets();
        let (restores, order_of_restores) = self.restores()?;
        let received = self.received();
        let promoted = promotions::problems(&self.bundle, &self.order, &self.history)?;
        let mut verdict = Verdict {
            schema: 1,
            verdict: Word::Unknown,
            missing: Vec::new(),
            run: self.run(received.as_ref()),
            checks: self.checks(disagreements, order_of_restores, (received, promoted)),
            targets: judged,
            restores,
        };
        verdict.missing = self.missing(&verdict);
        verdict.conclude();
        Ok(verdict)
    }

    /// The receiver's folder against the archive, from the first backup to where the run ended.
    fn received(&self) -> Option<Compared> {
        let facts = &self.bundle.facts;
        facts.receiver.as_ref()?;
        let stretch = Stretch {
            timeline: facts.timeline,
            from: facts.backups.first()?.start_lsn,
            to: facts.end_lsn,
            size: SegmentSize::new(self.order.segment_bytes)?,
        };
        Some(stretch.compare(&self.bundle.archive(), &self.bundle.received()))
    }

    fn run(&self, received: Option<&Compared>) -> Run {
        let ops = &self.history.ops;
        let count = |wanted: &dyn Fn(&Op) -> bool| ops.iter().filter(|op| wanted(op)).count();
        let endings = &self.order.endings;
        let commits = endings.iter().filter(|e| e.xact.kind.is_commit()).count();
        let claimed = count(&|op| op.commit.is_some());
        let same = |pair: &&[Ending]| pair[0].xact.unix_us == pair[1].xact.unix_us;
        let inversions = self.order.inversions();
        Run {
            operations: ops.len(),
            acknowledged: count(&|op| op.is_ok()),
            refused: count(&|op| op.outcome == Outcome::Failed),
            indeterminate: count(&|op| op.outcome == Outcome::Unknown),
            indeterminate_committed: count(&|op| {
                op.outcome == Outcome::Unknown && op.commit.is_some()
            }),
            given_up: match self.bundle.facts.keeps_promises() {
                true => 0,
                false => count(&|op| op.is_ok() && op.commit.is_none()),
            },
            commits,
            aborts: endings.len() - commits,
            other_commits: commits.saturating_sub(claimed),
            records: self.order.records,
            ties: endings.windows(2).filter(same).count(),
            inversions: inversions.count,
            worst_inversion_us: inversions.worst_us,
            faults: fired(&self.bundle),
            faults_not_healed: not_healed(&self.bundle).len(),
            epochs: epochs(&self.bundle),
            received: received.map(|compared| compared.same),
        }
    }

    fn checks(
        &self,
        disagreements: Vec<String>,
        subsets: Vec<String>,
        (received, promoted): (Option<Compared>, Vec<String>),
    ) -> Vec<Check> {
        let clock_moved = self.bundle.facts.clock_moved;
        let (history, last, order) = (&self.history, &self.last, &self.order);
        let mut promises = checks::refused(history, last);
        promises.extend(match self.bundle.facts.keeps_promises() {
            true => checks::acknowledged(history, last),
            false => checks::losses(history, order),
        });
        let check = |name, problems| Check { name, problems };
        let mut checks = vec![
            check("the archive is whole", Vec::new()),
            check("acknowledged is there, refused is not", promises),
            check(
                "the primary's rows are what was written",
                checks::content(history, last),
            ),
            check(
                "the WAL holds every commit where its client saw it",
                checks::commits(history, last, order, clock_moved),
            ),
            check(
                "commits keep the order of real time",
                checks::real_time(history),
            ),
            check("both oracles agree on every target", disagreements),
            check("a later target keeps all of an earlier one", subsets),
            check("every fault was healed", not_healed(&self.bundle)),
        ];
        if !self.bundle.promotions.is_empty() {
            let name = "what was promoted is the primary's past";
            checks.push(check(name, promoted));
        }
        if let Some(compared) = received {
            let name = "the receiver has every segment, as the archive has it";
            checks.push(check(name, compared.problems));
        }
        checks
    }

    /// Judges many targets without restoring: the order of the WAL against the clients' log.
    fn targets(&self) -> (Judged, Vec<String>) {
        let facts = &self.bundle.facts;
        let request = Draw {
            seed: facts.seed,
            name: "targets judged on the bundle",
            count: facts.targets,
            adversarial: 0.5,
        };
        let (times, positions) = (
            Axis::of_times(&self.history),
            Axis::of_positions(&self.history),
        );
        let (mut judged, mut wrong, mut undecided) = (Judged::default(), Vec::new(), 0);
        for drawn in draw(&self.bundle, &self.order, &request) {
            let goal = drawn.target;
            let backup = self.bundle.backup_before(|one| match goal.target {
                Target::Time(us) => one.stop_time_us <= us,
                Target::Lsn(lsn) => one.stop_lsn < lsn,
                _ => false,
            });
            let backup = backup.or(facts.backups.first());
            let Some(cut) = backup.and_then(|one| self.order.cut(&goal, one.start_lsn)) else {
                continue;
            };
            judged.count += 1;
            let problem = match goal.target {
                Target::Time(us) => {
                    judged.time += 1;
                    undecided += times.undecided(us);
                    (!facts.clock_moved)
                        .then(|| times.contradicts(us, cut.kept, 0))
                        .flatten()
                }
                Target::Lsn(lsn) => {
                    judged.lsn += 1;
                    let spare = usize::from(goal.inclusive);
                    positions.contradicts(lsn.0 as i64, cut.kept, spare)
                }
                _ => {
                    judged.xid += 1;
                    self.by_position(&positions, cut.kept)
                }
            };
            if let Some(problem) = problem {
                wrong.push(format!("{goal}: {problem}"));
            }
        }
        judged.disagreements = wrong.len();
        if judged.time > 0 {
            judged.undecided = undecided as f64 / judged.time as f64;
        }
        wrong.truncate(20);
        (judged, wrong)
    }

    /// A transaction as a target means the same as its position.
    fn by_position(&self, positions: &Axis, kept: usize) -> Option<&'static str> {
        let next = self.order.endings.get(kept)?;
        positions.contradicts(next.xact.start.0 as i64, kept, 0)
    }

    /// Judges every real restore, and whether their rows grow with their targets.
    fn restores(&self) -> Result<(Vec<Restored>, Vec<String>), Error> {
        let known = Known {
            bundle: &self.bundle,
            order: &self.order,
            history: &self.history,
        };
        let mut judged = Vec::new();
        let mut states = Vec::new();
        for restore in &self.bundle.restores {
            let (one, state) = known.judge(restore)?;
            let kept = self
                .bundle
                .backup(restore.backup.as_deref())
                .and_then(|backup| self.order.cut(&restore.target, backup.start_lsn));
            if let (Some(state), Some(cut)) = (state, kept) {
                let ops: HashSet<i64> = state.rows.iter().map(|row| row.op).collect();
                states.push((cut.kept, restore.n, ops));
            }
            judged.push(one);
        }
        states.sort_by_key(|(kept, n, _)| (*kept, *n));
        let mut problems = Vec::new();
        for pair in states.windows(2) {
            let mut gone: Vec<i64> = pair[0].2.difference(&pair[1].2).copied().collect();
            if !gone.is_empty() {
                gone.sort_unstable();
                problems.push(format!(
                    "restore {} lacks {} operations restore {} has, with an earlier target: operation {}",
                    pair[1].1,
                    gone.len(),
                    pair[0].1,
                    checks::some(&gone)
                ));
            }
        }
        Ok((judged, problems))
    }

    /// What the run owes before it may be called proved.
    fn missing(&self, verdict: &Verdict) -> Vec<String> {
        let require = &self.bundle.facts.require;
        let mut missing = Vec::new();
        let mut need = |what: &str, got: usize, wanted: usize| {
            if got < wanted {
                missing.push(format!("{got} {what}, a verdict needs {wanted}"));
            }
        };
        need(
            "acknowledged operations",
            verdict.run.acknowledged,
            require.operations,
        );
        need("restores", verdict.restores.len(), require.restores);
        need("faults fired", verdict.run.faults, require.faults);
        // Where the WAL is short, there may be fewer different targets than asked for.
        need(
            "targets judged",
            verdict.targets.count,
            self.bundle.facts.targets / 2,
        );
        let failed = |event: &&Event| event.e == "inject_failed";
        let failed = self.bundle.events.iter().filter(failed).count();
        if failed > 0 {
            missing.push(format!("{failed} faults could not be injected"));
        }
        missing
    }
}
