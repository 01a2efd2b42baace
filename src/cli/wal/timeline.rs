//! `rpitr wal timeline`: what happened, in WAL order.

use serde_json::{Value, json};

use super::args::Place;
use super::filter::Range;
use super::output::{Output, Progress, Table, end_json};
use crate::archive::{Happening, Listing, story};
use crate::exit;
use crate::failure::Failure;
use crate::moment::format_time;
use crate::runtime::Source;

pub fn run(place: &Place, source: &Source, output: &mut Output) -> Result<i32, Failure> {
    let range = Range::of(place);
    let wal = source.wal(place.timeline)?;
    let mut progress = Progress::new(range.start(&wal), range.to.or_else(|| wal.last()));
    let mut story = story(&source.dir, place.timeline, range.from, range.to, |lsn| {
        progress.at(output, lsn);
    })?;
    output.progress(None);
    story
        .happenings
        .retain(|happening| happening.time.is_none_or(|time| range.has_time(time)));
    if output.json {
        output.document(json!({
            "timelines": timelines_json(&source.listing()?),
            "chain": story.chain,
            "commits": story.commits,
            "events": story.happenings.iter().map(happening_json).collect::<Vec<_>>(),
            "end": story.end.as_ref().map(end_json),
        }));
    } else {
        let mut table = Table::new(&["lsn", "time", "what", "detail"]);
        for happening in &story.happenings {
            table.row(vec![
                happening.lsn.to_string(),
                happening.time.map_or_else(String::new, format_time),
                happening.what.to_string(),
                happening.detail.clone(),
            ]);
        }
        table.print(output);
        let mut note = format!("{} commits", story.commits);
        if let Some(end) = story.end.as_ref().filter(|end| !end.is_damage()) {
            note += &format!("; {end}");
        }
        output.remark(&output.color("2", &note));
    }
    match story.end {
        Some(end) if end.is_damage() => Err(end.into()),
        _ => Ok(exit::PASS),
    }
}

fn happening_json(happening: &Happening) -> Value {
    json!({
        "lsn": happening.lsn.to_string(),
        "time": happening.time.map(format_time),
        "what": happening.what,
        "detail": happening.detail,
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
