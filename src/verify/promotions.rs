//! Promotions in the middle of which a fault struck: the new primary holds the old one's past, up to where it branched
//! off, and nothing else.

use super::bundle::{Bundle, Promotion};
use super::checks::compare;
use super::error::Error;
use super::history::{History, Op};
use super::order::Order;
use super::state::State;

/// What is wrong with the promotions of a run.
pub fn problems(bundle: &Bundle, order: &Order, history: &History) -> Result<Vec<String>, Error> {
    let mut problems = Vec::new();
    for promotion in &bundle.promotions {
        let found = judge(bundle, order, history, promotion)?;
        let named = found.into_iter();
        problems.extend(named.map(|what| format!("promotion {}: {what}", promotion.n)));
    }
    Ok(problems)
}

fn judge(
    bundle: &Bundle,
    order: &Order,
    history: &History,
    promotion: &Promotion,
) -> Result<Vec<String>, Error> {
    if let Some(error) = &promotion.error {
        return Ok(vec![format!("it did not come to its end: {error}")]);
    }
    let (Some(accepted), Some(fork), Some(state)) =
        (promotion.accepted_us, promotion.fork_lsn, &promotion.state)
    else {
        return Ok(vec!["its end was not written down".into()]);
    };
    let mut problems = Vec::new();
    let window = promotion.began_us..=accepted;
    if !window.contains(&promotion.struck_us) {
        problems.push("the fault did not strike while it was under way".into());
    }
    let state = State::read(&bundle.folder.join("promotions").join(state))?;
    let kept = order
        .endings
        .partition_point(|ending| ending.xact.start < fork);
    let past = |op: &Op| op.commit.is_some_and(|at| at < kept);
    problems.extend(compare(&state, history, past).problems());
    Ok(problems)
}
