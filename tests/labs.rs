//! The Lua suites on real servers, one file a test, each in a state root of its own that must be
//! empty afterwards.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::collections::BTreeSet;
use std::fs;

use common::Bench;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lua/lab");

fn suite(name: &str) {
    let bench = Bench::new();
    let done = bench.run(&["test", &format!("{FOLDER}/{name}_test.lua")]);
    let last = done.stdout.lines().last().unwrap_or_default();
    assert!(
        done.code == Some(0) && last.ends_with(" passed, 0 failed"),
        "{}\n{}",
        done.stdout,
        done.stderr
    );
    bench.assert_clean(&[]);
}

macro_rules! suites {
    ($($name:ident)*) => {
        $(#[test] fn $name() { suite(stringify!($name)); })*

        #[test]
        fn no_suite_is_forgotten() {
            let listed: BTreeSet<String> = [$(stringify!($name)),*].map(String::from).into();
            let found = fs::read_dir(FOLDER).unwrap().filter_map(|entry| {
                let name = entry.unwrap().file_name().into_string().unwrap();
                name.strip_suffix("_test.lua").map(str::to_string)
            });
            assert_eq!(found.collect::<BTreeSet<_>>(), listed);
        }
    };
}

suites! { capture damage files incident lab messages pitr replication rules sql verify wal }
