//! `rpitr wal watch`: the loop that keeps a catalogue of captured WAL.
//!
//! It may be killed at any moment and started again: all it knows is in the catalogue, and the catalogue
//! starts each scan from the directory.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{SecondsFormat, Utc};
use clap::Args;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use super::super::args::{Global, duration};
use super::output::bytes;
use crate::catalogue::{self, Catalogue, DEFAULT_FILE, Lag, Sample, Scan, Standing, State};
use crate::engine::show_failure;
use crate::exit;
use crate::failure::{Failure, Kind};
use crate::runtime::{Source, local_view, open_source};
use crate::sql::{Connection, Env, Settings};

/// `rpitr wal watch`.
#[derive(Debug, Clone, Args)]
pub struct Watch {
    /// The directory of a receiver or an archive, or lab:NODE (lab:LAB/NODE) of a lab
    #[arg(value_name = "DIR|lab:NODE")]
    pub place: String,
    /// Scan once and exit: 0 when nothing is wrong, 10 otherwise
    #[arg(long)]
    pub once: bool,
    /// How often to look, such as 1s
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1s")]
    pub every: Duration,
    /// The server whose WAL this is: report how far capture is behind it
    #[arg(long, value_name = "URL")]
    pub primary: Option<String>,
    /// The receiver's application_name on the primary; default: the lab's node, or pg_receivewal
    #[arg(long, value_name = "NAME")]
    pub receiver: Option<String>,
    /// The receiver's replication slot on the primary
    #[arg(long, value_name = "NAME")]
    pub slot: Option<String>,
    /// Copy the catalogue to the table rpitr.wal_segments of the primary
    #[arg(long, requires = "primary")]
    pub mirror: bool,
    /// The catalogue's file; default: inside the directory, of a lab's node inside the lab
    #[arg(long, value_name = "FILE")]
    pub catalogue: Option<PathBuf>,
    /// Read every segment again, verified or not
    #[arg(long)]
    pub recheck: bool,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// How long one scan may read before the rest of the loop has its turn.
const READING: Duration = Duration::from_secs(2);
/// A primary that does not answer must not stop the watch: capture is for the day it is gone.
const ANSWER: Duration = Duration::from_secs(5);

/// Runs the command to an exit code.
pub fn run(arguments: &Watch, global: &Global) -> i32 {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => tokio::task::LocalSet::new().block_on(&runtime, watch(arguments)),
        Err(error) => Err(Failure::new(Kind::Internal, error.to_string())),
    };
    outcome.unwrap_or_else(|failure| show_failure(&failure, global.color, global.error_format))
}

/// Not in a node's own folder, which may be in a volume.
fn usual_catalogue(source: &Source) -> PathBuf {
    match (source.lab_dir(), &source.node) {
        (Some(lab), Some(node)) => lab.join(format!("{node}.catalogue.sqlite")),
        _ => source.dir.join(DEFAULT_FILE),
    }
}

async fn watch(arguments: &Watch) -> Result<i32, Failure> {
    let source = open_source(&arguments.place).await?;
    let path = arguments
        .catalogue
        .clone()
        .unwrap_or_else(|| usual_catalogue(&source));
    let mut catalogue = Catalogue::open(&path)?;
    if arguments.recheck {
        catalogue.forget_verified()?;
    }
    let mut primary = Primary::new(arguments, &source)?;
    let report = Reporter {
        json: arguments.json,
    };
    let mut stop = signal(SignalKind::interrupt()).map_err(internal)?;
    let mut end = signal(SignalKind::terminate()).map_err(internal)?;
    let mut first = true;
    let mut last = None;
    loop {
        let limit = (!arguments.once).then_some(READING);
        let viewed = local_view(&source.dir).await;
        let (back, mut outcome) = scan_apart(catalogue, source.dir.clone(), limit).await?;
        if let Err(error) = viewed {
            outcome = Err(error.into());
        }
        catalogue = back;
        let scan = match outcome {
            Ok(scan) => scan,
            // A directory that cannot be read for a while, such as a mount that hangs.
            Err(failure) if !first => {
                report.event(
                    "scan",
                    &failure.message,
                    json!({ "reason": failure.message }),
                );
                tokio::select! {
                    () = tokio::time::sleep(arguments.every.max(READING)) => continue,
                    _ = stop.recv() => return Ok(exit::PASS),
                    _ = end.recv() => return Ok(exit::PASS),
                }
            }
            Err(failure) => return Err(failure),
        };
        report.scan(&scan, first);
        let lag = primary.ask(&report, arguments.mirror, &catalogue).await;
        let growing = (scan.totals, lag.as_ref().map(|lag| lag.flushed));
        if last.as_ref() != Some(&growing) || arguments.once {
            report.totals(&path, &scan, lag.as_ref());
            catalogue.add_sample(&sample(&scan, lag.as_ref()))?;
            last = Some(growing);
        }
        if arguments.once {
            return Ok(match scan.problems.is_empty() {
                true => exit::PASS,
                false => exit::FAILED,
            });
        }
        first = false;
        let wait = if scan.unread > 0 {
            Duration::ZERO
        } else {
            arguments.every
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = stop.recv() => return Ok(exit::PASS),
            _ = end.recv() => return Ok(exit::PASS),
        }
    }
}

fn internal(error: std::io::Error) -> Failure {
    Failure::new(Kind::Internal, error.to_string())
}

/// Scans on another thread, so that a signal is heard meanwhile.
async fn scan_apart(
    mut catalogue: Catalogue,
    dir: PathBuf,
    limit: Option<Duration>,
) -> Result<(Catalogue, Result<Scan, Failure>), Failure> {
    tokio::task::spawn_blocking(move || {
        let scan = catalogue.scan(&dir, limit).map_err(Failure::from);
        (catalogue, scan)
    })
    .await
    .map_err(|error| Failure::new(Kind::Internal, error.to_string()))
}

fn sample(scan: &Scan, lag: Option<&Lag>) -> Sample {
    Sample {
        at: Utc::now().timestamp_micros(),
        totals: scan.totals,
        written: lag.and_then(|lag| lag.written),
        flushed: lag.and_then(|lag| lag.flushed),
        primary: lag.map(|lag| lag.primary),
        lag: lag.and_then(Lag::bytes),
    }
}

/// The server, asked again and again: it may go away and come back.
struct Primary {
    settings: Option<Settings>,
    connection: Option<Connection>,
    who: Standing,
    complained: Option<String>,
}

impl Primary {
    fn new(arguments: &Watch, source: &Source) -> Result<Primary, Failure> {
        let settings = arguments
            .primary
            .as_deref()
            .map(|url| Settings::resolve(Some(url), &[], &Env::current()).map_err(Failure::from));
        Ok(Primary {
            settings: settings.transpose()?,
            connection: None,
            who: Standing {
                application: arguments
                    .receiver
                    .clone()
                    .or_else(|| source.node.clone())
                    .or_else(|| Some("pg_receivewal".into())),
                slot: arguments.slot.clone(),
            },
            complained: None,
        })
    }

    /// The lag, and the mirror brought up to date. A failure is told once, not every second.
    async fn ask(&mut self, report: &Reporter, mirror: bool, catalogue: &Catalogue) -> Option<Lag> {
        let settings = self.settings.clone()?;
        let work = self.try_ask(&settings, mirror, catalogue);
        let answer = match tokio::time::timeout(ANSWER, work).await {
            Ok(answer) => answer,
            Err(_) => Err(Failure::new(
                Kind::Timeout,
                format!("no answer within {ANSWER:?}"),
            )),
        };
        match answer {
            Ok(lag) => {
                if self.complained.take().is_some() {
                    report.event("primary", "the primary answers again", json!({}));
                }
                Some(lag)
            }
            Err(failure) => {
                self.connection = None;
                if self.complained.as_ref() != Some(&failure.message) {
                    let text = format!("the primary cannot be asked: {}", failure.message);
                    report.event("primary", &text, json!({ "reason": failure.message }));
                    self.complained = Some(failure.message);
                }
                None
            }
        }
    }

    async fn try_ask(
        &mut self,
        settings: &Settings,
        mirror: bool,
        catalogue: &Catalogue,
    ) -> Result<Lag, Failure> {
        let connection = match self.connection.take().filter(|known| !known.is_closed()) {
            Some(connection) => connection,
            None => Connection::connect(settings).await?,
        };
        if mirror {
            let news = catalogue.news()?;
            catalogue::mirror(&connection, &news).await?;
            catalogue.told(&news)?;
        }
        let lag = Lag::measure(&connection, &self.who).await?;
        self.connection = Some(connection);
        Ok(lag)
    }
}

/// Says what happened: a line for a person, or a JSON object a line.
struct Reporter {
    json: bool,
}

impl Reporter {
    fn event(&self, kind: &str, text: &str, mut fields: Value) {
        let now = Utc::now();
        if !self.json {
            outln!("{}  {text}", now.format("%H:%M:%S"));
            return;
        }
        if let Some(fields) = fields.as_object_mut() {
            let at = now.to_rfc3339_opts(SecondsFormat::Millis, true);
            fields.shift_insert(0, "event".into(), json!(kind));
            fields.shift_insert(0, "at".into(), json!(at));
        }
        outln!("{fields}");
    }

    /// What changed. The first scan of a catalogue is a beginning, not news of each segment.
    fn scan(&self, scan: &Scan, first: bool) {
        let quiet = first && scan.changes.len() > 20;
        for change in scan.changes.iter().filter(|_| !quiet || self.json) {
            let entry = &change.now;
            let text = match entry.state {
                State::Verified => format!(
                    "{} verified: {}, {} to {}",
                    entry.name,
                    bytes(entry.size),
                    entry.start,
                    entry.end
                ),
                State::Partial => format!("{} is being received", entry.name),
                State::Removed => format!("{} was removed", entry.name),
                State::Damaged => continue,
                State::Complete => continue,
            };
            let fields = json!({
                "segment": entry.name, "state": entry.state.name(), "size": entry.size,
                "start_lsn": entry.start.to_string(), "end_lsn": entry.end.to_string(),
                "sha256": entry.sha256,
            });
            self.event("segment", &text, fields);
        }
        for problem in &scan.appeared {
            let text = format!("{} {}: {}", problem.kind, problem.name, problem.reason);
            self.event("problem", &text, problem_json(problem));
        }
        for problem in &scan.gone {
            let text = format!("no longer: {} {}", problem.kind, problem.name);
            self.event("solved", &text, problem_json(problem));
        }
    }

    fn totals(&self, path: &Path, scan: &Scan, lag: Option<&Lag>) {
        let totals = &scan.totals;
        let mut text = format!(
            "{} segments, {}, {} verified",
            totals.segments,
            bytes(totals.bytes),
            totals.verified
        );
        if totals.damaged > 0 {
            text.push_str(&format!(", {} DAMAGED", totals.damaged));
        }
        if let Some(received) = totals.received {
            text.push_str(&format!("; WAL up to {received}"));
        }
        if let Some(lag) = lag {
            let state = lag.state.as_deref().unwrap_or("not connected");
            text.push_str(&format!("; primary at {}, receiver {state}", lag.primary));
            if let (Some(flushed), Some(behind)) = (lag.flushed, lag.bytes()) {
                text.push_str(&format!(", flushed to {flushed}: RPO {}", bytes(behind)));
            }
        }
        if !scan.problems.is_empty() {
            text.push_str(&format!("; {} problems", scan.problems.len()));
        }
        let lsn = |lsn: Option<crate::wal::Lsn>| lsn.map(|lsn| lsn.to_string());
        let fields = json!({
            "catalogue": path, "segments": totals.segments, "bytes": totals.bytes,
            "verified": totals.verified, "damaged": totals.damaged, "partial": totals.partial,
            "received": lsn(totals.received), "unread": scan.unread, "problems": scan.problems.len(),
            "primary": lsn(lag.map(|lag| lag.primary)), "written": lsn(lag.and_then(|lag| lag.written)),
            "flushed": lsn(lag.and_then(|lag| lag.flushed)), "rpo_bytes": lag.and_then(Lag::bytes),
            "receiver": lag.and_then(|lag| lag.state.clone()),
        });
        self.event("totals", &text, fields);
    }
}

fn problem_json(problem: &catalogue::Problem) -> Value {
    json!({
        "kind": problem.kind, "name": problem.name, "reason": problem.reason,
        "lsn": problem.lsn.map(|lsn| lsn.to_string()),
    })
}
