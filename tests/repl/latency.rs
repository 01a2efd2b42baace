//! How long a person at the prompt waits. `benches/repl.sh` runs this on a release build and prints the numbers.

use std::fs::File;
use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rexpect::process::PtyProcess;

use crate::common::Bench;

/// What a single answer may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(60);
/// A debug build on a machine that does other things; a person would notice, nothing is broken.
const BOUND: Duration = Duration::from_millis(500);

/// A session whose output arrives at once: rexpect looks ten times a second.
struct Session {
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    seen: Vec<u8>,
    _process: PtyProcess,
}

impl Session {
    fn start(bench: &Bench, arguments: &[&str]) -> Self {
        let mut command = bench.command(arguments);
        command.env("TERM", "xterm");
        let process = PtyProcess::new(command).unwrap();
        let keyboard = process.get_file_handle().unwrap();
        let mut output = process.get_file_handle().unwrap();
        let (tell, screen) = channel();
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut chunk) {
                if tell.send(chunk[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        Session {
            keyboard,
            screen,
            seen: Vec::new(),
            _process: process,
        }
    }

    /// Types, and says how long it takes until `answer` is on the screen.
    fn timed(&mut self, keys: &str, answer: &str) -> Duration {
        let began = Instant::now();
        self.keyboard.write_all(keys.as_bytes()).unwrap();
        self.wait_for(answer);
        began.elapsed()
    }

    fn wait_for(&mut self, answer: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self
                .seen
                .windows(answer.len())
                .position(|part| part == answer.as_bytes());
            if let Some(at) = found {
                self.seen.drain(..at + answer.len());
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.screen.recv_timeout(left) {
                Ok(chunk) => self.seen.extend(chunk),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("no {answer:?} in {:?}", String::from_utf8_lossy(&self.seen))
                }
            }
        }
    }
}

/// Times in order; the median and the 95th of a hundred.
fn measure(
    what: &str,
    goal_ms: u64,
    tries: usize,
    mut once: impl FnMut(usize) -> Duration,
) -> Duration {
    let mut times: Vec<Duration> = (0..tries).map(&mut once).collect();
    times.sort();
    let at = |share: usize| times[(tries * share / 100).min(tries - 1)];
    let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
    println!(
        "{what}: p50 {:.1} ms, p95 {:.1} ms of {tries}; goal < {goal_ms} ms: {}",
        milliseconds(at(50)),
        milliseconds(at(95)),
        if at(95) < Duration::from_millis(goal_ms) {
            "met"
        } else {
            "MISSED"
        }
    );
    at(50)
}

#[test]
fn answers_come_at_once() {
    let mut bench = Bench::new();
    let measured = std::env::var("RPITR").ok();
    if let Some(program) = &measured {
        bench.program = program.into();
    }
    let tries = if measured.is_some() { 200 } else { 100 };
    let mut session = Session::start(&bench, &["repl", "--color", "always"]);
    session.wait_for("rpitr> ");
    session.timed("pg = lab.postgres {}\r", "tl 1> ");
    session.timed(":sql CREATE TABLE customer_orders (id int)\r", "tl 1> ");
    // What is typed is on the screen before the clock starts: the rest is the answer.
    let enter = measure("Enter to the result of a sum", 20, tries, |i| {
        let sum = 5000 + i;
        session.timed(&format!("{sum}+1"), "+");
        session.wait_for("1");
        session.settle();
        let took = session.timed("\r", &(sum + 1).to_string());
        session.wait_for("tl 1> ");
        took
    });
    let methods = measure("Tab to the methods of a node", 50, tries, |_| {
        session.timed("pg:st", "st");
        session.settle();
        let took = session.timed("\t", "status");
        session.clear();
        took
    });
    let tables = measure("Tab to the name of a table", 50, tries, |_| {
        session.timed(":sql SELECT id FROM cust", "cust");
        session.settle();
        let took = session.timed("\t", "omer_orders");
        session.clear();
        took
    });
    for (what, time) in [("Enter", enter), ("methods", methods), ("tables", tables)] {
        assert!(time < BOUND, "{what}: {time:?}");
    }
    session.timed("\x04", "stay?");
    session.keyboard.write_all(b"r\r").unwrap();
    crate::common::eventually("the end of the session", || {
        bench.processes().is_empty().then_some(())
    });
    bench.assert_clean(&[]);
}

impl Session {
    /// Waits until nothing is being drawn any more.
    fn settle(&mut self) {
        while let Ok(chunk) = self.screen.recv_timeout(Duration::from_millis(15)) {
            drop(chunk);
        }
        self.seen.clear();
    }

    /// Drops the line.
    fn clear(&mut self) {
        self.keyboard.write_all(b"\x15").unwrap();
        self.settle();
    }
}
