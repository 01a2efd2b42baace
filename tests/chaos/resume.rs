//! rpitr is killed in the middle of a chaos run: from outside at any moment, or by its own schedule. The run goes on, and its
//! verdict is over all of it. `RPITR_TEST_SEED` repeats the moments.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::common::{Bench, Finished, Running, entries, eventually};
use crate::work::Work;

const RUN: &[&str] = &[
    "chaos",
    "--duration=10s",
    "--every=500ms..1500ms",
    "--restores=4",
    "--targets=200",
    "--writers=4",
    "--think=0..5ms",
    "--faults=pause,kill_tree,restart,ack_loss,archive_fail,kill_capturer",
];

fn start(bench: &Bench, seed: u64, bundle: &Path) -> Running {
    let (seed, bundle) = (
        format!("--seed={seed}"),
        format!("--bundle={}", bundle.display()),
    );
    bench.start(&[RUN, &[&seed, &bundle]].concat())
}

fn resume(bench: &Bench, bundle: &Path) -> Finished {
    bench.run(&["chaos", "resume", &bundle.display().to_string()])
}

fn lines(bundle: &Path, name: &str) -> Vec<Value> {
    let text = fs::read_to_string(bundle.join(name)).unwrap_or_default();
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

fn count(bundle: &Path, event: &str) -> usize {
    let events = lines(bundle, "events.jsonl");
    events.iter().filter(|one| one["e"] == event).count()
}

/// Waits until the writers work.
fn until_storm(run: &mut Running, bundle: &Path) {
    eventually("writers at work", || {
        assert!(!run.ended(), "{}\n{}", run.stdout(), run.stderr());
        let sent = lines(bundle, "verification_log.jsonl");
        (sent.len() > 20).then_some(())
    });
}

/// The process that does the work of a run.
fn worker(run: &Running) -> Pid {
    let parent = run.pid().to_string();
    let is_child = |path: &PathBuf| {
        let stat = fs::read_to_string(path.join("stat")).unwrap_or_default();
        let rest = stat.rsplit(") ").next().unwrap_or_default();
        rest.split(' ').nth(1) == Some(parent.as_str())
    };
    let found = entries(Path::new("/proc")).into_iter().find(is_child);
    let pid = found.and_then(|path| path.file_name()?.to_str()?.parse().ok());
    Pid::from_raw(pid.unwrap())
}

/// Kills the supervisor; its worker dies with it.
fn kill_all_of(run: Running) {
    let worker = worker(&run);
    run.signal(Signal::SIGKILL);
    run.finish();
    eventually("the end of the worker", || {
        let stat = fs::read_to_string(format!("/proc/{worker}/stat"));
        stat.map_or(true, |stat| stat.contains(") Z "))
            .then_some(())
    });
}

/// Everything was proved: nothing lost, and the numbers of the writers went on.
fn assert_proved(done: &Finished, bundle: &Path, epochs: u64) {
    done.expect(0);
    done.says("PROVED  chaos");
    let verdict: Value =
        serde_json::from_str(&fs::read_to_string(bundle.join("verdict.json")).unwrap()).unwrap();
    assert_eq!(verdict["verdict"], "pass");
    assert_eq!(verdict["run"]["epochs"], epochs);
    for restore in verdict["restores"].as_array().unwrap() {
        assert_eq!(restore["lost"], 0, "{restore}");
    }
    let mut reached = std::collections::HashMap::new();
    for line in lines(bundle, "verification_log.jsonl") {
        if line["e"] == "send" {
            let before = reached.insert(line["writer"].as_u64(), line["seq"].as_u64().unwrap());
            assert_eq!(line["seq"], before.unwrap_or(0) + 1, "{line}");
        }
    }
}

#[test]
fn a_run_killed_at_any_moment_is_resumed_and_nothing_is_lost() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let named = std::env::var("RPITR_TEST_SEED").ok();
    let seed = named.and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(now.subsec_nanos()));
    println!("RPITR_TEST_SEED={seed}");
    let bench = Bench::new();
    let bundle = bench.dir().join("run");
    // Twice while the writers work, the third time while restores are under way.
    let mut run = start(&bench, seed, &bundle);
    until_storm(&mut run, &bundle);
    thread::sleep(Duration::from_millis(seed % 4000));
    kill_all_of(run);
    // Whoever asked for the bundle finds the servers there.
    bench.run(&["lab", "gc"]).expect(0);
    bench
        .run(&["lab", "ls"])
        .says(&format!("chaos resume {}", bundle.display()));

    let mut run = bench.start(&["chaos", "resume", &bundle.display().to_string()]);
    eventually("the second epoch", || {
        assert!(!run.ended(), "{}\n{}", run.stdout(), run.stderr());
        (count(&bundle, "epoch") == 2).then_some(())
    });
    thread::sleep(Duration::from_millis(seed / 4000 % 3000));
    kill_all_of(run);

    let mut run = bench.start(&["chaos", "resume", &bundle.display().to_string()]);
    eventually("a restore", || {
        assert!(!run.ended(), "{}\n{}", run.stdout(), run.stderr());
        bundle.join("restores/001.json").exists().then_some(())
    });
    thread::sleep(Duration::from_millis(seed / 100 % 500));
    kill_all_of(run);

    let (report, done) = bench.drill(&["chaos", "resume", &bundle.display().to_string()], 0);
    // Whatever this process would have drawn.
    assert_eq!(report["seed"], seed);
    assert_proved(&done, &bundle, 4);
    bench.assert_clean(&[]);

    // The proof is as strict as that of a run in one piece.
    let work = Work::of(&bundle);
    let first = work.history.ops.iter().find(|op| op.is_ok()).unwrap().op;
    work.edit_final(|rows| rows.retain(|row| !row.starts_with(&format!("{first}\t"))));
    let verdict = work.judge();
    assert!(
        verdict
            .text()
            .contains("acknowledged, but not on the primary"),
        "{}",
        verdict.text()
    );
    let work = Work::of(&bundle);
    work.tampered(|rows| drop(rows.remove(10)));
    let text = work.judge().text();
    assert!(text.contains("1 lost"), "{text}");
}

#[test]
fn the_supervisor_goes_on_when_only_its_worker_is_killed_and_passes_signals_on() {
    let bench = Bench::new();
    let bundle = bench.dir().join("run");
    let mut run = start(&bench, 5, &bundle);
    until_storm(&mut run, &bundle);
    kill(worker(&run), Signal::SIGKILL).unwrap();
    let done = run.finish();
    assert_proved(&done, &bundle, 2);
    done.says("killed by SIGKILL; the run goes on");
    bench.assert_clean(&[]);

    let bundle = bench.dir().join("interrupted");
    let mut run = start(&bench, 6, &bundle);
    until_storm(&mut run, &bundle);
    run.signal(Signal::SIGINT);
    let done = run.finish();
    done.expect(130);
    assert_eq!(done.stderr.matches("cleaning up").count(), 1, "{done:?}");
    bench.assert_clean(&[]);

    // A deadline is told once, too.
    let done = bench.run(&["chaos", "--timeout=5s"]);
    done.expect(13);
    assert_eq!(done.stderr.matches("deadline of 5s").count(), 1, "{done:?}");
    bench.assert_clean(&[]);
}

#[test]
fn a_supervisor_that_is_told_to_end_between_two_workers_starts_no_other() {
    let bench = Bench::new();
    let bundle = bench.dir().join("run");
    let mut run = start(&bench, 8, &bundle);
    until_storm(&mut run, &bundle);
    kill(worker(&run), Signal::SIGKILL).unwrap();
    thread::sleep(Duration::from_millis(2));
    run.signal(Signal::SIGTERM);
    let done = run.finish();
    done.expect(130);
    assert_eq!(count(&bundle, "epoch"), 1, "{done:?}");
    bench.assert_clean(&[]);
}

#[test]
fn a_worker_killed_before_its_run_leaves_nothing_behind() {
    let bench = Bench::new();
    let mut run = bench.start(&[RUN, &["--seed=3"]].concat());
    eventually("a server", || {
        assert!(!run.ended(), "{}\n{}", run.stdout(), run.stderr());
        (!bench.ports().is_empty()).then_some(())
    });
    kill(worker(&run), Signal::SIGKILL).unwrap();
    let done = run.finish();
    done.expect(11);
    done.says("killed by SIGKILL when no run was under way");
    bench.assert_clean(&[]);
}

#[test]
fn a_bundle_nobody_asked_for_goes_with_its_lab_unless_it_proves_something() {
    let bench = Bench::new();
    let runs = bench.dir().join("state/runs");
    for (name, file) in [("0badcafe", "verdict.json"), ("deadbeef", "bundle.json")] {
        fs::create_dir_all(runs.join(name)).unwrap();
        fs::write(runs.join(name).join(file), "{}").unwrap();
    }
    bench.run(&["lab", "gc"]).says("deadbeef removed");
    assert_eq!(entries(&runs), [runs.join("0badcafe")]);
    fs::remove_dir_all(runs.join("0badcafe")).unwrap();

    // Told to end in the middle of the run.
    let mut run = bench.start(&[RUN, &["--seed=4"]].concat());
    eventually("writers at work", || {
        assert!(!run.ended(), "{}\n{}", run.stdout(), run.stderr());
        let bundle = entries(&runs).pop()?;
        (count(&bundle, "storm") == 1).then_some(())
    });
    run.signal(Signal::SIGTERM);
    run.finish().expect(130);
    assert!(entries(&runs).is_empty());
    bench.assert_clean(&[]);
}

#[test]
fn a_supervised_drill_is_not_read_from_standard_input() {
    let bench = Bench::new();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/chaos.lua");
    let mut command = bench.command(&["-", "--quick"]);
    let done = command.stdin(fs::File::open(script).unwrap()).output();
    let done = done.unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(2), "{said}");
    assert!(
        said.contains("cannot be read from standard input"),
        "{said}"
    );
    bench.assert_clean(&[]);
}

#[test]
fn a_run_may_kill_rpitr_itself() {
    let bench = Bench::new();
    let bundle = bench.dir().join("run");
    let words = [
        "chaos",
        "--duration=8s",
        "--every=500ms..1s",
        "--restores=3",
        "--targets=200",
        "--seed=9",
        "--faults=kill_orchestrator,pause",
        &format!("--bundle={}", bundle.display()),
    ];
    let done = bench.run(&words);
    let kills = lines(&bundle, "events.jsonl")
        .iter()
        .filter(|event| event["e"] == "inject" && event["kind"] == "kill_orchestrator")
        .count();
    assert!(kills >= 1, "{done:?}");
    assert_proved(&done, &bundle, kills as u64 + 1);
    bench.assert_clean(&[]);
    // Where nobody would go on with it, a run does not begin.
    let script = bench.script(
        "alone.lua",
        r#"chaos.run { cluster = chaos.cluster { standby = false }, every = "1s", duration = "9s",
             faults = { chaos.kill_orchestrator() } }"#,
    );
    let done = bench.run(&[&script]);
    done.expect(11);
    done.says("nobody would go on with this run");
    bench.assert_clean(&[]);
}

#[test]
fn a_run_whose_servers_are_gone_cannot_be_resumed() {
    let bench = Bench::new();
    let bundle = bench.dir().join("run");
    let mut run = start(&bench, 7, &bundle);
    until_storm(&mut run, &bundle);
    kill_all_of(run);
    bench.run(&["lab", "gc", "--all"]).expect(0);
    let done = resume(&bench, &bundle);
    done.expect(12);
    done.says("cannot go on");
    // Another run does not write into it.
    let again = bench.run(&[RUN, &[&format!("--bundle={}", bundle.display())]].concat());
    again.expect(11);
    again.says("there is a run in");
    assert_eq!(resume(&bench, Path::new("/nowhere")).code, Some(11));
    bench.assert_clean(&[]);
}
