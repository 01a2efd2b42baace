//! `rpitr wal timeline`: what happened to a cluster, in WAL order: where timelines branch, base
//! backups, restore points, checkpoints, the end.

use std::fs;

use serde_json::{Value, json};

use super::args::Place;
use super::filter::Range;
use super::output::{Output, Progress, Table, end_json};
use super::source::Source;
use crate::archive::Listing;
use crate::exit;
use crate::failure::Failure;
use crate::moment::format_time;
use crate::postgres::BackupHistory;
use crate::wal::{Event, Lsn, Wal, XlogEvent, walk};

/// One line of the story.
struct Entry {
    lsn: Lsn,
    time: Option<i64>,
    what: &'static str,
    detail: String,
}

pub fn run(place: &Place, source: &Source, output: &mut Output) -> Result<i32, Failure> {
    let listing = source.listing()?;
    let wal = source.wal(place.timeline)?;
    let range = Range::of(place);
    let start = range.start(&wal);
    let mut entries = branches(&wal);
    entries.extend(backups(&listing, &wal));
    let mut progress = Progress::new(start, range.to.or_else(|| wal.last()));
    let (mut first, mut last, mut commits) = (None, None, 0u64);
    let end = walk(&wal, start, range.to, |event| {
        match event {
            Event::Xact(detail) => {
                progress.at(output, detail.xact.start);
                if detail.xact.kind.is_commit() {
                    commits += 1;
                    first = first.or(Some(detail.xact));
                    last = Some(detail.xact);
                }
            }
            Event::Xlog { start, event, .. } => entries.extend(of_record(*start, event)),
            Event::Prepare(_) => {}
        }
        true
    })?;
    output.progress(None);
    for (xact, what) in [(first, "first commit"), (last, "last commit")] {
        entries.extend(xact.map(|xact| Entry {
            lsn: xact.start,
            time: Some(xact.unix_us),
            what,
            detail: format!("transaction {}", xact.xid),
        }));
    }
    entries
        .retain(|entry| range.has(entry.lsn) && entry.time.is_none_or(|time| range.has_time(time)));
    entries.sort_by_key(|entry| entry.lsn);
    if output.json {
        output.document(json!({
            "timelines": timelines_json(&listing),
            "chain": wal.chain().links().iter().map(|link| link.timeline).collect::<Vec<_>>(),
            "commits": commits,
            "events": entries.iter().map(entry_json).collect::<Vec<_>>(),
            "end": end.as_ref().map(end_json),
        }));
    } else {
        let mut table = Table::new(&["lsn", "time", "what", "detail"]);
        for entry in &entries {
            table.row(vec![
                entry.lsn.to_string(),
                entry.time.map_or_else(String::new, format_time),
                entry.what.to_string(),
                entry.detail.clone(),
            ]);
        }
        table.print(output);
        let mut note = format!("{commits} commits");
        if let Some(end) = end.as_ref().filter(|end| !end.is_damage()) {
            note += &format!("; {end}");
        }
        output.remark(&output.color("2", &note));
    }
    match end {
        Some(end) if end.is_damage() => Err(end.into()),
        _ => Ok(exit::PASS),
    }
}

fn branches(wal: &Wal) -> Vec<Entry> {
    let links = wal.chain().links();
    let pairs = links.iter().zip(links.iter().skip(1));
    pairs
        .map(|(parent, child)| Entry {
            lsn: child.begin,
            time: None,
            what: "new timeline",
            detail: format!("{} -> {}", parent.timeline, child.timeline),
        })
        .collect()
}

/// Base backups leave a small file in the archive when they end.
fn backups(listing: &Listing, wal: &Wal) -> Vec<Entry> {
    let mut entries = Vec::new();
    for name in &listing.backups {
        let text = fs::read_to_string(listing.dir.join(name)).unwrap_or_default();
        let Ok(backup) = BackupHistory::parse(&text) else {
            continue;
        };
        if !wal.chain().contains(backup.label.timeline) {
            continue;
        }
        let label = backup.label.label.unwrap_or_default();
        entries.push(Entry {
            lsn: backup.stop,
            time: None,
            what: "base backup",
            detail: format!("{label}: began at {}, complete here", backup.label.start),
        });
    }
    entries
}

fn of_record(lsn: Lsn, event: &XlogEvent) -> Option<Entry> {
    let entry = |time, what, detail| {
        Some(Entry {
            lsn,
            time,
            what,
            detail,
        })
    };
    match event {
        XlogEvent::Checkpoint {
            redo,
            shutdown,
            time,
            ..
        } => entry(
            time.checked_mul(1_000_000),
            if *shutdown {
                "shutdown checkpoint"
            } else {
                "checkpoint"
            },
            format!("redo from {redo}"),
        ),
        XlogEvent::RestorePoint { name, unix_us } => {
            entry(Some(*unix_us), "restore point", name.clone())
        }
        XlogEvent::EndOfRecovery {
            timeline,
            previous_timeline,
            unix_us,
        } => entry(
            Some(*unix_us),
            "end of recovery",
            format!("{previous_timeline} -> {timeline}"),
        ),
        XlogEvent::Overwrite { lost } => entry(
            None,
            "crash",
            format!("the record at {lost} was never completed"),
        ),
        XlogEvent::BackupEnd { .. } | XlogEvent::Switch => None,
    }
}

fn entry_json(entry: &Entry) -> Value {
    json!({
        "lsn": entry.lsn.to_string(),
        "time": entry.time.map(format_time),
        "what": entry.what,
        "detail": entry.detail,
    })
}

fn timelines_json(listing: &Listing) -> Vec<Value> {
    let timelines = listing.segments.keys();
    timelines
        .map(|timeline| {
            let fork = listing
                .histories
                .get(timeline)
                .and_then(|history| history.last());
            json!({
                "timeline": timeline,
                "parent": fork.map(|entry| entry.timeline),
                "forked_at": fork.map(|entry| entry.switchpoint.to_string()),
                "why": fork.map(|entry| entry.reason.clone()),
            })
        })
        .collect()
}
