//! `rpitr wal verify`: reads every record of every timeline and names each file that is missing or
//! bad.

use serde_json::json;

use super::args::Place;
use super::filter::Range;
use super::output::{Output, Table};
use crate::archive::{self, Finding};
use crate::exit;
use crate::failure::{Failure, Kind};
use crate::runtime::Source;

pub fn run(place: &Place, source: &Source, output: &mut Output) -> Result<i32, Failure> {
    let range = Range::of(place);
    if range.from_time.is_some() || range.to_time.is_some() {
        return Err(
            Failure::new(Kind::Arg, "wal verify checks positions, which have no time")
                .hint("give an LSN; rpitr wal commits shows the LSN of each commit"),
        );
    }
    output.progress(Some("verifying"));
    let listing = source.listing()?;
    let segments: usize = listing.segments.values().map(|set| set.len()).sum();
    if segments == 0 {
        return Err(crate::wal::Error::NoSegments {
            dir: source.dir.clone(),
        }
        .into());
    }
    let findings = archive::verify(&source.dir, range.from, range.to)?;
    output.progress(None);
    if output.json {
        output.document(json!({
            "segments": segments,
            "timelines": listing.segments.keys().collect::<Vec<_>>(),
            "findings": findings.iter().map(finding_json).collect::<Vec<_>>(),
        }));
    } else if findings.is_empty() {
        output.line(&format!(
            "{segments} segments on {} timeline{}: no gap, every record has its checksum",
            listing.segments.len(),
            if listing.segments.len() == 1 { "" } else { "s" }
        ));
    } else {
        print(&findings, output);
    }
    Ok(if findings.is_empty() {
        exit::PASS
    } else {
        exit::FAILED
    })
}

fn finding_json(finding: &Finding) -> serde_json::Value {
    json!({
        "kind": finding.kind.name(),
        "file": finding.file,
        "lsn": finding.lsn.map(|lsn| lsn.to_string()),
        "reason": finding.reason,
    })
}

fn print(findings: &[Finding], output: &mut Output) {
    let mut table = Table::new(&["problem", "file", "first bad position", "reason"]);
    for finding in findings {
        table.row(vec![
            finding.kind.name().to_string(),
            finding.file.clone(),
            finding.lsn.map_or_else(String::new, |lsn| lsn.to_string()),
            finding.reason.clone(),
        ]);
    }
    table.print(output);
    let text = format!(
        "{} problem{}; copy the files named here from another copy of the archive, or recover to a target before them",
        findings.len(),
        if findings.len() == 1 { "" } else { "s" }
    );
    output.remark(&output.color("31", &text));
}
