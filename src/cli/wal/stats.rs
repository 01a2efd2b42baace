//! `rpitr wal stats`: what wrote the WAL.

use serde_json::{Value, json};

use super::args::Place;
use super::filter::Range;
use super::output::{Output, Progress, Table, bytes, end_json};
use crate::exit;
use crate::failure::{Failure, Kind};
use crate::runtime::Source;
use crate::wal::{Count, Lsn, Statistics};

pub fn run(place: &Place, source: &Source, output: &mut Output) -> Result<i32, Failure> {
    let range = Range::of(place);
    if range.from_time.is_some() || range.to_time.is_some() {
        return Err(
            Failure::new(Kind::Arg, "wal stats counts records, which have no time")
                .hint("give an LSN; rpitr wal commits shows the LSN of each commit"),
        );
    }
    let wal = source.wal(place.timeline)?;
    let start = range.start(&wal);
    let mut progress = Progress::new(start, range.to.or_else(|| wal.last()));
    let statistics = Statistics::read(&wal, start, range.to, |lsn| progress.at(output, lsn));
    output.progress(None);
    let damage = statistics.end.as_ref().filter(|end| end.is_damage());
    if output.json {
        output.document(json!({
            "first": statistics.first.map(|lsn| lsn.to_string()),
            "last": statistics.last.map(|lsn| lsn.to_string()),
            "managers": statistics.by_manager().map(|(name, count)| {
                let mut entry = count_json(count);
                entry["name"] = name.into();
                entry
            }).collect::<Vec<_>>(),
            "total": count_json(statistics.total()),
            "end": statistics.end.as_ref().map(end_json),
        }));
    } else {
        print(&statistics, output);
    }
    match damage {
        Some(end) => Err(end.clone().into()),
        None => Ok(exit::PASS),
    }
}

fn count_json(count: Count) -> Value {
    json!({ "records": count.records, "bytes": count.bytes, "image_bytes": count.image_bytes })
}

fn print(statistics: &Statistics, output: &mut Output) {
    let total = statistics.total();
    let share = |count: Count| match total.total() {
        0 => String::new(),
        all => format!("{:.1} %", count.total() as f64 * 100.0 / all as f64),
    };
    let mut table = Table::new(&[
        "manager",
        ">records",
        ">data",
        ">page images",
        ">together",
        ">share",
    ]);
    let mut row = |name: String, count: Count| {
        table.row(vec![
            name,
            count.records.to_string(),
            bytes(count.bytes),
            bytes(count.image_bytes),
            bytes(count.total()),
            share(count),
        ]);
    };
    let mut managers: Vec<_> = statistics.by_manager().collect();
    managers.sort_by_key(|(_, count)| std::cmp::Reverse(count.total()));
    for (name, count) in managers {
        row(name, count);
    }
    row("total".into(), total);
    table.print(output);
    let text = |lsn: Option<Lsn>| lsn.map_or_else(|| "-".to_string(), |lsn| lsn.to_string());
    let mut note = format!(
        "from {} to {}",
        text(statistics.first),
        text(statistics.last)
    );
    if let Some(end) = statistics.end.as_ref().filter(|end| !end.is_damage()) {
        note += &format!("; {end}");
    }
    output.remark(&output.color("2", &note));
}
