//! The drills about captured WAL: what they claim is proved, planted defects are caught, nothing is left
//! behind. On containers they run in `tests/docker`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::Bench;

fn metric(report: &serde_json::Value, name: &str) -> f64 {
    let value = report["metrics"][name]["value"].as_f64();
    value.unwrap_or_else(|| panic!("metric {name} is missing: {}", report["metrics"]))
}

#[test]
fn a_restore_recovers_what_only_the_partial_segment_holds() {
    let bench = Bench::new();
    let (report, _) = bench.drill(&["restore", "--orders", "80", "--to", "time"], 0);
    assert_eq!(report["verdict"], "pass");
    assert!(metric(&report, "rows_only_in_partial") >= 40.0);
    assert_eq!(metric(&report, "orders_lost"), 0.0);
    for (defect, named) in [
        ("late", "acknowledged before the mistake are there"),
        ("torn-tail", "WAL is damaged"),
        ("no-tail", "the target is not reached"),
        ("delete-row", "1 lost"),
    ] {
        let (report, run) = bench.drill(&["restore", "--orders", "80", "--plant", defect], 10);
        assert_eq!(report["verdict"], "fail", "{defect}");
        run.says("NOT PROVED");
        run.says(named);
    }
    bench.assert_clean(&[]);
}

#[test]
fn a_synchronous_receiver_outlives_the_primary_without_a_loss() {
    let bench = Bench::new();
    let (report, _) = bench.drill(&["wal_capture", "--orders", "60", "--synchronous"], 0);
    assert_eq!(metric(&report, "rpo_transactions"), 0.0);
    assert_eq!(metric(&report, "problems"), 0.0);
    bench.assert_clean(&[]);
}

#[test]
fn damage_in_captured_wal_is_named() {
    let bench = Bench::new();
    for (defect, named) in [
        ("flipped-byte", "checksum"),
        ("deleted-segment", "gap: "),
        ("truncated-file", "300000 bytes"),
        ("foreign-name", "invalid_name: "),
    ] {
        let planted = ["wal_capture", "--orders", "40", "--plant", defect];
        let (report, run) = bench.drill(&planted, 10);
        assert_eq!(metric(&report, "problems"), 1.0, "{defect}");
        run.says(named);
    }
    bench.assert_clean(&[]);
}
