//! Healing a fault: its steps back, a second look, and the probes that prove it.

use std::time::{Duration, Instant};

use super::probe;
use super::{Check, Entry, Error, Journal, State};
use crate::runtime::Lab;

/// What the steps back of one fault may take.
const LIMIT: Duration = Duration::from_secs(60);

/// How a healing went.
#[derive(Debug, Clone)]
pub struct Healed {
    pub entry: Entry,
    /// What undoing took, the probes not counted.
    pub took: Duration,
    pub checks: Vec<Check>,
}

impl Healed {
    /// The first probe that failed.
    pub fn failure(&self) -> Option<&Check> {
        self.checks.iter().find(|check| check.ok == Some(false))
    }
}

/// Who heals, and how thoroughly.
#[derive(Debug, Clone, Copy)]
pub struct Healer<'a> {
    pub by: &'a str,
    /// What a probe may take until it holds; `None`: nothing is probed.
    pub patience: Option<Duration>,
}

/// Undoes one fault. One that is healed already, by whomever, is `None`.
pub async fn heal(
    journal: &Journal,
    lab: &Lab,
    seq: u64,
    healer: Healer<'_>,
) -> Result<Option<Healed>, Error> {
    let Some(_lock) = journal.lock().await? else {
        return Ok(None);
    };
    let Some(state) = journal.read()? else {
        return Ok(None);
    };
    heal_locked(journal, &state, lab, seq, healer).await
}

/// The same for whoever holds the journal's lock.
pub(super) async fn heal_locked(
    journal: &Journal,
    state: &State,
    lab: &Lab,
    seq: u64,
    healer: Healer<'_>,
) -> Result<Option<Healed>, Error> {
    let Some(entry) = state.active.iter().find(|entry| entry.seq == seq) else {
        return Ok(None);
    };
    let began = Instant::now();
    if let Err(error) = undo(lab, entry).await {
        journal.failed(seq, healer.by, &error.to_string())?;
        return Err(error);
    }
    let took = began.elapsed();
    let others: Vec<&Entry> = state
        .active
        .iter()
        .filter(|other| other.seq != seq)
        .collect();
    let checks = match healer.patience {
        Some(patience) => {
            probe::run(journal, lab, &state.cluster, (entry, &others), patience).await
        }
        None => Vec::new(),
    };
    let healed = Healed {
        entry: entry.clone(),
        took,
        checks,
    };
    match healed.failure() {
        Some(check) => journal.failed(seq, healer.by, &check.to_string())?,
        None => journal.healed(seq, healer.by, took, &healed.checks)?,
    }
    Ok(Some(healed))
}

/// Takes all steps back, the last one first.
pub(super) async fn undo(lab: &Lab, entry: &Entry) -> Result<(), Error> {
    for step in entry.undo.iter().rev() {
        step.run(lab, LIMIT)
            .await
            .map_err(|error| Error::undo(entry.describe(), error))?;
    }
    Ok(())
}
