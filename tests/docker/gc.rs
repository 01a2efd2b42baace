//! What a killed run leaves is found by its labels and removed, and nothing else is.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::bench::{Bench, MAJOR, add, block_on, docker, text};

#[test]
fn gc_after_a_kill_removes_exactly_what_is_marked() {
    let Some(bench) = Bench::new() else { return };
    let stranger = format!("rpitr-stranger-{}", std::process::id());
    docker(&["volume", "create", &stranger]);
    // Killed at different moments, the first while the first container is being made.
    for moment in [1, 3, 6] {
        let mut run = bench
            .rpitr(&["full_recovery", "-q", "--version", &MAJOR.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while bench.left().len() < moment {
            assert!(Instant::now() < deadline, "never got to {moment} things");
            std::thread::sleep(Duration::from_millis(20));
        }
        run.kill().unwrap();
        run.wait().unwrap();
        let gone = bench.rpitr(&["lab", "gc"]).output().unwrap();
        assert!(gone.status.success(), "{}", text(&gone));
        assert_eq!(bench.left(), Vec::<String>::new(), "{}", text(&gone));
    }
    // A registry that is lost: the labels alone must do.
    block_on(async {
        let lab = bench.lab().await;
        add(&lab, "one").await;
        lab.runtime().registry().remove(&lab.id()).unwrap();
    });
    assert!(!bench.left().is_empty());
    let gone = bench.rpitr(&["lab", "gc"]).output().unwrap();
    assert!(gone.status.success(), "{}", text(&gone));
    assert_eq!(bench.left(), Vec::<String>::new());
    assert!(docker(&["volume", "inspect", &stranger]).status.success());
    docker(&["volume", "rm", &stranger]);
}
