//! The `docker` module of the standard library on a real engine, and what a script that is killed leaves to
//! `rpitr lab gc`. Without an engine both are skipped, loudly; `RPITR_REQUIRE_DOCKER=1` makes that a failure.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::path::Path;
use std::process::Command;

use common::{Bench, eventually};
use nix::sys::signal::Signal;

/// The major version of the image the suite runs.
const MAJOR: &str = "15";

/// The output of a docker command that succeeded.
fn docker(arguments: &[&str]) -> Option<String> {
    let output = Command::new("docker").args(arguments).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_string();
    output.status.success().then_some(text)
}

/// Whether there is an engine, with an image to run.
fn engine() -> bool {
    if docker(&["version", "--format", "{{.Server.Version}}"]).is_none() {
        let required = std::env::var("RPITR_REQUIRE_DOCKER").is_ok_and(|value| value == "1");
        assert!(
            !required,
            "RPITR_REQUIRE_DOCKER=1, but no Docker engine answers"
        );
        eprintln!("SKIPPED: no Docker engine answers, the docker module is not tested");
        return false;
    }
    let images = ["postgres", "rpitr/postgres"].map(|name| format!("{name}:{MAJOR}"));
    let there = |image: &String| docker(&["image", "inspect", image]).is_some();
    if !images.iter().any(there) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("compose/image/build");
        assert!(Command::new(script).arg(MAJOR).status().unwrap().success());
    }
    true
}

/// Everything on the engine that this bench's labels mark.
fn left(bench: &Bench) -> Vec<String> {
    let label = format!("label=rpitr.state={}", bench.state.display());
    let lists = [
        &["ps", "-aq"][..],
        &["volume", "ls", "-q"],
        &["network", "ls", "-q"],
    ];
    let names = lists.map(|list| docker(&[list, &["--filter", &label]].concat()).unwrap());
    let names = names.iter().flat_map(|names| names.split_whitespace());
    names.map(str::to_string).collect()
}

#[test]
fn the_suite() {
    if !engine() {
        return;
    }
    let bench = Bench::new();
    let suite = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lua/docker");
    let run = bench.run(&["test", suite]);
    run.expect(0);
    run.says(" passed, 0 failed");
    assert_eq!(left(&bench), Vec::<String>::new());
    bench.assert_clean(&[]);
}

#[test]
fn a_script_that_is_killed_leaves_what_gc_finds() {
    if !engine() {
        return;
    }
    let bench = Bench::new();
    let script = bench.script(
        "forever.lua",
        r#"
        local image = docker.has_image "postgres:15" and "postgres:15" or "rpitr/postgres:15"
        local net, data = docker.network(), docker.volume()
        docker.run(image, {
          entrypoint = { "sleep", "600" },
          command = {},
          network = net,
          volumes = { ["/data"] = data },
        })
        print "made"
        timer.sleep "10m"
        "#,
    );
    let mut run = bench.start(&[&script]);
    eventually("everything made", || {
        assert!(!run.ended(), "{}", run.stderr());
        run.stdout().contains("made").then_some(())
    });
    assert_eq!(left(&bench).len(), 3);
    // As long as it runs, it is nobody else's to remove.
    bench.run(&["lab", "gc", "--all"]).expect(0);
    assert_eq!(left(&bench).len(), 3);
    run.signal(Signal::SIGKILL);
    run.finish();
    assert_eq!(left(&bench).len(), 3);
    bench.run(&["lab", "gc"]).expect(0);
    assert_eq!(left(&bench), Vec::<String>::new());
    bench.assert_clean(&[]);
}

#[test]
fn without_an_engine_the_error_says_what_to_do() {
    let mut bench = Bench::new();
    let nowhere = format!("unix://{}/none.sock", bench.dir().display());
    bench.env.push(("DOCKER_HOST".into(), nowhere));
    let run = bench.run(&["-e", "docker.network()"]);
    run.expect(12);
    run.says("no Docker engine answers");
    run.says("none.sock");
    bench.assert_clean(&[]);
}
