//! The Lua suites and the drills of the local runtime, in containers, on three major versions. All of
//! the suites run on the newest; on the others those where versions and containers meet.

use crate::bench::{Bench, image, text};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lua/lab");

/// Suites that nobody has run in containers yet: each moves into the list below once it passes there.
const LOCAL_ONLY: &[&str] = &[
    "capture",
    "files",
    "incident",
    "messages",
    "replication",
    "wal",
];

fn suite(name: &str, major: u32) {
    let Some(bench) = Bench::new() else { return };
    let run = bench
        .rpitr(&["test", &format!("{FOLDER}/{name}_test.lua")])
        .env("RPITR_POSTGRES_IMAGE", image(major))
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&run.stdout);
    let last = stdout.lines().last().unwrap_or_default();
    assert!(
        run.status.success() && last.ends_with(" passed, 0 failed"),
        "{name} on PostgreSQL {major}\n{}",
        text(&run)
    );
    assert_eq!(bench.left(), Vec::<String>::new());
}

macro_rules! suites {
    ($($test:ident: $name:literal $major:literal,)*) => {
        $(#[test] fn $test() { suite($name, $major); })*

        #[test]
        fn no_suite_is_forgotten() {
            let listed = [$(($name, $major)),*];
            for entry in std::fs::read_dir(FOLDER).unwrap() {
                let file = entry.unwrap().file_name().into_string().unwrap();
                if let Some(name) = file.strip_suffix("_test.lua") {
                    let known = listed.contains(&(name, 18)) || LOCAL_ONLY.contains(&name);
                    assert!(known, "{name} does not run in containers");
                }
            }
        }
    };
}

suites! {
    capture_18: "capture" 18,
    damage_18: "damage" 18,
    lab_18: "lab" 18,
    pitr_18: "pitr" 18,
    rules_18: "rules" 18,
    sql_18: "sql" 18,
    verify_18: "verify" 18,
    lab_17: "lab" 17,
    rules_17: "rules" 17,
    lab_15: "lab" 15,
    rules_15: "rules" 15,
}

fn drills(major: u32) {
    let Some(bench) = Bench::new() else { return };
    image(major);
    for (script, code) in [
        (&["full_recovery", "-q"][..], 0),
        (&["pitr", "-q", "--to", "time"][..], 0),
        (&["pitr", "-q", "--plant", "late"][..], 10),
        (&["full_recovery", "-q", "--plant", "delete-row"][..], 10),
        (&["restore", "-q", "--to", "time"][..], 0),
    ] {
        let run = bench
            .rpitr(script)
            .args(["--version", &major.to_string()])
            .output()
            .unwrap();
        assert_eq!(run.status.code(), Some(code), "{script:?}\n{}", text(&run));
        assert_eq!(bench.left(), Vec::<String>::new(), "after {script:?}");
    }
}

#[test]
fn drills_prove_on_15_what_they_prove_locally() {
    drills(15);
}

#[test]
fn drills_prove_on_17_what_they_prove_locally() {
    drills(17);
}

#[test]
fn drills_prove_on_18_what_they_prove_locally() {
    drills(18);
}
