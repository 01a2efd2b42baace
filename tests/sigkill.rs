//! SIGKILL of rpitr at random moments of a drill: `rpitr lab gc` finds and removes all that is left.
//!
//! The moments are spread over the length of a whole drill. `RPITR_TEST_SEED` repeats a run,
//! `RPITR_TEST_KILLS` says how many moments (default 50).

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::Bench;
use nix::sys::signal::Signal;

const DRILL: &[&str] = &[
    "full_recovery",
    "--scale",
    "0",
    "--orders",
    "30",
    "--keep=failed",
];
const AT_ONCE: u64 = 2;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// A number from 0 to 1 that depends on seed and index alone (splitmix64).
fn fraction(seed: u64, index: u64) -> f64 {
    let mut z = seed.wrapping_add((index + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

/// Kills a drill after `delay` and has `lab gc` clean up. How long the drill took if it was over before.
fn kill_after(bench: &Bench, delay: Duration) -> Option<Duration> {
    let started = Instant::now();
    let mut run = bench.start(DRILL);
    while started.elapsed() < delay && !run.ended() {
        thread::sleep(Duration::from_millis(1));
    }
    let alive = !run.ended();
    let took = started.elapsed();
    if alive {
        run.signal(Signal::SIGKILL);
    }
    let run = run.finish();
    if !alive && run.code != Some(0) {
        panic!("the drill itself failed: {run:#?}\n{}", bench.logs());
    }
    // While its servers still run, their ports are known.
    let ports = bench.ports();
    let gc = bench.run(&["lab", "gc"]);
    gc.expect(0);
    bench.assert_clean(&ports);
    // A second one finds nothing, and a new drill is not disturbed by what was.
    bench.run(&["lab", "gc"]).says("nothing to remove");
    (!alive).then_some(took)
}

#[test]
fn whatever_a_killed_run_leaves_is_found_and_removed() {
    let seed = variable("RPITR_TEST_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        u64::from(now.subsec_nanos())
    });
    let kills = variable("RPITR_TEST_KILLS").unwrap_or(50);
    println!("RPITR_TEST_SEED={seed}");

    // How long the drill takes on this machine with another one beside it.
    let started = Instant::now();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| Bench::new().run(DRILL).expect(0));
        }
    });
    let length = started.elapsed();

    let killed: usize = thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE)
            .map(|worker| {
                scope.spawn(move || {
                    let bench = Bench::new();
                    let mut length = length;
                    let mine = (0..kills).filter(|index| index % AT_ONCE == worker);
                    mine.filter(|index| {
                        let delay = length.mul_f64(fraction(seed, *index));
                        println!("kill {index} after {delay:?}");
                        let whole = kill_after(&bench, delay);
                        // The machine has become quicker.
                        length = whole.unwrap_or(length);
                        whole.is_none()
                    })
                    .count()
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap())
            .sum()
    });
    println!("{killed} of {kills} drills were killed in the middle; a whole one takes {length:?}");
    assert!(
        killed as u64 > kills / 2,
        "only {killed} drills were still running when they were killed"
    );
}
