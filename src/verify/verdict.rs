//! The verdict on a run, as data and as text. Nothing in it depends on when or where it was reached.

use std::fmt::Write as _;

use serde::Serialize;

use super::restores::Restored;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    Pass,
    Fail,
    /// Nothing wrong was found, but too little happened to say that nothing is.
    Unknown,
}

/// Something that must hold, and everything that says it does not.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    pub name: &'static str,
    pub problems: Vec<String>,
}

/// What happened in the run.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Run {
    pub operations: usize,
    pub acknowledged: usize,
    pub refused: usize,
    pub indeterminate: usize,
    /// Of these, how many had committed.
    pub indeterminate_committed: usize,
    /// Acknowledged commits a crash took, where the run allows that.
    pub given_up: usize,
    pub commits: usize,
    pub aborts: usize,
    /// Commits of nobody's operation: the server's own work, set-up.
    pub other_commits: usize,
    pub records: u64,
    pub ties: usize,
    pub inversions: usize,
    pub worst_inversion_us: i64,
    pub faults: usize,
    pub faults_not_healed: usize,
    /// How many processes it took: rpitr may be killed and the run resumed.
    pub epochs: usize,
    /// Segments the receiver has as the archive has them; none without a receiver.
    pub received: Option<usize>,
}

/// Targets judged without a restore: the two oracles against each other.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Judged {
    pub count: usize,
    pub time: usize,
    pub lsn: usize,
    pub xid: usize,
    /// Operations the clients alone could not decide, on average over the time targets.
    pub undecided: f64,
    pub disagreements: usize,
}

#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    pub schema: u32,
    pub verdict: Word,
    /// Why it is unknown.
    pub missing: Vec<String>,
    pub run: Run,
    pub checks: Vec<Check>,
    pub targets: Judged,
    pub restores: Vec<Restored>,
}

impl Verdict {
    /// Draws the conclusion from what was found.
    pub(super) fn conclude(&mut self) {
        let wrong = self.checks.iter().any(|check| !check.problems.is_empty());
        let differs = self.restores.iter().any(|one| !one.problems.is_empty());
        self.verdict = match (wrong || differs, self.missing.is_empty()) {
            (true, _) => Word::Fail,
            (false, true) => Word::Pass,
            (false, false) => Word::Unknown,
        };
    }

    /// For a person, with every restore.
    pub fn text(&self) -> String {
        self.shown(true)
    }

    /// For a person, without the restores that are exact.
    pub fn summary(&self) -> String {
        self.shown(false)
    }

    fn shown(&self, exact: bool) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_text(&mut out, exact);
        out
    }

    fn write_text(&self, out: &mut String, exact: bool) -> std::fmt::Result {
        let run = &self.run;
        writeln!(
            out,
            "operations  {} sent: {} acknowledged, {} refused or rolled back, {} indeterminate ({} of them committed)",
            run.operations,
            run.acknowledged,
            run.refused,
            run.indeterminate,
            run.indeterminate_committed
        )?;
        writeln!(
            out,
            "WAL         {} records, {} commits ({} not of an operation), {} aborts; {} at equal times, {} inversions (worst {} us)",
            run.records,
            run.commits,
            run.other_commits,
            run.aborts,
            run.ties,
            run.inversions,
            run.worst_inversion_us
        )?;
        writeln!(
            out,
            "faults      {} fired, {} not healed",
            run.faults, run.faults_not_healed
        )?;
        if run.epochs > 1 {
            writeln!(
                out,
                "epochs      {}: rpitr was killed in the run, which was resumed each time",
                run.epochs
            )?;
        }
        if let Some(segments) = run.received {
            writeln!(
                out,
                "receiver    {segments} segments received, byte for byte those of the archive"
            )?;
        }
        if run.given_up > 0 {
            writeln!(
                out,
                "given up    {} acknowledged commits, as synchronous_commit allows",
                run.given_up
            )?;
        }
        let judged = &self.targets;
        writeln!(
            out,
            "targets     {} judged on the bundle ({} time, {} lsn, {} xid): {} disagreements; clients leave {:.1} operations open",
            judged.count,
            judged.time,
            judged.lsn,
            judged.xid,
            judged.disagreements,
            judged.undecided
        )?;
        self.write_restores(out, exact)?;
        for check in &self.checks {
            for problem in &check.problems {
                writeln!(out, "  x {}: {problem}", check.name)?;
            }
        }
        for missing in &self.missing {
            writeln!(out, "  ? {missing}")?;
        }
        let word = match self.verdict {
            Word::Pass => "PASS",
            Word::Fail => "FAIL",
            Word::Unknown => {
                "UNKNOWN: nothing wrong was found, but too little happened to prove it"
            }
        };
        writeln!(out, "verdict     {word}")
    }

    fn write_restores(&self, out: &mut String, exact: bool) -> std::fmt::Result {
        let right = self.restores.iter().filter(|r| r.problems.is_empty());
        writeln!(
            out,
            "restores    {} real, {} exact",
            self.restores.len(),
            right.count()
        )?;
        let wanted = |one: &&Restored| exact || !one.problems.is_empty();
        if !self.restores.iter().any(|one| wanted(&one)) {
            return Ok(());
        }
        writeln!(
            out,
            "  {:>3}  {:<44} {:<36} {:>8} {:>5} {:>7} {:>5} {:>7}",
            "#", "target", "why", "rows", "lost", "phantom", "torn", "altered"
        )?;
        for one in self.restores.iter().filter(wanted) {
            writeln!(
                out,
                "  {:>3}  {:<44} {:<36} {:>8} {:>5} {:>7} {:>5} {:>7}",
                one.n, one.target, one.why, one.rows, one.lost, one.phantom, one.torn, one.altered
            )?;
            for problem in &one.problems {
                writeln!(out, "       x {problem}")?;
            }
        }
        Ok(())
    }
}
