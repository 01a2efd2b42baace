//! `rpitr wal commits`: the transactions that ended, in WAL order, with the tables they changed.

use serde_json::{Value, json};

use super::args::Commits;
use super::filter::Range;
use super::output::{Output, Progress, end_json};
use crate::exit;
use crate::failure::Failure;
use crate::moment::format_time;
use crate::runtime::Source;
use crate::wal::{Commit, Rows, XactKind, commits};

pub fn run(args: &Commits, source: &Source, output: &mut Output) -> Result<i32, Failure> {
    let wal = source.wal(args.place.timeline)?;
    let range = Range::of(&args.place);
    let from = wal.first().unwrap_or_default();
    let mut progress = Progress::new(from, range.to.or_else(|| wal.last()));
    output.begin_list("commits");
    if !output.json {
        output.line(&output.color("2", &head()));
    }
    let mut shown = 0;
    let cell = std::cell::RefCell::new(&mut *output);
    let analysis = commits(
        &wal,
        &args.wanted(),
        &args.options(),
        |lsn| {
            progress.at(&cell.borrow(), lsn);
            !cell.borrow().closed()
        },
        |commit| {
            let mut output = cell.borrow_mut();
            if output.json {
                output.entry(&commit_json(commit));
            } else {
                output.line(&line(commit));
            }
            shown += 1;
            !output.closed() && args.limit.is_none_or(|limit| shown < limit)
        },
    )?;
    output.progress(None);
    let end = (!analysis.stopped).then_some(analysis.summary.end);
    output.end_list(&json!({ "end": end.as_ref().map(end_json) }));
    match end {
        Some(end) if end.is_damage() => Err(end.into()),
        Some(end) => {
            output.remark(&output.color("2", &format!("{shown} shown; {end}")));
            Ok(exit::PASS)
        }
        None => Ok(exit::PASS),
    }
}

fn kind(commit: &Commit) -> &'static str {
    match commit.transaction.xact.kind {
        XactKind::Commit => "commit",
        XactKind::CommitPrepared => "commit prepared",
        XactKind::Abort => "abort",
        XactKind::AbortPrepared => "abort prepared",
    }
}

fn head() -> String {
    format!("{:<18} {:<30} {:>10}  what", "lsn", "time", "xid")
}

/// `+` inserted, `~` updated, `-` deleted.
pub(super) fn rows_text(rows: &Rows) -> String {
    let parts = [
        ('+', rows.inserted),
        ('~', rows.updated),
        ('-', rows.deleted),
    ];
    let parts = parts.iter().filter(|(_, count)| *count > 0);
    let parts: Vec<String> = parts
        .map(|(sign, count)| format!("{sign}{count}"))
        .collect();
    parts.join(" ")
}

fn line(commit: &Commit) -> String {
    let mut what = Vec::new();
    if kind(commit) != "commit" {
        what.push(match &commit.transaction.gid {
            Some(gid) => format!("{} {gid:?}", kind(commit)),
            None => kind(commit).to_string(),
        });
    }
    for (kind, names) in &commit.destroyed {
        what.push(format!(
            "{} {}",
            kind.word().to_uppercase(),
            names.join(" ")
        ));
    }
    for (table, rows) in &commit.tables {
        what.push(format!("{table} {}", rows_text(rows)));
    }
    if commit.catalogs.total() > 0 {
        what.push(format!("catalogs {}", rows_text(&commit.catalogs)));
    }
    if !commit.transaction.subxacts.is_empty() {
        what.push(format!(
            "{} subtransactions",
            commit.transaction.subxacts.len()
        ));
    }
    let xact = &commit.transaction.xact;
    format!(
        "{:<18} {:<30} {:>10}  {}",
        xact.start.to_string(),
        format_time(xact.unix_us),
        xact.xid,
        what.join(", ")
    )
}

pub(super) fn rows_json(rows: &Rows) -> Value {
    json!({ "inserted": rows.inserted, "updated": rows.updated, "deleted": rows.deleted })
}

fn commit_json(commit: &Commit) -> Value {
    let transaction = &commit.transaction;
    let xact = &transaction.xact;
    let tables = commit.tables.iter().map(|(table, rows)| {
        let mut entry = rows_json(rows);
        entry["table"] = table.to_string().into();
        entry
    });
    let destroyed = commit.destroyed.iter();
    let destroyed = destroyed.map(|(kind, names)| json!({ "kind": kind.word(), "names": names }));
    json!({
        "xid": xact.xid,
        "kind": kind(commit),
        "lsn": xact.start.to_string(),
        "end_lsn": xact.end.to_string(),
        "first_lsn": transaction.first_lsn.to_string(),
        "timeline": xact.timeline,
        "time": format_time(xact.unix_us),
        "tables": tables.collect::<Vec<_>>(),
        "catalogs": rows_json(&commit.catalogs),
        "destroyed": destroyed.collect::<Vec<_>>(),
        "subtransactions": transaction.subxacts,
        "gid": transaction.gid,
    })
}
