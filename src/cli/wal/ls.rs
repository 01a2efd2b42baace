//! `rpitr wal ls`: the files, the positions they cover, and what is missing between them.

use std::time::SystemTime;

use serde_json::json;

use super::args::Place;
use super::filter::Range;
use super::output::{Output, Table, bytes};
use crate::archive::{WalFile, files, gaps};
use crate::exit;
use crate::failure::Failure;
use crate::moment::format_time;
use crate::runtime::Source;
use crate::wal::Lsn;

/// Names only: nothing is opened but a few headers and the history files.
pub fn run(place: &Place, source: &Source, output: &mut Output) -> Result<i32, Failure> {
    let listing = source.listing()?;
    let size = listing.segment_size();
    let range = Range::of(place);
    let wanted = |file: &WalFile| {
        place
            .timeline
            .is_none_or(|timeline| timeline == file.timeline)
            && range
                .from
                .is_none_or(|from| file.end.or(file.start).is_none_or(|end| end > from))
            && range
                .to
                .is_none_or(|to| file.start.is_none_or(|start| start < to))
            && micros(file.modified).is_none_or(|time| range.has_time(time))
    };
    let listed: Vec<WalFile> = files(&source.dir, size)?
        .into_iter()
        .filter(wanted)
        .collect();
    let mut missing = Vec::new();
    for timeline in listing.segments.keys().copied() {
        if place.timeline.is_none_or(|wanted| wanted == timeline) {
            for (first, last) in gaps(&listing, timeline) {
                let (start, end) = (size.start(first), size.start(last + 1));
                if range.from.is_none_or(|from| end > from) && range.to.is_none_or(|to| start < to)
                {
                    missing.push(Missing {
                        first: size.name(timeline, first),
                        last: size.name(timeline, last),
                        start,
                        end,
                        segments: last - first + 1,
                    });
                }
            }
        }
    }
    if output.json {
        output.document(json!({
            "folder": source.dir,
            "segment_size": size.bytes(),
            "system_id": listing.identity.map(|identity| identity.system_id.to_string()),
            "major": listing.identity.map(|identity| identity.major()),
            "files": listed.iter().map(file_json).collect::<Vec<_>>(),
            "missing": missing.iter().map(Missing::json).collect::<Vec<_>>(),
            "others": listing.others,
        }));
    } else {
        print(&listed, &missing, output);
        summary(&listed, &missing, &listing, output);
    }
    Ok(if missing.is_empty() {
        exit::PASS
    } else {
        exit::FAILED
    })
}

/// A run of segments that must exist and do not.
struct Missing {
    first: String,
    last: String,
    start: Lsn,
    end: Lsn,
    segments: u64,
}

impl Missing {
    fn json(&self) -> serde_json::Value {
        json!({
            "first": self.first, "last": self.last, "segments": self.segments,
            "start": self.start.to_string(), "end": self.end.to_string(),
        })
    }
}

fn micros(time: Option<SystemTime>) -> Option<i64> {
    let since = time?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_micros()).ok()
}

fn when(file: &WalFile) -> String {
    // To the second: a file's time says when it was archived, not what is in it.
    micros(file.modified).map_or_else(String::new, |time| {
        format!("{}+00", format_time(time).get(..19).unwrap_or_default())
    })
}

fn file_json(file: &WalFile) -> serde_json::Value {
    json!({
        "name": file.name,
        "kind": file.kind(),
        "timeline": file.timeline,
        "start": file.start.map(|lsn| lsn.to_string()),
        "end": file.end.map(|lsn| lsn.to_string()),
        "bytes": file.bytes,
        "modified": micros(file.modified).map(format_time),
    })
}

fn print(listed: &[WalFile], missing: &[Missing], output: &mut Output) {
    let mut table = Table::new(&["file", "kind", "start", "end", ">size", "modified"]);
    let text = |lsn: Option<Lsn>| lsn.map_or_else(String::new, |lsn| lsn.to_string());
    let mut gaps = missing.iter().peekable();
    for file in listed {
        while let Some(gap) = gaps.next_if(|gap| gap.first < file.name) {
            gap_row(gap, &mut table);
        }
        table.row(vec![
            file.name.clone(),
            file.kind().to_string(),
            text(file.start),
            text(file.end),
            bytes(file.bytes),
            when(file),
        ]);
    }
    for gap in gaps {
        gap_row(gap, &mut table);
    }
    if !table.is_empty() {
        table.print(output);
    }
}

fn gap_row(gap: &Missing, table: &mut Table) {
    table.row(vec![
        gap.first.clone(),
        "MISSING".into(),
        gap.start.to_string(),
        gap.end.to_string(),
        match gap.segments {
            1 => String::new(),
            segments => format!("{segments} files"),
        },
        match gap.segments {
            1 => String::new(),
            _ => format!("up to {}", gap.last),
        },
    ]);
}

fn summary(
    listed: &[WalFile],
    missing: &[Missing],
    listing: &crate::archive::Listing,
    output: &mut Output,
) {
    let total = listed.iter().map(|file| file.bytes).sum();
    let gone: u64 = missing.iter().map(|gap| gap.segments).sum();
    let cluster = listing.identity.map_or_else(String::new, |identity| {
        format!(
            ", PostgreSQL {}, cluster {}",
            identity.major(),
            identity.system_id
        )
    });
    let text = format!("{} files, {}{cluster}", listed.len(), bytes(total));
    output.remark(&output.color("2", &text));
    if gone > 0 {
        let first = missing.first().map_or("", |gap| gap.first.as_str());
        let text = format!(
            "{gone} segment{} missing; copy {first} from the server's pg_wal or from another copy of the archive, \
             or recover to a target before it",
            if gone == 1 { " is" } else { "s are" }
        );
        output.remark(&output.color("31", &text));
    }
}
