//! What happened to a cluster, in WAL order: where timelines branch, base backups, restore points,
//! checkpoints, the first and the last commit, the end.

use std::fs;
use std::path::Path;

use super::{Error, Listing};
use crate::postgres::BackupHistory;
use crate::wal::{End, Event, Lsn, Options, Wal, XlogEvent, walk};

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happening {
    pub lsn: Lsn,
    /// Unix microseconds, where the WAL says.
    pub time: Option<i64>,
    /// In a word or two.
    pub what: &'static str,
    pub detail: String,
}

/// What a directory of WAL tells.
#[derive(Debug, Clone)]
pub struct Story {
    /// The timelines that were followed, oldest first.
    pub chain: Vec<u32>,
    pub commits: u64,
    pub happenings: Vec<Happening>,
    /// Where reading ended when it was not at the upper bound.
    pub end: Option<End>,
}

/// Reads the WAL between two positions. `watch` is told how far it is.
pub fn story(
    dir: &Path,
    timeline: Option<u32>,
    from: Option<Lsn>,
    to: Option<Lsn>,
    mut watch: impl FnMut(Lsn),
) -> Result<Story, Error> {
    let listing = Listing::read(dir)?;
    let options = Options {
        timeline,
        partials: true,
        ..Options::default()
    };
    let wal = Wal::open(dir, &options)?;
    let first = wal.first().unwrap_or_default();
    let start = from.map_or(first, |from| from.max(first));
    let mut happenings = branches(&wal);
    happenings.extend(backups(&listing, &wal));
    let (mut first, mut last, mut commits) = (None, None, 0);
    let end = walk(&wal, start, to, |event| {
        match event {
            Event::Xact(detail) => {
                watch(detail.xact.start);
                if detail.xact.kind.is_commit() {
                    commits += 1;
                    first = first.or(Some(detail.xact));
                    last = Some(detail.xact);
                }
            }
            Event::Xlog { start, event, .. } => happenings.extend(of_record(*start, event)),
            Event::Prepare(_) => {}
        }
        true
    })?;
    for (xact, what) in [(first, "first commit"), (last, "last commit")] {
        happenings.extend(xact.map(|xact| Happening {
            lsn: xact.start,
            time: Some(xact.unix_us),
            what,
            detail: format!("transaction {}", xact.xid),
        }));
    }
    let in_range = |lsn| from.is_none_or(|from| from <= lsn) && to.is_none_or(|to| lsn < to);
    happenings.retain(|happening| in_range(happening.lsn));
    happenings.sort_by_key(|happening| happening.lsn);
    Ok(Story {
        chain: wal
            .chain()
            .links()
            .iter()
            .map(|link| link.timeline)
            .collect(),
        commits,
        happenings,
        end,
    })
}

fn branches(wal: &Wal) -> Vec<Happening> {
    let links = wal.chain().links();
    let pairs = links.iter().zip(links.iter().skip(1));
    pairs
        .map(|(parent, child)| Happening {
            lsn: child.begin,
            time: None,
            what: "new timeline",
            detail: format!("{} -> {}", parent.timeline, child.timeline),
        })
        .collect()
}

/// Base backups leave a small file in the archive when they end.
fn backups(listing: &Listing, wal: &Wal) -> Vec<Happening> {
    let mut found = Vec::new();
    for name in &listing.backups {
        let text = fs::read_to_string(listing.dir.join(name)).unwrap_or_default();
        let Ok(backup) = BackupHistory::parse(&text) else {
            continue;
        };
        if !wal.chain().contains(backup.label.timeline) {
            continue;
        }
        let label = backup.label.label.unwrap_or_default();
        found.push(Happening {
            lsn: backup.stop,
            time: None,
            what: "base backup",
            detail: format!("{label}: began at {}, complete here", backup.label.start),
        });
    }
    found
}

fn of_record(lsn: Lsn, event: &XlogEvent) -> Option<Happening> {
    let (time, what, detail) = match event {
        XlogEvent::Checkpoint {
            redo,
            shutdown,
            time,
            ..
        } => (
            time.checked_mul(1_000_000),
            if *shutdown {
                "shutdown checkpoint"
            } else {
                "checkpoint"
            },
            format!("redo from {redo}"),
        ),
        XlogEvent::RestorePoint { name, unix_us } => {
            (Some(*unix_us), "restore point", name.clone())
        }
        XlogEvent::EndOfRecovery {
            timeline,
            previous_timeline,
            unix_us,
        } => (
            Some(*unix_us),
            "end of recovery",
            format!("{previous_timeline} -> {timeline}"),
        ),
        XlogEvent::Overwrite { lost } => (
            None,
            "crash",
            format!("the record at {lost} was never completed"),
        ),
        XlogEvent::BackupEnd { .. } | XlogEvent::Switch => return None,
    };
    Some(Happening {
        lsn,
        time,
        what,
        detail,
    })
}
