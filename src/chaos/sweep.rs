//! Healing what dead runs left behind: `rpitr chaos heal`, and before anything else of `rpitr lab gc`.

use std::path::Path;
use std::time::{Duration, Instant};

use super::guardian::heal_state;
use super::{Error, Journal, State};
use crate::failure::Failure;
use crate::runtime::LocalRuntime;

/// What a guardian may take to end once its journal is gone.
const FAREWELL: Duration = Duration::from_secs(70);

/// Which journals are looked at.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sweep<'a> {
    /// This one, also while its run goes on; else all whose run is over.
    pub only: Option<&'a Path>,
    /// Labs that are about to be removed need no healing: their journals are closed.
    pub forget_unkept: bool,
}

/// What happened to one fault, or to a journal as a whole.
#[derive(Debug)]
pub struct Swept {
    pub lab: String,
    pub what: String,
    pub failure: Option<Failure>,
}

impl Swept {
    pub fn failed(&self) -> bool {
        self.failure.is_some()
    }
}

/// Heals what is left of runs that are over.
pub async fn sweep(runtime: &LocalRuntime, options: Sweep<'_>) -> Result<Vec<Swept>, Error> {
    let journals = match options.only {
        Some(path) => vec![Journal::at(path)],
        None => Journal::list(&runtime.state),
    };
    let mut swept = Vec::new();
    for journal in journals {
        if let Err(error) = one(runtime, &journal, options, &mut swept).await {
            swept.push(Swept {
                lab: journal.path().display().to_string(),
                what: "journal".into(),
                failure: Some(error.into()),
            });
        }
    }
    Ok(swept)
}

async fn one(
    runtime: &LocalRuntime,
    journal: &Journal,
    options: Sweep<'_>,
    swept: &mut Vec<Swept>,
) -> Result<(), Error> {
    let in_use = |state: &State| state.owner.is_alive() && options.only.is_none();
    if journal.read()?.is_some_and(|state| in_use(&state)) {
        return Ok(());
    }
    if journal
        .read()?
        .is_some_and(|state| doomed(runtime, &state, options))
    {
        // A guardian that is healing sees that, and ends.
        let state = journal.read()?;
        journal.remove()?;
        if let Some(state) = state {
            farewell(&state).await;
        }
        return Ok(());
    }
    let Some(lock) = journal.lock().await? else {
        return Ok(());
    };
    let Some(state) = journal.read()? else {
        // Its run died before it could write a word.
        return journal.remove();
    };
    let outcomes = heal_state(journal, &state, "rpitr chaos heal").await?;
    swept.extend(outcomes.into_iter().map(|(what, failure)| Swept {
        lab: state.lab.clone(),
        what,
        failure,
    }));
    drop(lock);
    farewell(&state).await;
    Ok(())
}

/// Whether the lab is gone, or about to be removed.
fn doomed(runtime: &LocalRuntime, state: &State, options: Sweep<'_>) -> bool {
    match runtime.registry().load(&state.lab) {
        Err(_) => true,
        // One that somebody is attached to is not removed.
        Ok(record) => {
            options.forget_unkept && !record.keep && runtime.registry().use_of(&record).is_none()
        }
    }
}

/// Waits until the guardian has seen that nothing is left to do.
async fn farewell(state: &State) {
    let Some(guardian) = state.guardian.as_ref().filter(|_| !state.owner.is_alive()) else {
        return;
    };
    let deadline = Instant::now() + FAREWELL;
    while guardian.is_alive() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}
