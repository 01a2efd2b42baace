//! Every name there is has an entry, and every entry is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use rpitr::api::{Api, Class, Function, drift};
use serde_json::Value;

use crate::common::Bench;

/// What Lua itself brings along.
const LUA: [&str; 31] = [
    "_G",
    "_VERSION",
    "assert",
    "collectgarbage",
    "coroutine",
    "debug",
    "dofile",
    "error",
    "getmetatable",
    "io",
    "ipairs",
    "load",
    "loadfile",
    "math",
    "next",
    "os",
    "pairs",
    "pcall",
    "rawequal",
    "rawget",
    "rawlen",
    "rawset",
    "select",
    "setmetatable",
    "string",
    "table",
    "tonumber",
    "tostring",
    "type",
    "utf8",
    "warn",
];
const ALSO_LUA: &str = "xpcall";

/// What the binary says is there: walked from inside, with the debug library.
fn walk(api: &Api) -> Value {
    let bench = Bench::new();
    let library = bench.dir().join("stdlib");
    fs::create_dir_all(library.join("prelude")).unwrap();
    let prelude = fs::read_to_string("stdlib/prelude/main.lua").unwrap();
    let open = format!("rawset(_G, \"whole_debug_library\", debug)\n{prelude}");
    fs::write(library.join("prelude/main.lua"), open).unwrap();
    let values: BTreeMap<&str, Vec<String>> = ["Lsn", "Time"]
        .into_iter()
        .map(|name| (name, api.members(name, false)))
        .collect();
    let modules: Vec<&str> = api.modules.iter().map(|one| one.name.as_str()).collect();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api/walk.lua");
    let mut command = bench.command(&[
        script.to_str().unwrap(),
        &modules.join(" "),
        &parts().join(" "),
        &serde_json::to_string(&values).unwrap(),
        &faults(api).join(" "),
    ]);
    command.env("RPITR_STDLIB", &library);
    let run = bench.spawn(command).finish();
    run.expect(0);
    serde_json::from_str(&run.stdout).unwrap()
}

/// The functions that make faults: they put their options together as they run.
fn faults(api: &Api) -> Vec<String> {
    let functions = api.module("chaos").unwrap().functions.iter();
    let makes_faults = |one: &&Function| one.span.file == "rpitr/chaos/faults.lua";
    functions
        .filter(makes_faults)
        .map(|one| one.short_name().to_string())
        .collect()
}

/// The options the faults take, held against the tables of their comments.
fn fault_options(api: &Api, live: &Value, found: &mut Vec<String>) {
    let taken = names(&live["options"]);
    for name in faults(api) {
        let name = format!("chaos.{name}");
        let described: BTreeSet<String> = api.option_names(&name).into_iter().collect();
        let known = taken.get(&name).map_or("", String::as_str);
        let known = known.split(", ").filter(|key| !key.is_empty());
        let known = known.map(str::to_string).collect();
        compare(&format!("{name}: option "), &described, &known, found);
    }
}

/// The parts modules are made of, by the names under which `require` knows them.
fn parts() -> Vec<String> {
    let mut found = Vec::new();
    for (path, _) in rpitr::engine::library() {
        let name = path
            .strip_prefix("rpitr/")
            .and_then(|path| path.strip_suffix(".lua"));
        found.extend(
            name.filter(|name| name.contains('/'))
                .map(|name| name.replace('/', ".")),
        );
    }
    found
}

fn names(value: &Value) -> BTreeMap<String, String> {
    let members = value.as_object().into_iter().flatten();
    members
        .map(|(name, kind)| (name.clone(), kind.as_str().unwrap_or_default().to_string()))
        .collect()
}

/// Adds a line for each name that only one of the two has.
fn compare(
    owner: &str,
    described: &BTreeSet<String>,
    live: &BTreeSet<String>,
    found: &mut Vec<String>,
) {
    found.extend(
        live.difference(described)
            .map(|name| format!("{owner}{name} has no comment")),
    );
    found.extend(
        described
            .difference(live)
            .map(|name| format!("{owner}{name} has a comment but does not exist")),
    );
}

/// Functions and values of the modules, held against what the modules hold.
fn modules(api: &Api, live: &Value, found: &mut Vec<String>) {
    for module in &api.modules {
        let owner = format!("{}.", module.name);
        let members = names(&live["modules"][&module.name]);
        let of_kind = |function: bool| -> BTreeSet<String> {
            let kinds = members.iter();
            kinds
                .filter(|(_, kind)| (*kind == "function") == function)
                .map(|(name, _)| name.clone())
                .collect()
        };
        let functions = module.functions.iter();
        let functions = functions.map(|one| one.short_name().to_string()).collect();
        compare(&owner, &functions, &of_kind(true), found);
        let fields = module.fields.iter().map(|one| one.name.clone()).collect();
        compare(&owner, &fields, &of_kind(false), found);
    }
}

/// Methods of the handles, held against the tables they are in.
fn classes(api: &Api, live: &Value, found: &mut Vec<String>) {
    let with_methods = |class: &&Class| !class.methods.is_empty();
    let known: BTreeMap<&str, &Class> = api
        .classes
        .iter()
        .filter(with_methods)
        .map(|class| (class.name.as_str(), class))
        .collect();
    let no_classes = serde_json::Map::new();
    let there = live["classes"].as_object().unwrap_or(&no_classes);
    let lives = |class: &Class| {
        // A table of functions inside a module, such as docker.wait, or a handle's class.
        there
            .get(&class.name)
            .or_else(|| live["tables"].get(class.short_name()))
    };
    let short = |one: &Function| one.short_name().to_string();
    for class in known.values() {
        // Those of Rust are asked for by name.
        if class.parents.iter().any(|parent| parent == "userdata") {
            continue;
        }
        // A kind of node goes by the name of what it is a kind of.
        let Some(home) = api
            .ancestry(class)
            .into_iter()
            .find(|one| lives(one).is_some())
        else {
            found.push(format!("{} has a comment but does not exist", class.name));
            continue;
        };
        let methods = lives(home).and_then(Value::as_array);
        let methods = methods.into_iter().flatten().filter_map(Value::as_str);
        let methods: BTreeSet<String> = methods.map(str::to_string).collect();
        let described: BTreeSet<String> = class.methods.iter().map(short).collect();
        let owner = format!("{}:", class.name);
        if home.name == class.name {
            // Its own, what it has in place of its parents', what its kinds have.
            let mut all = described.clone();
            all.extend(
                api.methods(class)
                    .into_iter()
                    .map(short)
                    .filter(|name| methods.contains(name)),
            );
            for kind in known.values() {
                if api.ancestry(kind).iter().any(|one| one.name == class.name)
                    && lives(kind).is_none()
                {
                    all.extend(kind.methods.iter().map(short));
                }
            }
            compare(&owner, &all, &methods, found);
        } else {
            let gone = described.difference(&methods);
            found
                .extend(gone.map(|name| format!("{owner}{name} has a comment but does not exist")));
        }
    }
    for (name, methods) in there {
        let has_methods = methods
            .as_array()
            .is_some_and(|methods| !methods.is_empty());
        if has_methods && !known.contains_key(name.as_str()) {
            found.push(format!("{name} has no comment"));
        }
    }
}

/// Values of Rust: what is described is there, and what is registered is described.
fn values(api: &Api, live: &Value, found: &mut Vec<String>) {
    let mut described = BTreeSet::new();
    for class in ["Lsn", "Time"] {
        let members = names(&live["values"][class]);
        assert!(!members.is_empty(), "{class} was not looked at");
        for (name, kind) in members {
            if kind == "nothing" || kind == "nil" {
                found.push(format!("{class}:{name} has a comment but does not exist"));
            }
            described.insert(name);
        }
    }
    let code = include_str!("../../src/bindings/value.rs");
    let registered: BTreeSet<String> = ["add_method(\"", "add_field_method_get(\""]
        .iter()
        .flat_map(|head| code.split(head).skip(1))
        .filter_map(|rest| rest.split('"').next().map(str::to_string))
        .collect();
    assert!(registered.len() >= 4, "{registered:?}");
    compare("", &described, &registered, found);
    let _ = api;
}

fn globals(api: &Api, live: &Value, found: &mut Vec<String>) {
    let ours = |name: &String| {
        !LUA.contains(&name.as_str())
            && name != ALSO_LUA
            && name != "whole_debug_library"
            && api.module(name).is_none()
    };
    let there: BTreeSet<String> = names(&live["globals"]).into_keys().filter(ours).collect();
    let functions = api.globals.functions.iter().map(|one| one.name.clone());
    let described = functions.chain(api.globals.fields.iter().map(|one| one.name.clone()));
    // `os.exit` is Lua's, with another meaning.
    let described = described.filter(|name| !name.contains('.')).collect();
    compare("global ", &described, &there, found);
}

fn differences(api: &Api, live: &Value) -> Vec<String> {
    let mut found = Vec::new();
    modules(api, live, &mut found);
    classes(api, live, &mut found);
    values(api, live, &mut found);
    globals(api, live, &mut found);
    fault_options(api, live, &mut found);
    found
}

#[test]
fn every_name_has_an_entry_and_every_entry_a_name() {
    let api = Api::embedded();
    let live = walk(api);
    let found = differences(api, &live);
    assert!(
        found.is_empty(),
        "{} differences:\n{}",
        found.len(),
        found.join("\n")
    );

    // What would happen if one of the two had changed.
    let mut less = live.clone();
    less["modules"]["timer"]
        .as_object_mut()
        .unwrap()
        .remove("sleep");
    less["modules"]["timer"]["doze"] = "function".into();
    less["classes"]["rpitr.Conn"] = serde_json::json!(["query", "ask"]);
    less["options"]["chaos.pause"] = "often".into();
    less["globals"]["surprise"] = "function".into();
    let found = differences(api, &less);
    for expected in [
        "timer.doze has no comment",
        "timer.sleep has a comment but does not exist",
        "rpitr.Conn:ask has no comment",
        "rpitr.Conn:exec has a comment but does not exist",
        "global surprise has no comment",
        "chaos.pause: option often has no comment",
        "chaos.pause: option duration has a comment but does not exist",
    ] {
        assert!(
            found.iter().any(|text| text == expected),
            "{expected} not in {found:?}"
        );
    }
}

#[test]
fn comments_say_what_the_code_does() {
    let found = drift(Api::embedded());
    assert!(
        found.is_empty(),
        "{} problems:\n{}",
        found.len(),
        found.join("\n")
    );
}

#[test]
fn the_index_is_read_quickly() {
    let started = std::time::Instant::now();
    let files = rpitr::engine::library().map(|(path, text)| (path.to_string(), text));
    let api = Api::of(files.collect());
    let took = started.elapsed();
    assert!(api.functions().count() > 300);
    // An unoptimised build on a busy machine; it is done once, before the first Tab.
    assert!(took.as_secs_f64() < 2.0, "{took:?}");
}
