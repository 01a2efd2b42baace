//! Every example in a comment runs: those that need nothing in one process, those that use servers in
//! another with one lab; what needs more than that is compiled at least.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use rpitr::api::{Api, Doc};
use serde_json::json;

use crate::common::Bench;

struct Found {
    /// What it is an example of.
    name: String,
    file: String,
    line: usize,
    code: String,
    needs: Option<String>,
}

fn all(api: &Api) -> Vec<Found> {
    let mut found = Vec::new();
    let mut add = |name: &str, doc: &Doc| {
        for example in doc.examples() {
            found.push(Found {
                name: name.to_string(),
                file: example.file,
                line: example.line,
                code: example.code,
                needs: example.needs,
            });
        }
    };
    for module in &api.modules {
        add(&module.name, &module.doc);
    }
    for class in &api.classes {
        add(&class.name, &class.doc);
    }
    for alias in &api.aliases {
        add(&alias.name, &alias.doc);
    }
    for function in api.functions() {
        add(&function.name, &function.doc);
    }
    // A comment that several things share is one example.
    found.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    found.dedup_by(|a, b| (&a.file, a.line) == (&b.file, b.line));
    found
}

/// Whether an example uses servers.
fn uses_a_lab(code: &str) -> bool {
    let words = code.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let mut words = words.filter(|word| !word.is_empty());
    words.any(|word| matches!(word, "pg" | "db" | "d" | "lab" | "cluster"))
}

fn engine_answers() -> bool {
    let version = Command::new("docker").arg("version").output();
    version.is_ok_and(|output| output.status.success())
}

/// Runs a group in one process, which must run all of it.
fn run(kind: &str, group: &[&Found]) {
    let bench = Bench::new();
    let list: Vec<_> = group
        .iter()
        .map(
            |one| json!({ "name": one.name, "file": one.file, "line": one.line, "code": one.code }),
        )
        .collect();
    let path = bench.script("examples.json", &json!(list).to_string());
    let runner = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api/examples.lua");
    let runner = bench.script("examples.lua", &fs::read_to_string(runner).unwrap());
    // The example that copies files takes this repository's scripts.
    let mut command = bench.command(&[&runner, "--list", &path, "--kind", kind]);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    let run = bench.spawn(command).finish();
    let shown = format!("{}\n{}", run.stdout, run.stderr);
    assert_eq!(run.code, Some(0), "{kind} examples failed:\n{shown}");
    bench.assert_clean(&[]);
    assert_eq!(shown.matches("EXAMPLE\tok").count(), group.len());
}

#[test]
fn every_example_runs() {
    let found = all(Api::embedded());
    let (needy, others): (Vec<&Found>, Vec<&Found>) =
        found.iter().partition(|one| one.needs.is_some());
    let (with_lab, offline): (Vec<&Found>, Vec<&Found>) =
        others.into_iter().partition(|one| uses_a_lab(&one.code));
    run("offline", &offline);
    // Most of the time goes into starting servers: two labs side by side.
    let (one, other) = with_lab.split_at(with_lab.len() / 2);
    thread::scope(|scope| {
        scope.spawn(|| run("lab", one));
        run("lab", other);
    });
    let ran = offline.len() + with_lab.len();
    assert!(ran >= 60, "only {ran} examples ran");

    let lua = mlua::Lua::new();
    for one in &needy {
        let compiled = lua.load(&one.code).into_function();
        assert!(compiled.is_ok(), "{}:{} {compiled:?}", one.file, one.line);
    }
}

#[test]
fn examples_with_containers_run_where_an_engine_answers() {
    let found = all(Api::embedded());
    let engine = |one: &&Found| one.needs.as_deref() == Some("a Docker engine");
    let group: Vec<&Found> = found.iter().filter(engine).collect();
    assert!(group.len() >= 5);
    if !engine_answers() {
        let required = std::env::var("RPITR_REQUIRE_DOCKER").is_ok_and(|value| value == "1");
        assert!(!required, "RPITR_REQUIRE_DOCKER=1, but no engine answers");
        eprintln!("SKIPPED: no Docker engine answers, examples with containers were not run");
        return;
    }
    run("docker", &group);
}

#[test]
fn an_example_that_is_wrong_is_noticed() {
    let bench = Bench::new();
    let wrong =
        json!([{ "name": "x", "file": "rpitr/x.lua", "line": 7, "code": "assert(1 == 2, 'no')" }]);
    let path = bench.script("examples.json", &wrong.to_string());
    let runner = fs::read_to_string("tests/api/examples.lua").unwrap();
    let runner = bench.script("examples.lua", &runner);
    let run = bench.run(&[&runner, "--list", &path, "--kind", "offline"]);
    assert_eq!(run.code, Some(10), "{}\n{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("EXAMPLE\tfailed"), "{}", run.stdout);
    assert!(
        run.stdout.contains("stdlib/rpitr/x.lua:7"),
        "{}",
        run.stdout
    );
}
