//! What is wrong with a directory as a whole: gaps along its timelines, names that do not belong.

use std::collections::BTreeSet;

use super::{Entry, State};
use crate::archive::{Listing, gaps};
use crate::wal::Lsn;

/// A gap is reported as one run of segments; that many names of it are spelt out.
const NAMES: u64 = 4;

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// `gap`, `removed`, `damaged`, `invalid_name`, `bad_history` or `missing_history`.
    pub kind: String,
    /// The file; of a gap its first segment.
    pub name: String,
    pub lsn: Option<Lsn>,
    pub reason: String,
    /// Unix microseconds.
    pub first_seen: i64,
}

impl Problem {
    fn new(kind: &str, name: String, lsn: Option<Lsn>, reason: String) -> Problem {
        Problem {
            kind: kind.to_string(),
            name,
            lsn,
            reason,
            first_seen: 0,
        }
    }
}

/// Everything that is wrong, by what lies in the directory and what is known about it from before.
pub(super) fn find(listing: &Listing, entries: &[Entry]) -> Vec<Problem> {
    let mut found = Vec::new();
    for name in &listing.others {
        let reason = "no WAL file has such a name".to_string();
        found.push(Problem::new("invalid_name", name.clone(), None, reason));
    }
    histories(listing, &mut found);
    let mut missing = BTreeSet::new();
    for timeline in listing.segments.keys() {
        for (first, last) in gaps(listing, *timeline) {
            if pruned(listing, *timeline, first) {
                continue;
            }
            missing.extend((first..=last).map(|number| (*timeline, number)));
            found.push(gap(listing, *timeline, first, last));
        }
    }
    for entry in entries {
        match entry.state {
            State::Damaged => found.push(Problem::new(
                "damaged",
                entry.name.clone(),
                Some(entry.start),
                entry.reason.clone().unwrap_or_default(),
            )),
            State::Removed if !missing.contains(&(entry.timeline, entry.number)) => {
                found.extend(removed(listing, entry));
            }
            _ => {}
        }
    }
    found
}

fn histories(listing: &Listing, found: &mut Vec<Problem>) {
    for (timeline, problem) in &listing.bad_histories {
        let name = format!("{timeline:08X}.history");
        found.push(Problem::new("bad_history", name, None, problem.clone()));
    }
    for timeline in listing.segments.keys().chain(listing.partials.keys()) {
        let known = listing.histories.contains_key(timeline)
            || listing.bad_histories.contains_key(timeline);
        let evidence = listing.needs_history(*timeline).filter(|_| !known);
        let name = format!("{timeline:08X}.history");
        if let Some(reason) = evidence
            && !found.iter().any(|problem| problem.name == name)
        {
            found.push(Problem::new("missing_history", name, None, reason));
        }
    }
}

/// Whether a run of missing segments is what retention took away: nothing older is left of the timeline
/// or of its parents.
fn pruned(listing: &Listing, timeline: u32, first: u64) -> bool {
    let older = |timeline: &u32| {
        let numbers = listing.segments.get(timeline);
        numbers.is_some_and(|numbers| numbers.first().is_some_and(|number| *number < first))
    };
    let parents = listing.histories.get(&timeline).into_iter().flatten();
    !older(&timeline)
        && !parents
            .map(|entry| entry.timeline)
            .any(|parent| older(&parent))
}

fn gap(listing: &Listing, timeline: u32, first: u64, last: u64) -> Problem {
    let size = listing.segment_size();
    let count = last - first + 1;
    let mut names: Vec<String> = (first..=last)
        .take(NAMES as usize)
        .map(|number| size.name(timeline, number))
        .collect();
    if count > NAMES {
        names.push(format!("... {}", size.name(timeline, last)));
    }
    let evidence = listing.required(timeline, last).map_or_else(
        || "its neighbours exist".to_string(),
        |found| found.evidence,
    );
    let text = match count {
        1 => format!("{} is missing: {evidence}", names.join("")),
        _ => format!(
            "{count} segments are missing ({}): {evidence}",
            names.join(", ")
        ),
    };
    let name = size.name(timeline, first);
    Problem::new("gap", name, Some(size.start(first)), text)
}

/// A segment that vanished. Retention takes the oldest; one that was newer than all that is left is lost.
fn removed(listing: &Listing, entry: &Entry) -> Option<Problem> {
    let numbers = listing.segments.get(&entry.timeline);
    let newer = numbers.is_some_and(|numbers| numbers.range(entry.number..).next().is_some());
    let child = listing
        .histories
        .values()
        .flatten()
        .any(|history| history.timeline == entry.timeline && history.switchpoint >= entry.end);
    (!newer && !child).then(|| {
        Problem::new(
            "removed",
            entry.name.clone(),
            Some(entry.start),
            "it was here, is gone, and nothing newer of its timeline is left".into(),
        )
    })
}
