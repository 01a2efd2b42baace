//! `rpitr report`: compare two runs, look at how a drill develops, make the files again.

use std::path::Path;

use super::args::ReportCommand;
use crate::exit;
use crate::failure::{Failure, Kind};
use crate::report::{Change, History, Run, diff, median, read, write};
use crate::runtime::StateRoot;

pub fn report(command: &ReportCommand) -> Result<i32, Failure> {
    match command {
        ReportCommand::Diff {
            before,
            after,
            json,
        } => compare(before, after, *json),
        ReportCommand::Trend { drill, last, json } => trend(drill.as_deref(), *last, *json),
        ReportCommand::Render { folder } => {
            let document = read(folder)?;
            let finished =
                chrono::DateTime::parse_from_str(&document.finished, "%Y-%m-%d %H:%M:%S%.f%#z")
                    .map_or(0, |time| time.timestamp());
            write(folder, &document, finished, None)?;
            outln!("{}", folder.join("report.html").display());
            Ok(exit::PASS)
        }
    }
}

/// Worse is exit code 10, so that a pipeline can ask.
fn compare(before: &Path, after: &Path, json: bool) -> Result<i32, Failure> {
    let (a, b) = (read(before)?, read(after)?);
    let found = diff(&a, &b);
    let worse = found
        .iter()
        .filter(|difference| difference.change == Change::Worse)
        .count();
    if json {
        let list: Vec<_> = found
            .iter()
            .map(|d| serde_json::json!({ "what": d.what, "before": d.before, "after": d.after, "change": word(d.change) }))
            .collect();
        outln!(
            "{}",
            serde_json::json!({ "differences": list, "worse": worse })
        );
    } else if found.is_empty() {
        outln!("no difference worth a line");
    } else {
        let rows: Vec<_> = found
            .iter()
            .map(|d| {
                [
                    word(d.change).to_string(),
                    d.what.clone(),
                    d.before.clone(),
                    d.after.clone(),
                ]
            })
            .collect();
        print_table(["", "what", "before", "after"], &rows);
    }
    Ok(if worse > 0 { exit::FAILED } else { exit::PASS })
}

fn word(change: Change) -> &'static str {
    match change {
        Change::Better => "better",
        Change::Worse => "worse",
        Change::Other => "",
    }
}

fn trend(drill: Option<&str>, last: usize, json: bool) -> Result<i32, Failure> {
    let path = StateRoot::default_path()?.join("history.db");
    if !path.exists() {
        return Err(Failure::new(Kind::State, "no run is on record yet")
            .hint("every drill that is run is kept: rpitr full_recovery"));
    }
    let history = History::open(&path)?;
    let drills = history.drills()?;
    let names: Vec<String> = match drill {
        Some(name) if drills.iter().any(|known| known == name) => vec![name.to_string()],
        Some(name) => {
            return Err(
                Failure::new(Kind::Arg, format!("no run of {name} is on record"))
                    .code("usage")
                    .hint(format!("there are runs of: {}", drills.join(", "))),
            );
        }
        None => drills,
    };
    for name in names {
        let runs = history.runs(&name, last)?;
        if json {
            for run in &runs {
                outln!("{}", as_json(run));
            }
        } else {
            show_trend(&name, &runs);
        }
    }
    Ok(exit::PASS)
}

fn as_json(run: &Run) -> serde_json::Value {
    serde_json::json!({
        "drill": run.drill, "run": run.run, "started": run.started, "verdict": run.verdict,
        "runtime": run.runtime, "seconds": run.seconds, "rto": run.rto, "rpo": run.rpo,
    })
}

fn show_trend(name: &str, runs: &[Run]) {
    outln!("{name}");
    let most = runs.iter().filter_map(|run| run.rto).fold(0.0, f64::max);
    let rows: Vec<_> = runs
        .iter()
        .map(|run| {
            let rto = run.rto.map_or("-".into(), |rto| format!("{rto:.2} s"));
            let length = run.rto.map_or(0.0, |rto| 30.0 * rto / most.max(1e-9));
            [
                run.started.chars().take(19).collect(),
                run.verdict.clone(),
                run.runtime.clone(),
                rto,
                "#".repeat(length.round() as usize),
            ]
        })
        .collect();
    print_table(["started", "verdict", "runtime", "RTO", ""], &rows);
    let mut passed: Vec<f64> = runs
        .iter()
        .filter(|run| run.verdict == "pass")
        .filter_map(|run| run.rto)
        .collect();
    passed.sort_by(f64::total_cmp);
    if let (Some(first), Some(median), Some(last)) =
        (passed.first(), median(&passed), passed.last())
    {
        outln!(
            "RTO of {} passed runs: median {median:.2} s, best {first:.2} s, worst {last:.2} s\n",
            passed.len()
        );
    }
}

fn print_table<const N: usize>(head: [&str; N], rows: &[[String; N]]) {
    let mut widths = head.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: [&str; N]| {
        let mut out = String::new();
        for (cell, width) in cells.iter().zip(widths) {
            out.push_str(cell);
            out.push_str(&" ".repeat(width.saturating_sub(cell.chars().count()) + 2));
        }
        outln!("{}", out.trim_end());
    };
    line(head);
    for row in rows {
        line(row.each_ref().map(String::as_str));
    }
}
