//! The exercises of the recovery course beside the two big drills, on both runtimes: what they claim is
//! proved, planted defects are caught, nothing is left behind. Without a Docker engine its half is
//! skipped, loudly; `RPITR_REQUIRE_DOCKER=1` makes that a failure.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::{Bench, Finished};
use serde_json::Value;

/// The major the Docker half runs on.
const MAJOR: &str = "15";

fn metric(report: &Value, name: &str) -> f64 {
    report["metrics"][name]["value"]
        .as_f64()
        .unwrap_or_else(|| panic!("metric {name} is missing: {}", report["metrics"]))
}

/// The checks that failed, as one text.
fn failed_checks(report: &Value) -> String {
    let failed = report["checks"].as_array().unwrap().iter();
    failed
        .filter(|check| check["ok"] == false)
        .map(|check| format!("{}: {}\n", check["name"], check["detail"]))
        .collect()
}

/// Runs an exercise that must prove what it claims, with no complaint in a server's log but those it is about.
fn proved(bench: &Bench, arguments: &[&str], about: &[&str]) -> (Value, Finished) {
    let (report, run) = bench.drill(&[arguments, &["--keep"]].concat(), 0);
    assert_eq!(report["verdict"], "pass");
    assert_eq!(failed_checks(&report), "");
    run.says("PROVED");
    let mut bad = bench.suspicious_log_lines();
    bad.retain(|line| !about.iter().any(|part| line.contains(part)));
    assert!(bad.is_empty(), "in the server logs:\n{}", bad.join("\n"));
    bench.run(&["lab", "gc", "--all"]).expect(0);
    (report, run)
}

/// Runs an exercise with a planted defect that a check whose name contains `named` must catch.
fn caught(bench: &Bench, arguments: &[&str], named: &str) {
    let (report, run) = bench.drill(arguments, 10);
    assert_eq!(report["verdict"], "fail", "{arguments:?}");
    let failed = failed_checks(&report);
    assert!(failed.contains(named), "{arguments:?}: {failed}");
    run.says("NOT PROVED");
}

// Docker -----------------------------------------------------------------------------------------------

/// A bench whose runs use the engine, one at a time.
struct OnDocker {
    bench: Bench,
    _one: MutexGuard<'static, ()>,
}

impl OnDocker {
    fn new() -> Option<Self> {
        static ONE: Mutex<()> = Mutex::new(());
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        if docker(&["version", "--format", "{{.Server.Version}}"]).is_none() {
            let required = std::env::var("RPITR_REQUIRE_DOCKER").is_ok_and(|value| value == "1");
            assert!(
                !required,
                "RPITR_REQUIRE_DOCKER=1, but no Docker engine answers"
            );
            eprintln!("SKIPPED: no Docker engine answers, the exercises were not run on it");
            return None;
        }
        let images = ["postgres", "rpitr/postgres"].map(|name| format!("{name}:{MAJOR}"));
        if !images
            .iter()
            .any(|image| docker(&["image", "inspect", image]).is_some())
        {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("compose/image/build");
            assert!(Command::new(script).arg(MAJOR).status().unwrap().success());
        }
        let mut bench = Bench::new();
        bench.env.push(("RPITR_RUNTIME".into(), "docker".into()));
        Some(OnDocker { bench, _one: one })
    }

    /// Fails unless the engine holds nothing that this bench's labels mark.
    fn assert_clean(&self) {
        self.bench.assert_clean(&[]);
        let label = format!("label=rpitr.state={}", self.bench.state.display());
        for list in [
            &["ps", "-aq"][..],
            &["volume", "ls", "-q"],
            &["network", "ls", "-q"],
        ] {
            let left = docker(&[list, &["--filter", &label]].concat()).unwrap();
            assert_eq!(left, "", "left behind by docker {list:?}");
        }
    }
}

/// The output of a docker command that succeeded.
fn docker(arguments: &[&str]) -> Option<String> {
    let output = Command::new("docker").args(arguments).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_string();
    output.status.success().then_some(text)
}

// The naive copy ---------------------------------------------------------------------------------------

const NAIVE: &[&str] = &["naive_copy", "--orders", "500"];

/// What amcheck says of a damaged index.
const DAMAGE: &[&str] = &["XX001 ERROR:", "XX002 ERROR:"];

fn assert_naive_copy(report: &Value) {
    assert!(metric(report, "naive_damaged") > 0.0);
    assert!(metric(report, "unlabelled_damaged") > 0.0);
    assert_eq!(metric(report, "backup_damaged"), 0.0);
    assert_eq!(metric(report, "labelled_damaged"), 0.0);
    let lights = report["tables"][0]["rows"].as_array().unwrap();
    let (green, red) = (["green"; 4], ["RED", "green", "green", "RED"]);
    for (row, expected) in lights.iter().zip([green, green, green, red, red, red]) {
        assert_eq!(
            row.as_array().unwrap()[1..],
            expected.map(Value::from),
            "{row}"
        );
    }
    assert_eq!(lights.len(), 6);
}

#[test]
fn a_naive_copy_starts_clean_and_is_wrong() {
    let bench = Bench::new();
    let (report, _) = proved(&bench, NAIVE, DAMAGE);
    assert_naive_copy(&report);
    for (defect, named) in [
        ("cold", "the naive copy is wrong: the ledger"),
        ("delete-row", "the base backup: all "),
        ("keep-label", "the copy without its label is wrong"),
    ] {
        caught(&bench, &[NAIVE, &["--plant", defect]].concat(), named);
    }
    bench.assert_clean(&[]);
}

#[test]
fn a_naive_copy_of_a_container_is_as_wrong() {
    let Some(on) = OnDocker::new() else { return };
    let naive = [NAIVE, &["--version", MAJOR]].concat();
    let (report, _) = proved(&on.bench, &naive, DAMAGE);
    assert_naive_copy(&report);
    caught(
        &on.bench,
        &[&naive[..], &["--plant", "delete-row"]].concat(),
        "the base backup: all ",
    );
    on.assert_clean();
}

// Replication lag --------------------------------------------------------------------------------------

const FAILOVER: &[&str] = &["replication_lag", "--orders", "20"];

/// What the servers of a failover say, and should.
const FAILOVER_LOG: &[&str] = &[
    // A standby asks a primary that is dead or frozen, or is told to stop while it waits.
    "could not connect to the primary server",
    "could not receive data from WAL stream",
    "could not send data to WAL stream",
    "terminating walreceiver",
    // A standby that was promoted or restarted, and the slots and connections of the one before.
    "is active for PID",
    "terminating connection due to",
    "highest timeline",
    "requested starting point",
    "requested timeline",
    // The commit that blocks, cancelled.
    "canceling statement due to user request",
    "canceling wait for synchronous replication",
    // The drain fetches until the archive has no more.
    "rpitr archive-fetch",
];

fn assert_failover(report: &Value) {
    assert!(metric(report, "async_lost") >= 20.0);
    assert!(metric(report, "undrained_lost") >= 20.0);
    assert!(metric(report, "archive_lost") < metric(report, "undrained_lost"));
    assert!(metric(report, "salvaged") >= 1.0);
    assert_eq!(metric(report, "drained_lost"), 0.0);
    assert_eq!(metric(report, "sync_lost"), 0.0);
    assert!(metric(report, "sync_blocked_seconds") >= 2.0);
    assert!(metric(report, "rewind_bytes") <= metric(report, "rewind_of_bytes"));
}

#[test]
fn a_failover_to_a_lagging_standby_loses_and_three_ways_do_not() {
    let bench = Bench::new();
    let (report, _) = proved(&bench, FAILOVER, FAILOVER_LOG);
    assert_failover(&report);
    for (defect, named) in [
        ("connected", "acknowledged, is missing"),
        ("skip-drain", "loses nothing that was acknowledged"),
        ("asynchronous", "gets no answer within"),
    ] {
        caught(&bench, &[FAILOVER, &["--plant", defect]].concat(), named);
    }
    bench.assert_clean(&[]);
}

#[test]
fn a_failover_between_containers_is_the_same() {
    let Some(on) = OnDocker::new() else { return };
    let failover = [FAILOVER, &["--version", MAJOR]].concat();
    let (report, _) = proved(&on.bench, &failover, FAILOVER_LOG);
    assert_failover(&report);
    on.assert_clean();
}

// Lag --------------------------------------------------------------------------------------------------

/// What a server says of a client that gave up while it was frozen.
const FROZEN: &[&str] = &[
    "connection to client lost",
    "canceling statement due to user request",
];

const LAG: &[&str] = &["lag", "--transactions", "9"];

#[test]
fn lag_is_measured_stage_by_stage() {
    let bench = Bench::new();
    let (report, _) = proved(&bench, LAG, FROZEN);
    let missing: Vec<f64> = report["metrics"]["lag_transactions"]["values"]
        .as_array()
        .unwrap()
        .iter()
        .map(|value| value.as_f64().unwrap())
        .collect();
    assert_eq!(missing, [0.0, 9.0, 0.0]);
    caught(
        &bench,
        &[LAG, &["--plant", "miscount"]].concat(),
        "are what is missing",
    );
    caught(
        &bench,
        &[LAG, &["--max", "8 transactions"]].concat(),
        "the lag is at most 8 transactions",
    );
    for (arguments, said) in [
        (["lag", "--max", "lots"], "is not a limit on lag"),
        (["lag", "--watch", "--quiet"], "need --primary"),
    ] {
        let run = bench.run(&arguments);
        run.expect(2);
        run.says(said);
    }
    bench.assert_clean(&[]);
}

#[test]
fn lag_of_containers() {
    let Some(on) = OnDocker::new() else { return };
    let lag = [LAG, &["--version", MAJOR]].concat();
    proved(&on.bench, &lag, FROZEN);
    caught(
        &on.bench,
        &[&lag[..], &["--plant", "miscount"]].concat(),
        "are what is missing",
    );
    on.assert_clean();
}
