//! Chaos: one real run of writers and restores is judged, and then every defect a verdict must find is
//! planted in a copy of its bundle.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../common/mod.rs"]
mod common;
mod defects;
mod resume;
mod work;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use common::Bench;
use rpitr::verify::{Draw, Word, draw};
use work::Work;

/// A short stress run, made once; its folder is the build's own for temporary files, and the next run's.
fn run() -> PathBuf {
    static RUN: OnceLock<PathBuf> = OnceLock::new();
    let made = RUN.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("chaos-run");
        let _ = fs::remove_dir_all(&folder);
        let bench = Bench::new();
        let done = bench.run(&[
            "stress",
            "--duration=3s",
            "--restores=6",
            "--seed=7",
            &format!("--bundle={}", folder.display()),
        ]);
        assert_eq!(done.code, Some(0), "{}\n{}", done.stdout, done.stderr);
        bench.assert_clean(&[]);
        folder
    });
    made.clone()
}

#[test]
fn a_healthy_run_passes_with_a_thousand_targets_and_no_false_alarm() {
    let work = Work::of(&run());
    let request = Draw {
        seed: 99,
        name: "healthy",
        count: 40,
        adversarial: 0.7,
    };
    for (at, drawn) in draw(&work.bundle, &work.order, &request).iter().enumerate() {
        work.restore(at as u32 + 1, &drawn.target);
    }
    let verdict = work.judge();
    assert_eq!(verdict.verdict, Word::Pass, "{}", verdict.text());
    assert_eq!(verdict.targets.count, 1000, "{}", verdict.text());
    assert_eq!(verdict.restores.len(), 40);
}

#[test]
fn a_receiver_a_promotion_and_the_losses_that_are_allowed_pass() {
    let work = Work::of(&run());
    work.restore(1, &work.goal());
    work.facts(|facts| facts["require"]["restores"] = 1.into());
    work.receive();
    work.promotion(|_, _| {});
    // The last ones acknowledged, of the server's last life, under a run that allows it.
    work.facts(|facts| facts["synchronous_commit"] = "off".into());
    let mut last: Vec<_> = work.history.ops.iter().filter(|op| op.is_ok()).collect();
    last.sort_by_key(|op| op.commit);
    let last: Vec<_> = last.iter().rev().take(3).map(|op| op.op).collect();
    let is_lost = |row: &String| {
        let of = |op: &i64| row.starts_with(&format!("{op}\t"));
        last.iter().any(of)
    };
    work.edit_final(|rows| rows.retain(|row| !is_lost(row)));
    let verdict = work.judge();
    assert_eq!(verdict.verdict, Word::Pass, "{}", verdict.text());
    assert_eq!(verdict.run.given_up, 3);
    assert!(verdict.run.received > Some(1), "{}", verdict.text());
}

#[test]
fn a_bundle_is_judged_twice_to_the_same_bytes() {
    let folder = run();
    let bench = Bench::new();
    let judge = || {
        let done = bench.run(&["verify", &folder.display().to_string()]);
        assert_eq!(done.code, Some(0), "{}\n{}", done.stdout, done.stderr);
        (done.stdout, fs::read(folder.join("verdict.json")).unwrap())
    };
    assert_eq!(judge(), judge());
}

#[test]
fn every_planted_defect_is_found() {
    let folder = run();
    let mut missed = Vec::new();
    for defect in defects::ALL {
        let work = Work::of(&folder);
        (defect.plant)(&work);
        let verdict = work.judge();
        let text = verdict.text();
        if verdict.verdict != Word::Fail || !text.contains(defect.shows) {
            missed.push(format!(
                "{}: wanted {:?} in\n{text}",
                defect.name, defect.shows
            ));
        }
    }
    assert!(defects::ALL.len() >= 20);
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

macro_rules! lua_suites {
    ($($name:ident)*) => {
        const SUITES: &[&str] = &[$(stringify!($name)),*];
        $(#[test]
        fn $name() {
            let bench = Bench::new();
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lua/chaos/");
            let done = bench.run(&["test", &format!("{folder}{}.lua", stringify!($name))]);
            assert_eq!(done.code, Some(0), "{}\n{}", done.stdout, done.stderr);
            bench.assert_clean(&[]);
        })*
    };
}

// One by one: together they take longer than a run may.
lua_suites! { past_test proof_test receiver_test schedule_test shrink_test trigger_test }

#[test]
fn every_lua_suite_is_run() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lua/chaos");
    let mut found: Vec<_> = common::entries(&folder)
        .iter()
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_string())
        .collect();
    found.sort();
    assert_eq!(found, SUITES);
}

#[test]
fn a_run_in_which_too_little_happened_is_unknown() {
    let bench = Bench::new();
    let cases: [fn(&mut serde_json::Value); 3] = [
        |facts| facts["require"]["operations"] = 1_000_000.into(),
        |facts| facts["require"]["restores"] = 100.into(),
        |facts| facts["require"]["faults"] = 1.into(),
    ];
    for case in cases {
        let work = Work::of(&run());
        work.restore(1, &work.goal());
        work.facts(|facts| facts["require"]["restores"] = 1.into());
        assert_eq!(work.judge().verdict, Word::Pass);
        work.facts(case);
        let done = bench.run(&["verify", &work.folder.path().display().to_string()]);
        assert_eq!(done.code, Some(10), "{}", done.stdout);
        assert!(
            done.stdout.contains("verdict     UNKNOWN"),
            "{}",
            done.stdout
        );
    }
}

#[test]
fn what_is_no_bundle_is_refused_with_a_reason() {
    let bench = Bench::new();
    let done = bench.run(&["verify", "/nowhere"]);
    assert!(
        done.stderr.contains("cannot read /nowhere/bundle.json"),
        "{}",
        done.stderr
    );
    assert_eq!(done.code, Some(11));
    // A run that was killed has written what it knew, but not how it ended.
    let work = Work::of(&run());
    fs::remove_file(work.path("final.tsv.zst")).unwrap();
    let done = bench.run(&["verify", &work.folder.path().display().to_string()]);
    assert!(done.stderr.contains("did not end"), "{}", done.stderr);
    assert_eq!(done.code, Some(10));
}

/// Faults under load, and the same schedule again.
#[test]
fn a_chaos_run_is_proved_and_its_schedule_replays() {
    let bench = Bench::new();
    let (first, again) = (bench.dir().join("first"), bench.dir().join("again"));
    let small = [
        "--duration=8s",
        "--restores=3",
        "--targets=200",
        "--think=0..5ms",
    ];
    let run = |words: &[&str], folder: &PathBuf| {
        let bundle = format!("--bundle={}", folder.display());
        let done = bench.run(&[words, &small, &[&bundle]].concat());
        assert_eq!(done.code, Some(0), "{}\n{}", done.stdout, done.stderr);
        assert!(done.stdout.contains("PROVED  chaos"), "{}", done.stdout);
        fs::read_to_string(folder.join("schedule.json")).unwrap()
    };
    let faults = "--faults=pause,kill_tree,ack_loss,reset,archive_fail";
    let planned = run(&["chaos", "--seed=3", faults], &first);
    let folder = first.display().to_string();
    assert_eq!(run(&["chaos", "replay", &folder], &again), planned);
    let fired = |folder: &PathBuf| {
        let events = fs::read_to_string(folder.join("events.jsonl")).unwrap();
        let line = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
        let injected = events
            .lines()
            .map(line)
            .filter(|event| event["e"] == "inject");
        injected
            .map(|event| event["kind"].as_str().unwrap().to_string())
            .collect::<Vec<_>>()
    };
    assert!(!fired(&first).is_empty(), "{:?}", fired(&first));
    assert_eq!(fired(&first), fired(&again));
    bench.assert_clean(&[]);
}
