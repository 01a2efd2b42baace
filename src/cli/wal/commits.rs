//! `rpitr wal commits`: the transactions that ended, in WAL order.

use serde_json::{Value, json};

use super::args::Commits;
use super::filter::Range;
use super::output::{Output, Progress, end_json};
use crate::exit;
use crate::failure::Failure;
use crate::moment::format_time;
use crate::runtime::Source;
use crate::wal::{Event, XactDetail, XactKind, walk};

pub fn run(args: &Commits, source: &Source, output: &mut Output) -> Result<i32, Failure> {
    let range = Range::of(&args.place);
    let wal = source.wal(args.place.timeline)?;
    let start = range.start(&wal);
    let mut progress = Progress::new(start, range.to.or_else(|| wal.last()));
    let wanted = |detail: &XactDetail| {
        let xact = &detail.xact;
        (args.aborted || xact.kind.is_commit())
            && range.has_time(xact.unix_us)
            && args
                .xid
                .is_none_or(|xid| xact.xid == xid || detail.subxacts.contains(&xid))
    };
    output.begin_list("commits");
    if !output.json {
        output.line(&output.color("2", &head()));
    }
    let mut shown = 0;
    let end = walk(&wal, start, range.to, |event| {
        let Event::Xact(detail) = event else {
            return true;
        };
        progress.at(output, detail.xact.start);
        if wanted(detail) {
            if output.json {
                output.entry(&xact_json(detail));
            } else {
                output.line(&line(detail));
            }
            shown += 1;
        }
        !output.closed() && args.limit.is_none_or(|limit| shown < limit)
    })?;
    output.progress(None);
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

fn kind(detail: &XactDetail) -> &'static str {
    match detail.xact.kind {
        XactKind::Commit => "commit",
        XactKind::CommitPrepared => "commit prepared",
        XactKind::Abort => "abort",
        XactKind::AbortPrepared => "abort prepared",
    }
}

fn head() -> String {
    format!("{:<18} {:<32} {:>10}  {}", "lsn", "time", "xid", "what")
}

fn line(detail: &XactDetail) -> String {
    let mut what = kind(detail).to_string();
    if let Some(gid) = &detail.gid {
        what += &format!(" {gid:?}");
    }
    if !detail.subxacts.is_empty() {
        what += &format!(", {} subtransactions", detail.subxacts.len());
    }
    if detail.dropped_relations > 0 {
        what += &format!(", {} relation files removed", detail.dropped_relations);
    }
    let xact = &detail.xact;
    format!(
        "{:<18} {:<32} {:>10}  {what}",
        xact.start.to_string(),
        format_time(xact.unix_us),
        xact.xid
    )
}

fn xact_json(detail: &XactDetail) -> Value {
    let xact = &detail.xact;
    json!({
        "xid": xact.xid,
        "kind": kind(detail),
        "lsn": xact.start.to_string(),
        "end_lsn": xact.end.to_string(),
        "timeline": xact.timeline,
        "time": format_time(xact.unix_us),
        "subtransactions": detail.subxacts,
        "gid": detail.gid,
        "dropped_relations": detail.dropped_relations,
    })
}
