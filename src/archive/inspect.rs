//! What an archive holds, timeline by timeline.

use std::path::Path;

use super::{Error, Listing};
use crate::wal::{Identity, Lsn};

/// One timeline in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimelineInventory {
    pub timeline: u32,
    /// The parent and where this timeline left it; `None` for one without a known history.
    pub parent: Option<(u32, Lsn)>,
    pub segments: usize,
    pub first: Option<String>,
    pub last: Option<String>,
    /// Runs of missing segments, first and last name of each.
    pub gaps: Vec<(String, String)>,
    pub partials: Vec<String>,
    pub has_history: bool,
}

/// The contents of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    pub identity: Option<Identity>,
    pub timelines: Vec<TimelineInventory>,
    pub backups: Vec<String>,
    /// Files without a WAL name.
    pub others: Vec<String>,
}

/// Lists an archive. Names only: nothing is opened but history files and a few headers.
pub fn inspect(archive: &Path) -> Result<Inventory, Error> {
    let listing = Listing::read(archive)?;
    let mut timelines: Vec<u32> = listing
        .segments
        .keys()
        .chain(listing.partials.keys())
        .chain(listing.histories.keys())
        .chain(listing.bad_histories.keys())
        .copied()
        .collect();
    timelines.sort_unstable();
    timelines.dedup();
    let timelines = timelines.into_iter().map(|t| one(&listing, t)).collect();
    Ok(Inventory {
        identity: listing.identity,
        timelines,
        backups: listing.backups,
        others: listing.others,
    })
}

fn one(listing: &Listing, timeline: u32) -> TimelineInventory {
    let size = listing.segment_size();
    let name = |number: u64| size.name(timeline, number);
    let numbers: Vec<u64> = listing
        .segments
        .get(&timeline)
        .map(|set| set.iter().copied().collect())
        .unwrap_or_default();
    TimelineInventory {
        timeline,
        parent: listing
            .histories
            .get(&timeline)
            .and_then(|history| history.last())
            .map(|entry| (entry.timeline, entry.switchpoint)),
        segments: numbers.len(),
        first: numbers.first().copied().map(name),
        last: numbers.last().copied().map(name),
        gaps: gaps(listing, timeline)
            .into_iter()
            .map(|(first, last)| (name(first), name(last)))
            .collect(),
        partials: listing
            .partials
            .get(&timeline)
            .map(|set| {
                set.iter()
                    .map(|n| format!("{}.partial", name(*n)))
                    .collect()
            })
            .unwrap_or_default(),
        has_history: listing.histories.contains_key(&timeline),
    }
}

/// Runs of numbers that must exist on a timeline and do not: between two segments, between the
/// first segment and where the timeline began, up to the segment that is being received (`.partial`), and
/// up to where another timeline left it.
pub fn gaps(listing: &Listing, timeline: u32) -> Vec<(u64, u64)> {
    let size = listing.segment_size();
    let numbers = listing.segments.get(&timeline);
    let begin = listing
        .histories
        .get(&timeline)
        .and_then(|history| history.last())
        .map(|entry| size.number(entry.switchpoint));
    let mut gaps = Vec::new();
    // Without a history the archive may have been pruned: the first file is where it begins.
    let mut next = match (begin, numbers.and_then(|set| set.first())) {
        (Some(begin), Some(first)) if begin < *first => begin,
        (_, Some(first)) => *first,
        (_, None) => return gaps,
    };
    for number in numbers.into_iter().flatten().copied() {
        if number > next {
            gaps.push((next, number - 1));
        }
        next = number + 1;
    }
    // Nothing on this timeline follows: only a child can prove more.
    let mut end = next;
    while listing.required(timeline, end).is_some() && end - next < (1 << 20) {
        end += 1;
    }
    if end > next {
        gaps.push((next, end - 1));
    }
    gaps
}
