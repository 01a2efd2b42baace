//! Accidents under concurrent writers, found in the WAL and undone exactly: a small run of
//! `benches/incidents.lua`, and the same with a wrong target, which it must notice.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::Bench;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/incidents.lua");

#[test]
fn accidents_are_found_and_undone() {
    let bench = Bench::new();
    let (report, run) = bench.drill(&[SCRIPT, "--incidents", "6", "--seed", "5"], 0);
    run.says("6 of 6 accidents undone exactly");
    assert_eq!(report["metrics"]["undone"]["value"], 6);
    assert!(report["metrics"]["commits"]["value"].as_u64().unwrap() > 6);
    bench.assert_clean(&[]);
}

#[test]
fn a_wrong_target_is_noticed() {
    let bench = Bench::new();
    // One that replays the accident, and one that loses the commit before it.
    for (plant, named) in [("inclusive", "lost"), ("early", "journal: 1 rows lost")] {
        let arguments = [SCRIPT, "--incidents", "1", "--seed", "5", "--plant", plant];
        let (report, run) = bench.drill(&arguments, 10);
        assert_eq!(report["verdict"], "fail", "{plant}");
        assert_eq!(report["metrics"]["wrong"]["value"], 1, "{plant}");
        run.says(named);
    }
    bench.assert_clean(&[]);
}
