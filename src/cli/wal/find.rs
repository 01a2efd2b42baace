//! `rpitr wal find`: what destroyed data, and the recovery target just before each.

use serde_json::{Value, json};

use super::args::Find;
use super::commits::{rows_json, rows_text};
use super::output::{Output, Table, end_json};
use crate::exit;
use crate::failure::Failure;
use crate::moment::format_time;
use crate::runtime::Source;
use crate::wal::{AnalysisOptions, Incident, Xact, incidents};

/// Up to so many are explained one by one.
const EXPLAINED: usize = 3;

pub fn run(args: &Find, source: &Source, output: &mut Output) -> Result<i32, Failure> {
    let wal = source.wal(args.commits.place.timeline)?;
    let options = AnalysisOptions {
        harmless: args.harmless,
        ..args.commits.options()
    };
    output.progress(Some("reading"));
    let (mut found, analysis) = incidents(&wal, &options)?;
    output.progress(None);
    let wanted = args.commits.wanted();
    found.retain(|incident| wanted.incident(incident));
    found.truncate(args.commits.limit.unwrap_or(usize::MAX));
    let end = analysis.summary.end;
    if output.json {
        output.document(json!({
            "incidents": found.iter().map(incident_json).collect::<Vec<_>>(),
            "commits": analysis.summary.commits,
            "end": end_json(&end),
        }));
    } else {
        print(&found, analysis.summary.commits, output);
    }
    if end.is_damage() {
        Err(end.into())
    } else {
        Ok(exit::PASS)
    }
}

/// `a, b and 3 more`.
fn short_list(names: &[String]) -> String {
    match names {
        [] => "?".into(),
        [first, second, rest @ ..] if rest.len() > 1 => {
            format!("{first}, {second} and {} more", rest.len())
        }
        few => few.join(", "),
    }
}

fn what(incident: &Incident) -> String {
    if incident.schemas.is_empty() {
        short_list(&incident.names())
    } else {
        format!(
            "{}: {}",
            incident.schemas.join(", "),
            short_list(&incident.names())
        )
    }
}

fn print(found: &[Incident], commits: u64, output: &mut Output) {
    let mut table = Table::new(&[
        "time",
        "kind",
        "what",
        ">rows",
        ">xid",
        "target, exclusive",
        ">keeps",
        ">gives up",
    ]);
    for incident in found {
        table.row(vec![
            format_time(incident.xact.unix_us),
            incident.kind.word().into(),
            what(incident),
            rows_text(&incident.rows),
            incident.xact.xid.to_string(),
            incident.target.lsn.to_string(),
            incident.commits_kept.to_string(),
            incident.commits_lost.to_string(),
        ]);
    }
    if !table.is_empty() {
        table.print(output);
    }
    if found.len() <= EXPLAINED {
        for incident in found {
            explain(incident, output);
        }
    }
    let text = format!("{} found among {commits} commits", found.len());
    output.remark(&output.color("2", &text));
}

fn commit_text(xact: Option<&Xact>) -> String {
    xact.map_or_else(
        || "none".into(),
        |xact| {
            format!(
                "transaction {} at {}, {}",
                xact.xid,
                xact.start,
                format_time(xact.unix_us)
            )
        },
    )
}

fn explain(incident: &Incident, output: &mut Output) {
    let mut say = |text: &str| output.line(text);
    let target = &incident.target;
    say("");
    say(&format!(
        "{} of {}",
        incident.kind.word(),
        incident.names().join(", ")
    ));
    say(&format!(
        "  recover to   recovery_target_lsn = '{}', recovery_target_inclusive = off, recovery_target_timeline = {}, \
         recovery_target_action = promote",
        target.lsn, target.timeline
    ));
    let mut others = Vec::new();
    others.extend(target.xid.map(|xid| format!("xid {xid}, exclusive")));
    others.extend(
        target
            .time
            .map(|time| format!("time {}, exclusive", format_time(time))),
    );
    others.extend(
        target
            .pause_lsn
            .map(|lsn| format!("with pause: lsn {lsn}, exclusive")),
    );
    if !others.is_empty() {
        say(&format!("  or to        {}", others.join("; ")));
    }
    say(&format!(
        "  keeps        {} commits, the last: {}",
        incident.commits_kept,
        commit_text(incident.last_kept.as_ref())
    ));
    say(&format!(
        "  gives up     {} commits, the first: {}",
        incident.commits_lost,
        commit_text(incident.first_lost.as_ref())
    ));
    say(&match &incident.backup {
        Some(backup) => format!(
            "  base backup  the one from {} to {}, timeline {}",
            backup.start, backup.stop, backup.timeline
        ),
        None => "  base backup  none that ended in this WAL reaches it; one from before may".into(),
    });
    for note in &incident.notes {
        say(&format!("  note         {note}"));
    }
}

fn xact_json(xact: &Xact) -> Value {
    json!({ "xid": xact.xid, "lsn": xact.start.to_string(), "time": format_time(xact.unix_us) })
}

fn incident_json(incident: &Incident) -> Value {
    let target = &incident.target;
    let relations = incident.relations.iter().map(|lost| {
        let mut entry = rows_json(&lost.rows);
        entry["name"] = lost.relation.to_string().into();
        entry["oid"] = lost.relation.oid.into();
        entry["kind"] = lost.relation.kind.map(|kind| kind.word()).into();
        entry["unlogged"] = lost.relation.unlogged.into();
        entry
    });
    json!({
        "kind": incident.kind.word(),
        "harmless": incident.kind.is_harmless(),
        "names": incident.names(),
        "relations": relations.collect::<Vec<_>>(),
        "schemas": incident.schemas,
        "database": incident.database_name,
        "xid": incident.xact.xid,
        "lsn": incident.xact.start.to_string(),
        "end_lsn": incident.xact.end.to_string(),
        "first_lsn": incident.first_lsn.to_string(),
        "time": format_time(incident.xact.unix_us),
        "timeline": incident.xact.timeline,
        "cascade": incident.cascade,
        "rows": rows_json(&incident.rows),
        "target": {
            "lsn": target.lsn.to_string(),
            "inclusive": false,
            "timeline": target.timeline,
            "xid": target.xid,
            "time": target.time.map(format_time),
            "pause_lsn": target.pause_lsn.map(|lsn| lsn.to_string()),
        },
        "backup": incident.backup.map(|backup| json!({
            "start": backup.start.to_string(), "stop": backup.stop.to_string(), "timeline": backup.timeline,
        })),
        "last_kept": incident.last_kept.as_ref().map(xact_json),
        "first_lost": incident.first_lost.as_ref().map(xact_json),
        "commits_kept": incident.commits_kept,
        "commits_lost": incident.commits_lost,
        "commits_during": incident.commits_during,
        "notes": incident.notes,
    })
}
