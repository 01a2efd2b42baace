//! Reads every record of an archive and names each file that is missing or bad.

use std::path::Path;

use super::inspect::gaps;
use super::{Error, Listing};
use crate::wal::{End, Lsn, Reader, Reason, Wal};

/// What is wrong with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FindingKind {
    Missing,
    Empty,
    Truncated,
    ZeroFilled,
    /// A record or a page is not what was written.
    Corrupt,
    Foreign,
    Misnamed,
    MissingHistory,
    BadHistory,
    Unreadable,
}

impl FindingKind {
    /// A stable word for each kind.
    pub fn name(self) -> &'static str {
        match self {
            FindingKind::Missing => "missing",
            FindingKind::Empty => "empty",
            FindingKind::Truncated => "truncated",
            FindingKind::ZeroFilled => "zero_filled",
            FindingKind::Corrupt => "corrupt",
            FindingKind::Foreign => "foreign",
            FindingKind::Misnamed => "misnamed",
            FindingKind::MissingHistory => "missing_history",
            FindingKind::BadHistory => "bad_history",
            FindingKind::Unreadable => "unreadable",
        }
    }
}

/// A problem, the file it is in, and the first position that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub kind: FindingKind,
    pub file: String,
    pub lsn: Option<Lsn>,
    pub reason: String,
}

/// Checks the WAL between `from` and `to`, or all of it, on every timeline, each segment against
/// its neighbours; a record that crosses from one segment into the next is checked too.
pub fn verify(archive: &Path, from: Option<Lsn>, to: Option<Lsn>) -> Result<Vec<Finding>, Error> {
    let listing = Listing::read(archive)?.with_packed();
    let mut findings = Vec::new();
    for (timeline, problem) in &listing.bad_histories {
        findings.push(Finding {
            kind: FindingKind::BadHistory,
            file: format!("{timeline:08X}.history"),
            lsn: None,
            reason: problem.clone(),
        });
    }
    for timeline in listing.segments.keys().copied().filter(|t| *t > 1) {
        if let Some(reason) = listing.needs_history(timeline)
            && !listing.histories.contains_key(&timeline)
            && !listing.bad_histories.contains_key(&timeline)
        {
            findings.push(Finding {
                kind: FindingKind::MissingHistory,
                file: format!("{timeline:08X}.history"),
                lsn: None,
                reason,
            });
        }
    }
    for timeline in listing.segments.keys().copied() {
        check_timeline(&listing, timeline, from, to, &mut findings);
    }
    Ok(findings)
}

fn check_timeline(
    listing: &Listing,
    timeline: u32,
    from: Option<Lsn>,
    to: Option<Lsn>,
    findings: &mut Vec<Finding>,
) {
    let size = listing.segment_size();
    let low = from.map_or(0, |lsn| size.number(lsn));
    let high = to.map_or(u64::MAX, |lsn| size.number(lsn));
    for (first, last) in gaps(listing, timeline) {
        for number in first.max(low)..=last.min(high) {
            findings.push(Finding {
                kind: FindingKind::Missing,
                file: size.name(timeline, number),
                lsn: Some(size.start(number)),
                reason: listing
                    .required(timeline, number)
                    .map_or_else(|| "a neighbour exists".to_string(), |r| r.evidence),
            });
        }
    }
    let Some(identity) = listing.identity else {
        for number in listing.segments.get(&timeline).into_iter().flatten() {
            findings.push(Finding {
                kind: FindingKind::Unreadable,
                file: size.name(timeline, *number),
                lsn: None,
                reason: "no segment of this archive has a readable header".to_string(),
            });
        }
        return;
    };
    let numbers: Vec<u64> = listing
        .segments
        .get(&timeline)
        .into_iter()
        .flatten()
        .copied()
        .filter(|number| (low..=high).contains(number))
        .collect();
    let files = numbers.iter().map(|number| {
        (
            *number,
            timeline,
            listing.dir.join(listing.file_of(timeline, *number)),
        )
    });
    let wal = Wal::of_files(&listing.dir, files, listing.chain(timeline), identity);
    let mut remaining = numbers.as_slice();
    while let Some(number) = remaining.first().copied() {
        let mut reader = Reader::new(&wal, size.start(number));
        let end = loop {
            if let Err(end) = reader.read() {
                break end;
            }
        };
        let bad = match &end.file {
            Some(_) => numbers
                .iter()
                .copied()
                .find(|n| listing.file_of(timeline, *n) == end.file_name())
                .unwrap_or(number),
            // A missing segment is reported as a gap; go on behind it.
            None => size.number(end.lsn).max(number),
        };
        let required = listing.required(timeline, bad);
        let proved = required.is_some_and(|r| r.until > end.lsn);
        let wanted = to.is_none_or(|to| end.lsn < to);
        if end.file.is_some() && wanted && (end.is_damage() || proved) {
            findings.push(finding(&end));
        }
        remaining = &remaining[remaining.partition_point(|n| *n <= bad)..];
    }
}

fn finding(end: &End) -> Finding {
    let kind = match &end.reason {
        Reason::WrongSize { found: 0, .. } => FindingKind::Empty,
        Reason::WrongSize { .. } => FindingKind::Truncated,
        Reason::ZeroPage | Reason::ZeroLength => FindingKind::ZeroFilled,
        Reason::ForeignSystem { .. } | Reason::WrongSegmentSize { .. } => FindingKind::Foreign,
        Reason::RecycledPage { .. } => FindingKind::Misnamed,
        Reason::Io { .. } => FindingKind::Unreadable,
        _ => FindingKind::Corrupt,
    };
    Finding {
        kind,
        file: end.file_name(),
        lsn: Some(end.lsn),
        reason: end.reason.to_string(),
    }
}
