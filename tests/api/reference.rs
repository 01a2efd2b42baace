//! The pages under docs/reference are what the comments say now.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use rpitr::api::{Api, Class, stubs};

use crate::common::Bench;

const FOLDER: &str = "docs/reference";

fn pages(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        found.insert(name, fs::read_to_string(&path).unwrap());
    }
    found
}

#[test]
fn the_pages_are_current() {
    let bench = Bench::new();
    let folder = bench.dir().join("reference");
    bench
        .run(&["doc", "--markdown", folder.to_str().unwrap()])
        .expect(0);
    let (made, committed) = (pages(&folder), pages(Path::new(FOLDER)));
    assert!(made.len() > 20, "only {} pages", made.len());
    let mut stale: Vec<&String> = made
        .iter()
        .filter(|(name, text)| committed.get(*name) != Some(text))
        .map(|(name, _)| name)
        .collect();
    stale.extend(committed.keys().filter(|name| !made.contains_key(*name)));
    assert!(
        stale.is_empty(),
        "{FOLDER} is behind the comments in {stale:?}; this refreshes it: \
         rm -f {FOLDER}/*.md && cargo run -- doc --markdown {FOLDER}"
    );
}

#[test]
fn links_between_the_pages_lead_somewhere() {
    let pages = pages(Path::new(FOLDER));
    let mut links = 0;
    for (page, text) in &pages {
        for link in text.split("](").skip(1) {
            let link = link.split(')').next().unwrap();
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            if link.contains("://") || !file.ends_with(".md") {
                continue;
            }
            links += 1;
            let Some(target) = pages.get(file) else {
                assert!(
                    Path::new(FOLDER).join(file).exists(),
                    "{page}: {link} leads nowhere"
                );
                continue;
            };
            let found = anchor.is_empty() || headings(target).any(|name| name == anchor);
            assert!(found, "{page}: {link} leads nowhere");
        }
    }
    assert!(links > 100, "only {links} links");
}

/// The anchors of a page: its headings as browsers are sent to them.
fn headings(text: &str) -> impl Iterator<Item = String> {
    text.lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            title
                .chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | ' '))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
}

/// What `rpitr setup` writes for editors says the same as the comments.
#[test]
fn stubs_are_lua_and_say_the_same() {
    let api = Api::embedded();
    let lua = mlua::Lua::new();
    let mut files = Vec::new();
    for (path, text) in stubs(api) {
        let compiled = lua.load(&text).into_function();
        assert!(compiled.is_ok(), "{path}: {compiled:?}");
        let name = path.trim_start_matches("rpitr/").trim_end_matches(".lua");
        let place = if api.module(name).is_some() {
            "rpitr"
        } else {
            "meta"
        };
        files.push((format!("{place}/{name}.lua"), text.into()));
    }
    let again = Api::of(files);
    assert_eq!(again.problems, Vec::<String>::new());
    let signatures = |api: &Api| -> BTreeSet<String> {
        let public = api.functions().filter(|one| !one.private && !one.inherited);
        public
            .map(|one| format!("{} {}", one.signature(), one.return_types()))
            .collect()
    };
    assert_eq!(signatures(&again), signatures(api));
    assert!(signatures(api).len() > 250);
    let fields = |api: &Api| -> BTreeSet<String> {
        let of = |class: &Class| -> Vec<String> {
            let public = class.fields.iter().filter(|field| !field.private);
            public
                .map(|field| format!("{}.{} {}", class.name, field.name, field.ty))
                .collect()
        };
        api.classes.iter().flat_map(of).collect()
    };
    assert_eq!(fields(&again), fields(api));
}

#[test]
fn rpitr_doc_on_a_terminal() {
    let bench = Bench::new();
    let doc = |name: &str| bench.run(&["doc", name]);
    let all = bench.run(&["doc"]);
    all.expect(0);
    for said in [
        "pitr ",
        "Point-in-time recovery",
        "Node ",
        "\n  defer ",
        "rpitr doc NAME",
    ] {
        assert!(
            all.stdout.contains(said),
            "{said} is not in\n{}",
            all.stdout
        );
    }
    let module = doc("timer");
    module.expect(0);
    assert!(
        module.stdout.contains("timer.sleep(duration)"),
        "{}",
        module.stdout
    );
    let function = doc("pitr.restore");
    function.expect(0);
    for said in [
        "pitr.restore(pg, options) -> Node",
        "parameters",
        "options",
        "action?",
        "errors",
    ] {
        assert!(
            function.stdout.contains(said),
            "{said} is not in\n{}",
            function.stdout
        );
    }
    assert!(!function.stdout.contains('\x1b'));
    for name in ["pg.stop", "node:stop", "Node:stop", "rpitr.Node:stop"] {
        assert!(doc(name).stdout.starts_with("Node:stop("), "{name}");
    }
    let option = doc("pitr.restore.to");
    assert!(option.stdout.contains("pitr.To"), "{}", option.stdout);
    let colour = bench.run(&["--color", "always", "doc", "pitr.restore"]);
    assert!(
        colour.stdout.starts_with("\x1b[1mpitr.restore("),
        "{}",
        colour.stdout
    );
}

#[test]
fn an_unknown_name_is_a_usage_error_with_a_suggestion() {
    let bench = Bench::new();
    let run = bench.run(&["doc", "pitr.restoer"]);
    run.expect(2);
    assert!(
        run.stderr.contains("there is no help for pitr.restoer"),
        "{}",
        run.stderr
    );
    assert!(
        run.stderr.contains("did you mean pitr.restore?"),
        "{}",
        run.stderr
    );
    let part = bench.run(&["doc", "restor"]);
    part.expect(2);
    part.says("did you mean pitr.restore?");
    bench.run(&["doc", "qqqqqqqq"]).expect(2);
    bench.run(&["doc", "pitr", "--markdown", "x"]).expect(2);
}
