//! Captured WAL and its catalogue, against a real server and a real `pg_receivewal`: the watch killed a
//! hundred times, the receiver killed, the server restarted, and every kind of damage planted.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../pg/mod.rs"]
mod pg;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pg::{Cluster, eventually};
use rpitr::catalogue::{Catalogue, Entry, State};
use rpitr::wal::Lsn;
use serde_json::Value;
use sha2::{Digest, Sha256};

const KILLS: usize = 100;

/// A process that dies with the test.
struct Running(Child);

impl Running {
    fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A server with small segments, a slot, and a directory for its WAL.
struct Capture {
    server: Cluster,
    wal: PathBuf,
    receiver: Option<Running>,
    root: tempfile::TempDir,
}

impl Capture {
    fn new() -> Capture {
        let root = pg::scratch();
        let server = Cluster::init(root.path(), "primary", 1, "max_wal_size=64MB\n");
        server.start();
        server.psql("select pg_create_physical_replication_slot('capture', true)");
        let wal = pg::make_dir(&root.path().join("wal"));
        let mut capture = Capture {
            server,
            wal,
            receiver: None,
            root,
        };
        capture.start_receiver();
        capture
    }

    fn start_receiver(&mut self) {
        let mut command = self.server.client("pg_receivewal");
        command
            .args([
                "--slot=capture",
                "--status-interval=1",
                "--no-password",
                "-D",
            ])
            .arg(&self.wal)
            .process_group(0)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.receiver = Some(Running(command.spawn().unwrap()));
    }

    fn url(&self) -> String {
        let client = self.server.client("psql");
        let env: BTreeMap<_, _> = client
            .get_envs()
            .filter_map(|(name, value)| Some((name.to_str()?, value?.to_str()?)))
            .collect();
        format!(
            "postgresql:///postgres?host={}&port={}&user=postgres",
            env["PGHOST"], env["PGPORT"]
        )
    }

    /// Transactions that fill about a segment every tenth of a second.
    fn load(&self) -> Running {
        let mut command = self.server.client("psql");
        command
            .args(["-XAtq", "-c", LOAD])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Running(command.spawn().unwrap())
    }

    /// Ends a load; the server would go on without its client.
    fn end(&self, mut load: Running) {
        load.kill();
        eventually("the load has ended", || {
            let left = self.server.psql(
                "select count(pg_terminate_backend(pid)) from pg_stat_activity
                 where backend_type = 'client backend' and pid <> pg_backend_pid()",
            );
            (left == "0").then_some(())
        });
    }

    /// Ends the segment that is being written and waits until the receiver has all of it.
    fn complete(&self) -> String {
        let name = self.server.psql("select pg_walfile_name(pg_switch_wal())");
        eventually("the receiver has the last segment", || {
            self.wal.join(&name).exists().then_some(())
        });
        name
    }

    fn watch(&self, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rpitr"));
        command
            .args(["wal", "watch"])
            .arg(&self.wal)
            .arg("--catalogue")
            .arg(self.catalogue())
            .args(more)
            .env("RPITR_STATE", self.root.path().join("state"));
        command
    }

    fn catalogue(&self) -> PathBuf {
        self.root.path().join("catalogue.sqlite")
    }

    /// A single scan: its exit code and what it said.
    fn once(&self, more: &[&str]) -> (i32, Vec<Value>) {
        let mut all = vec!["--once", "--json"];
        all.extend(more);
        let output = self.watch(&all).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let code = output.status.code().unwrap();
        assert!(
            code == 0 || code == 10,
            "{code}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        (code, lines.collect())
    }
}

/// One transaction after the other, so that a stop of the server loses none of the loop.
const LOAD: &str = "do $$ begin loop
  perform pg_logical_emit_message(true, 'load', repeat(md5(random()::text), 3200));
  commit; perform pg_sleep(0.01);
end loop; end $$";

fn sha256(path: &Path) -> String {
    let digest = Sha256::digest(fs::read(path).unwrap());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the directory holds: name, size, checksum of every complete segment.
fn truth(wal: &Path) -> BTreeMap<String, (u64, String)> {
    let files = fs::read_dir(wal)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    files
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?.to_string();
            let complete = name.len() == 24;
            complete.then(|| (name, (path.metadata().unwrap().len(), sha256(&path))))
        })
        .collect()
}

fn catalogued(catalogue: &Catalogue) -> Vec<Entry> {
    let entries = catalogue.entries().unwrap();
    let complete = |entry: &Entry| !matches!(entry.state, State::Partial | State::Removed);
    entries.into_iter().filter(complete).collect()
}

/// A delay that is different every time and the same in every run.
fn delay(n: usize) -> Duration {
    let mixed = (n as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    Duration::from_millis(5 + mixed % 110)
}

#[test]
fn a_hundred_kills_lose_nothing_and_count_nothing_twice() {
    let mut capture = Capture::new();
    let url = capture.url();
    let mirror = ["--primary", &url, "--slot", "capture", "--mirror"];
    let mut arguments = vec!["--every", "10ms"];
    arguments.extend(mirror);
    let mut load = capture.load();
    let (mut most, mut grew) = (0, 0);
    for n in 0..KILLS {
        let mut watch = capture.watch(&arguments);
        let mut watch = Running(watch.stdout(Stdio::null()).spawn().unwrap());
        std::thread::sleep(delay(n));
        watch.kill();
        // After each kill: nothing there twice, nothing that was known forgotten.
        if let Ok(catalogue) = Catalogue::open(&capture.catalogue()) {
            let entries = catalogued(&catalogue);
            let bytes: u64 = entries.iter().map(|entry| entry.size).sum();
            let totals = catalogue.totals().unwrap();
            assert_eq!(
                (totals.segments, totals.bytes),
                (entries.len() as u64, bytes)
            );
            assert!(
                entries.len() >= most,
                "kill {n}: {} < {most}",
                entries.len()
            );
            grew += usize::from(entries.len() > most);
            most = entries.len();
        }
        match n {
            // The receiver dies, too.
            30 => {
                capture.receiver.take();
                capture.start_receiver();
            }
            // The server is restarted; pg_receivewal tries again after five seconds.
            55 => {
                load.kill();
                capture.server.stop("fast");
                capture.server.start();
                load = capture.load();
            }
            _ => {}
        }
    }
    capture.end(load);
    let last = capture.complete();
    let (code, said) = capture.once(&mirror);
    assert_eq!(code, 0, "{said:?}");
    let truth = truth(&capture.wal);
    assert!(truth.contains_key(&last));
    assert!(
        truth.len() > 20 && grew > 10,
        "{} segments, grew {grew} times",
        truth.len()
    );

    let catalogue = Catalogue::open(&capture.catalogue()).unwrap();
    let entries = catalogued(&catalogue);
    let found: BTreeMap<_, _> = entries
        .iter()
        .map(|entry| {
            assert_eq!(entry.state, State::Verified, "{entry:?}");
            assert!(entry.first_seen <= entry.completed_at.unwrap());
            let sum = entry.sha256.clone().unwrap();
            (entry.name.clone(), (entry.size, sum))
        })
        .collect();
    assert_eq!(entries.len(), found.len());
    let odd: Vec<_> = found
        .iter()
        .filter(|(name, is)| truth.get(*name) != Some(is))
        .collect();
    assert!(found.len() == truth.len() && odd.is_empty(), "{odd:?}");
    assert_eq!(catalogue.problems().unwrap(), []);
    let totals = catalogue.totals().unwrap();
    assert_eq!(totals.segments, truth.len() as u64);
    assert_eq!(
        totals.bytes,
        truth.values().map(|(size, _)| size).sum::<u64>()
    );

    // The copy on the primary says the same.
    let rows = capture.server.psql(
        "select string_agg(name || ' ' || size || ' ' || sha256, ',' order by name) from rpitr.wal_segments
         where state = 'verified'",
    );
    let expected: Vec<String> = truth
        .iter()
        .map(|(name, (size, sum))| format!("{name} {size} {sum}"))
        .collect();
    assert!(rows == expected.join(","), "{rows}");

    // PostgreSQL's own reader agrees that the segments are one unbroken log.
    let (first, last) = (truth.keys().next().unwrap(), truth.keys().last().unwrap());
    let mut dump = pg::program("pg_waldump");
    pg::run(dump.arg("--quiet").arg(capture.wal.join(first)).arg(last));
}

#[test]
fn damage_of_every_kind_is_named() {
    let mut capture = Capture::new();
    let load = capture.load();
    eventually("eight segments", || {
        (truth(&capture.wal).len() >= 8).then_some(())
    });
    capture.end(load);
    capture.complete();
    capture.receiver.take();
    let (code, said) = capture.once(&[]);
    assert_eq!(code, 0, "{said:?}");

    let names: Vec<String> = truth(&capture.wal).into_keys().collect();
    let file = |at: usize| capture.wal.join(&names[at]);
    fs::remove_file(file(1)).unwrap();
    let mut bytes = fs::read(file(3)).unwrap();
    bytes[500_000] ^= 1;
    fs::write(file(3), bytes).unwrap();
    let short = fs::read(file(5)).unwrap()[..300_000].to_vec();
    fs::write(file(5), short).unwrap();
    fs::copy(file(0), capture.wal.join("notes.txt")).unwrap();
    // A segment of another cluster, under the name that comes next.
    let other = Cluster::init(capture.root.path(), "other", 1, "");
    let stranger = fs::read_dir(other.data.join("pg_wal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.is_file())
        .unwrap();
    let next = next_name(names.last().unwrap());
    fs::copy(stranger, capture.wal.join(&next)).unwrap();

    let (code, said) = capture.once(&[]);
    assert_eq!(code, 10);
    let problem = |kind: &str, name: &str, word: &str| {
        let found = said.iter().any(|line| {
            line["event"] == "problem"
                && line["kind"] == kind
                && line["name"] == name
                && line["reason"].as_str().unwrap().contains(word)
        });
        assert!(found, "{kind} {name} {word} is not in {said:#?}");
    };
    problem("gap", &names[1], "missing");
    problem("damaged", &names[3], "checksum");
    problem("damaged", &names[5], "300000 bytes");
    problem("invalid_name", "notes.txt", "no WAL file");
    problem("damaged", &next, "cluster");
    let problems = said
        .iter()
        .filter(|line| line["event"] == "problem")
        .count();
    assert_eq!(problems, 5, "{said:#?}");

    // A second look says the same and reads nothing again; what is repaired is no problem any more.
    let (code, again) = capture.once(&[]);
    assert_eq!((code, again.len()), (10, 1), "{again:#?}");
    fs::remove_file(capture.wal.join("notes.txt")).unwrap();
    fs::remove_file(capture.wal.join(&next)).unwrap();
    let (code, said) = capture.once(&[]);
    assert_eq!(code, 10);
    let solved = |name: &str| {
        let is = |line: &&Value| line["event"] == "solved" && line["name"] == name;
        said.iter().find(is).is_some()
    };
    assert!(solved("notes.txt") && solved(&next), "{said:#?}");
}

fn next_name(name: &str) -> String {
    let number = u64::from_str_radix(&name[16..], 16).unwrap();
    format!("{}{:08X}", &name[..16], number + 1)
}

#[test]
fn bit_rot_is_found_when_asked_and_retention_is_no_gap() {
    let mut capture = Capture::new();
    let load = capture.load();
    eventually("five segments", || {
        (truth(&capture.wal).len() >= 5).then_some(())
    });
    capture.end(load);
    capture.complete();
    capture.receiver.take();
    assert_eq!(capture.once(&[]).0, 0);
    let names: Vec<String> = truth(&capture.wal).into_keys().collect();

    // The oldest segments go, as retention takes them.
    fs::remove_file(capture.wal.join(&names[0])).unwrap();
    let (code, said) = capture.once(&[]);
    assert_eq!(code, 0, "{said:?}");
    assert!(said.iter().any(|line| line["state"] == "removed"));
    // The newest one goes: that is a loss.
    let newest = capture.wal.join(names.last().unwrap());
    let kept = fs::read(&newest).unwrap();
    fs::remove_file(&newest).unwrap();
    let (code, said) = capture.once(&[]);
    assert_eq!(code, 10, "{said:?}");
    assert!(
        said.iter().any(|line| line["kind"] == "removed"),
        "{said:?}"
    );
    fs::write(&newest, kept).unwrap();
    assert_eq!(capture.once(&[]).0, 0);

    let catalogue = Catalogue::open(&capture.catalogue()).unwrap();
    let end = catalogue.totals().unwrap().received.unwrap();
    assert!(end > Lsn(0));
    assert_eq!(capture.once(&["--recheck"]).0, 0);
    // One catalogue, one directory.
    let other = pg::make_dir(&capture.root.path().join("elsewhere"));
    let mut watch = Command::new(env!("CARGO_BIN_EXE_rpitr"));
    watch.args(["wal", "watch", "--once", "--catalogue"]);
    let output = watch.arg(capture.catalogue()).arg(other).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && text.contains("belongs to"),
        "{text}"
    );
}

#[test]
fn a_snapshot_serves_after_the_last_complete_segment_and_nowhere_else() {
    let mut capture = Capture::new();
    capture
        .server
        .psql("create table t as select generate_series(1, 1000) g");
    capture.complete();
    capture.server.psql("insert into t values (-1)");
    let end = capture.server.psql("select pg_current_wal_flush_lsn()");
    eventually("the receiver has the row", || {
        let question = format!("select write_lsn >= '{end}' from pg_stat_replication");
        let at = capture.server.psql(&question);
        (at == "t").then_some(())
    });
    capture.receiver.take();
    let into = pg::make_dir(&capture.root.path().join("snapshots"));
    let rpitr = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rpitr"));
        command.args(arguments).output().unwrap()
    };
    let (wal, into) = (capture.wal.to_str().unwrap(), into.to_str().unwrap());
    let taken = rpitr(&["wal", "snapshot", wal, "--into", into, "--json"]);
    assert!(
        taken.status.success(),
        "{}",
        String::from_utf8_lossy(&taken.stderr)
    );
    let described: Value = serde_json::from_slice(&taken.stdout).unwrap();
    let upto: Lsn = described["upto"].as_str().unwrap().parse().unwrap();
    assert!(upto >= end.parse().unwrap());
    let segment = described["segment"].as_str().unwrap();
    let tail = fs::read_dir(into)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|end| end == "snapshot"))
        .unwrap();
    assert_eq!(sha256(&tail), described["sha256"].as_str().unwrap());

    let dest = capture.root.path().join("fetched");
    let (tail, out) = (tail.to_str().unwrap(), dest.to_str().unwrap());
    let fetch = |name: &str, with_tail: bool| {
        let mut arguments = vec!["archive-fetch", "--archive", wal];
        if with_tail {
            arguments.extend(["--tail", tail]);
        }
        arguments.extend([name, out]);
        rpitr(&arguments).status.code().unwrap()
    };
    // Without the snapshot the segment is proved absent; with it, it is there; another one is not.
    assert_eq!(fetch(segment, false), 1);
    assert_eq!(fetch(segment, true), 0);
    assert_eq!(fs::read(&dest).unwrap(), fs::read(tail).unwrap());
    assert_eq!(fetch(&next_name(segment), true), 1);
    // A later segment proves that the whole one existed: a hole is a hole.
    let complete = truth(&capture.wal).into_keys().next_back().unwrap();
    let later = capture.wal.join(next_name(segment));
    fs::copy(capture.wal.join(&complete), &later).unwrap();
    assert_eq!(fetch(segment, true), 255);
    fs::remove_file(&later).unwrap();
    // What was changed since it was described is not handed out, nor is what nobody described.
    let good = fs::read(tail).unwrap();
    let mut bad = good.clone();
    bad[9000] ^= 1;
    fs::write(tail, bad).unwrap();
    assert_eq!(fetch(segment, true), 255);
    fs::write(tail, good).unwrap();
    assert_eq!(fetch(segment, true), 0);
    fs::remove_file(format!("{tail}.json")).unwrap();
    assert_eq!(fetch(segment, true), 255);
}

#[test]
fn lag_and_growth_are_told() {
    let mut capture = Capture::new();
    let url = capture.url();
    eventually("the receiver streams", || {
        let state = capture.server.psql("select state from pg_stat_replication");
        (state == "streaming").then_some(())
    });
    capture.complete();
    let asked = ["--primary", url.as_str(), "--slot", "capture"];
    let totals = |said: Vec<Value>| {
        said.into_iter()
            .find(|line| line["event"] == "totals")
            .unwrap()
    };
    // The receiver has flushed the segment that ended, and reports it within its status interval.
    let caught_up = Instant::now();
    loop {
        let now = totals(capture.once(&asked).1);
        assert_eq!(now["receiver"], "streaming", "{now}");
        if now["rpo_bytes"].as_u64().unwrap() < 1 << 20 {
            break;
        }
        assert!(caught_up.elapsed() < Duration::from_secs(60), "{now}");
    }
    // Without it, everything that is written is at stake.
    capture.receiver.take();
    eventually("the server noticed", || {
        let active = capture
            .server
            .psql("select active from pg_replication_slots");
        (active == "f").then_some(())
    });
    capture
        .server
        .psql("select pg_logical_emit_message(true, 'x', repeat('y', 3000000))");
    let now = totals(capture.once(&asked).1);
    assert_eq!(now["receiver"], Value::Null);
    assert!(now["rpo_bytes"].as_u64().unwrap() > 3_000_000, "{now}");
}
