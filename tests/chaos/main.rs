//! Chaos: one real run of writers and restores is judged, and then every defect a verdict must find is
//! planted in a copy of its bundle.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../common/mod.rs"]
mod common;
mod defects;
mod work;

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use common::Bench;
use rpitr::verify::{Draw, Word, draw};
use work::Work;

/// A short stress run, made once; its folder goes with the test program's temporary files.
fn run() -> PathBuf {
    static RUN: OnceLock<(Bench, PathBuf)> = OnceLock::new();
    let (_, folder) = RUN.get_or_init(|| {
        let bench = Bench::new();
        let folder = bench.dir().join("bundle");
        let done = bench.run(&[
            "stress",
            "--duration=3s",
            "--restores=6",
            "--seed=7",
            &format!("--bundle={}", folder.display()),
        ]);
        assert_eq!(done.code, Some(0), "{}\n{}", done.stdout, done.stderr);
        bench.assert_clean(&[]);
        (bench, folder)
    });
    folder.clone()
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
}
