//! The probes after a healing: the primary takes writes, the standby streams, the archiver advances, no partial segment is
//! left; and after a fault of the receiver, it streams again and has every segment that the archive has.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Cluster, Entry, Error, Journal, Undo};
use crate::runtime::{Lab, Status, ToolOptions};
use crate::sql::{Connection, Env, Settings, Value};
use crate::wal::FileName;

const ATTEMPT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(25);

/// One probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    pub name: String,
    /// `None`: it could not be made, because another fault is still there.
    pub ok: Option<bool>,
    pub detail: String,
    pub millis: u64,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.ok {
            Some(true) => "holds",
            Some(false) => "does not hold",
            None => "was not made",
        };
        write!(f, "{} {verdict} {}", self.name, self.detail)
    }
}

/// A commit that wants nothing but the primary's own disk.
const WRITE: &str =
    "SET synchronous_commit = local; SELECT pg_logical_emit_message(true, 'rpitr', 'heal probe')";
/// What the standby must have on its disk, and what it has.
const GOAL: &str = "SELECT pg_current_wal_flush_lsn()::text";
const STREAMING: &str = "SELECT CASE WHEN flush_lsn >= '%2' THEN state ELSE state || ', not at %2' END \
     FROM pg_stat_replication WHERE application_name = '%1'";
/// A receiver reports as flushed what it has completed; what it has written outlives it.
const RECEIVING: &str = "SELECT CASE WHEN write_lsn >= '%2' THEN state ELSE state || ', not at %2' END \
     FROM pg_stat_replication WHERE application_name = '%1'";
/// The names in a folder.
const NAMES: &str = r#"cd "$1" && ls"#;
/// Nothing waits to be archived, or the archiver has got something done since.
const WAITING: &str = "SELECT archived_count::text || ' ' || (SELECT count(*) FROM pg_ls_archive_statusdir() \
     WHERE name LIKE '%.ready')::text FROM pg_stat_archiver";
/// Prints the WAL segments of an archive that are smaller than the first one is meant to be.
const PARTIALS: &str = r#"cd "$1" || exit 1
size=$(sed -n 's/.*"segment_size":\([0-9]*\).*/\1/p' .rpitr-archive.json 2>/dev/null)
[ -n "$size" ] || exit 0
for f in *; do
  case $f in *.*) continue ;; esac
  if [ ${#f} -eq 24 ] && [ "$(wc -c <"$f")" -ne "$size" ]; then echo "$f"; fi
done"#;

/// Makes every probe of a healed fault that nothing else stands in the way of.
pub async fn run(
    journal: &Journal,
    lab: &Lab,
    cluster: &Cluster,
    (entry, others): (&Entry, &[&Entry]),
    patience: Duration,
) -> Vec<Check> {
    let prober = Prober {
        journal,
        lab,
        entry,
        others,
        patience,
    };
    let primary = cluster.primary.as_str();
    let mut checks = Vec::new();
    if primary.is_empty() || entry.uses.is_empty() {
        return checks;
    }
    let here = prober.hindrance(&["process:primary"], &[primary]).await;
    checks.push(
        prober
            .check("writable", here, || writable(lab, primary))
            .await,
    );
    if let Some(standby) = &cluster.standby {
        let needs = ["process:primary", "process:standby", "net:standby"];
        let here = prober.hindrance(&needs, &[primary, standby]).await;
        let goal = RefCell::default();
        let probe = async || streaming(lab, (primary, standby), STREAMING, &goal).await;
        checks.push(prober.check("streaming", here, probe).await);
    }
    if let Some(receiver) = cluster
        .receiver
        .as_ref()
        .filter(|_| concerns_receiver(entry))
    {
        let needs = ["process:primary", "process:receiver", "net:receiver"];
        let here = prober.hindrance(&needs, &[primary, receiver]).await;
        let goal = RefCell::default();
        let probe = async || streaming(lab, (primary, receiver), RECEIVING, &goal).await;
        checks.push(prober.check("receiving", here.clone(), probe).await);
        if let Some(archive) = &cluster.archive {
            let here = match here {
                None => prober.hindrance(&["segment:"], &[]).await,
                hindered => hindered,
            };
            let probe = async || received(lab, primary, receiver, archive).await;
            checks.push(prober.check("received", here, probe).await);
        }
    }
    if let Some(archive) = &cluster.archive {
        let needs = ["process:primary", "push:primary"];
        let here = prober.hindrance(&needs, &[primary]).await;
        // Only a fault of archiving is worth the segment that a switch of WAL costs.
        let switch = entry.uses.iter().any(|used| used == "push:primary");
        let probe = async || archiver(lab, primary, switch).await;
        checks.push(prober.check("archiver", here, probe).await);
        let here = prober.hindrance(&["push:primary", "segment:"], &[]).await;
        let probe = async || partials(lab, primary, archive).await;
        checks.push(prober.check("archive", here, probe).await);
    }
    checks
}

/// After other faults the receiver comes back at its own pace: it tries again every five seconds.
fn concerns_receiver(entry: &Entry) -> bool {
    let uses = ["process:receiver", "net:receiver"];
    entry.uses.iter().any(|used| uses.contains(&used.as_str()))
}

struct Prober<'a> {
    journal: &'a Journal,
    lab: &'a Lab,
    entry: &'a Entry,
    others: &'a [&'a Entry],
    /// What a probe may take until it holds.
    patience: Duration,
}

impl Prober<'_> {
    /// What stands in the way of a probe: another fault, or a server that somebody stopped in order. One that this
    /// healing should have started has to run.
    async fn hindrance(&self, needs: &[&str], nodes: &[&str]) -> Option<String> {
        let uses = |entry: &Entry| {
            let needed = |used: &String| needs.iter().any(|need| used.starts_with(need));
            entry.uses.iter().any(needed)
        };
        if let Some(other) = self.others.iter().find(|other| uses(other)) {
            return Some(format!("because of {}", other.describe()));
        }
        for name in nodes {
            let starts = |undo: &Undo| matches!(undo, Undo::Start { node, .. } if node == name);
            if self.entry.undo.iter().any(starts) {
                continue;
            }
            let status = async { self.lab.member(name).await?.status().await };
            if let Ok(status @ (Status::Stopped | Status::Absent)) = status.await {
                return Some(format!("because {name} is {status}"));
            }
        }
        None
    }

    /// Tries until it holds, time is up, or nobody wants to know any more.
    async fn check<F>(
        &self,
        name: &str,
        hindrance: Option<String>,
        mut probe: impl FnMut() -> F,
    ) -> Check
    where
        F: Future<Output = Result<Result<(), String>, Error>>,
    {
        let began = Instant::now();
        let done = |ok, detail: String| Check {
            name: name.to_string(),
            ok,
            detail,
            millis: began.elapsed().as_millis() as u64,
        };
        if let Some(reason) = hindrance {
            return done(None, reason);
        }
        loop {
            let detail = match tokio::time::timeout(ATTEMPT, probe()).await {
                Ok(Ok(Ok(()))) => return done(Some(true), String::new()),
                Ok(Ok(Err(reason))) => reason,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer".to_string(),
            };
            if began.elapsed() >= self.patience || !self.journal.exists() {
                return done(Some(false), detail);
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

async fn connect(lab: &Lab, name: &str) -> Result<Connection, Error> {
    let endpoint = lab.member(name).await?.endpoint_for_script();
    let host = endpoint
        .socket_dir
        .map_or(endpoint.host, |folder| folder.display().to_string());
    let pairs = [
        ("host", host),
        ("port", endpoint.port.to_string()),
        ("user", "postgres".to_string()),
        ("dbname", "postgres".to_string()),
        ("application_name", "rpitr heal".to_string()),
        ("passfile", lab.dir().join("pgpass").display().to_string()),
    ]
    .map(|(key, value)| (key.to_string(), value));
    let failed = |error: crate::sql::Error| Error::undo(format!("the probe of {name}"), error);
    let settings = Settings::resolve(None, &pairs, &Env::current()).map_err(failed)?;
    Connection::connect(&settings).await.map_err(failed)
}

/// The first value of a query as text.
async fn ask(connection: &Connection, sql: &str) -> Result<Option<String>, Error> {
    let failed = |error: crate::sql::Error| Error::undo("a probe", error);
    let rows = connection.query(sql, &[]).await.map_err(failed)?;
    Ok(match rows.rows.first().and_then(|row| row.first()) {
        Some(Value::Text(text)) => Some(text.clone()),
        _ => None,
    })
}

async fn writable(lab: &Lab, primary: &str) -> Result<Result<(), String>, Error> {
    let connection = connect(lab, primary).await?;
    let written = connection.simple_query(WRITE).await;
    connection.close();
    Ok(written.map(|_| ()).map_err(|error| error.to_string()))
}

/// A standby, or a receiver, has what the primary had when this was first asked.
async fn streaming(
    lab: &Lab,
    (primary, standby): (&str, &str),
    query: &str,
    goal: &RefCell<Option<String>>,
) -> Result<Result<(), String>, Error> {
    let connection = connect(lab, primary).await?;
    let state = async {
        let known = goal.borrow().clone();
        let lsn = match known {
            Some(lsn) => lsn,
            None => ask(&connection, GOAL).await?.unwrap_or_default(),
        };
        goal.replace(Some(lsn.clone()));
        let query = query.replace("%1", standby).replace("%2", &lsn);
        ask(&connection, &query).await
    };
    let state = state.await;
    connection.close();
    Ok(match state?.as_deref() {
        Some("streaming") => Ok(()),
        Some(state) => Err(format!("{standby} is {state}")),
        None => Err(format!("{standby} is not connected to {primary}")),
    })
}

async fn archiver(lab: &Lab, primary: &str, switch: bool) -> Result<Result<(), String>, Error> {
    let connection = connect(lab, primary).await?;
    let done = watch_archiver(&connection, switch).await;
    connection.close();
    done
}

async fn watch_archiver(
    connection: &Connection,
    switch: bool,
) -> Result<Result<(), String>, Error> {
    let numbers = async || {
        let text = ask(connection, WAITING).await?.unwrap_or_default();
        let mut words = text.split(' ').filter_map(|word| word.parse::<i64>().ok());
        Ok::<_, Error>((words.next().unwrap_or(0), words.next().unwrap_or(0)))
    };
    let (before, _) = numbers().await?;
    if switch {
        let _ = connection.simple_query(WRITE).await;
        let _ = connection.simple_query("SELECT pg_switch_wal()").await;
    }
    let began = Instant::now();
    loop {
        let (archived, waiting) = numbers().await?;
        if (waiting == 0 && !switch) || archived > before {
            return Ok(Ok(()));
        }
        if began.elapsed() > ATTEMPT / 2 {
            return Ok(Err(format!("{waiting} segments wait to be archived")));
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn partials(lab: &Lab, primary: &str, archive: &Path) -> Result<Result<(), String>, Error> {
    let node = lab.member(primary).await?;
    let archive = archive.display().to_string();
    let args = ["-c", PARTIALS, "sh", &archive];
    let output = node.run_tool("sh", &args, ToolOptions::default()).await?;
    let found = output.check()?.stdout_text();
    Ok(match found.lines().next() {
        None => Ok(()),
        Some(name) => Err(format!("{name} is only partly in the archive")),
    })
}

/// The receiver has every segment that is in the archive, from the first one it got: no hole.
async fn received(
    lab: &Lab,
    primary: &str,
    receiver: &str,
    archive: &Path,
) -> Result<Result<(), String>, Error> {
    // In this order: what is archived meanwhile is no hole.
    let archived = segments(lab, primary, archive).await?;
    let folder = lab.member(receiver).await?.paths().data_dir;
    let received = segments(lab, receiver, &folder).await?;
    let missing = received.first().and_then(|first| {
        let mut owed = archived.range(first.clone()..);
        owed.find(|name| !received.contains(*name))
    });
    Ok(match (missing, received.is_empty()) {
        (Some(name), _) => Err(format!("{name} is in the archive, but was not received")),
        (None, true) => Err("nothing was received".into()),
        (None, false) => Ok(()),
    })
}

/// The names of the segments in a folder, whether whole or still being received.
async fn segments(lab: &Lab, node: &str, folder: &Path) -> Result<BTreeSet<String>, Error> {
    let node = lab.member(node).await?;
    let folder = folder.display().to_string();
    let args = ["-c", NAMES, "sh", &folder];
    let output = node.run_tool("sh", &args, ToolOptions::default()).await?;
    let listing = output.check()?.stdout_text();
    let names = listing
        .lines()
        .map(|name| name.trim_end_matches(".partial"));
    let segment = |name: &&str| matches!(FileName::parse(name), Some(FileName::Segment { .. }));
    Ok(names.filter(segment).map(str::to_string).collect())
}
