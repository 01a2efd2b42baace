//! Whatever the repository ships is right: scripts, benches, test suites, pages and the examples of
//! the library's own documentation. Tests that are wrong on purpose say so.

use std::fs;
use std::path::Path;

use rpitr::api::Api;
use rpitr::check::{Outline, Place, check};
use rpitr::engine::syntax_error;

use super::known;

/// What is wrong with a text, one line each.
fn told(name: &str, text: &str, globals: &[String]) -> Vec<String> {
    let found = check(&known(), text, globals);
    let line = |one: &rpitr::check::Finding| {
        let place = Place::of(text, &one.span);
        let rule = one.rule.name();
        format!(
            "{name}:{}:{} {rule} {}",
            place.line, place.column, one.message
        )
    };
    found.iter().map(line).collect()
}

fn lua_files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            lua_files(&path, found);
        } else if path.extension().is_some_and(|end| end == "lua") {
            found.push(path);
        }
    }
}

#[test]
fn scripts_benches_and_suites_are_right() {
    let mut files = Vec::new();
    for folder in ["scripts", "benches", "tests/lua"] {
        lua_files(Path::new(folder), &mut files);
    }
    let mut wrong = Vec::new();
    let mut checked = 0;
    for path in &files {
        let text = fs::read_to_string(path).unwrap();
        let source = rpitr::engine::Source {
            name: path.display().to_string(),
            text: text.clone(),
            folder: None,
        };
        if syntax_error(&source).is_some() {
            assert!(path.ends_with("broken.lua"), "{path:?}");
            continue;
        }
        // Everything is parsed, or it would pass for no reason.
        assert!(Outline::of(&text).is_some(), "{path:?}");
        wrong.extend(told(&path.display().to_string(), &text, &[]));
        checked += 1;
    }
    assert!(checked >= 40, "only {checked} files");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The Lua fences of a page.
fn fences(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines() {
        match &mut open {
            None if line == "```lua" => open = Some(String::new()),
            None => {}
            Some(_) if line == "```" => found.extend(open.take()),
            Some(code) => {
                code.push_str(line);
                code.push('\n');
            }
        }
    }
    found
}

#[test]
fn the_examples_of_every_page_are_right() {
    let mut pages = vec![Path::new("README.md").to_path_buf()];
    let docs = fs::read_dir("docs").unwrap();
    pages.extend(docs.map(|entry| entry.unwrap().path()));
    let mut wrong = Vec::new();
    let mut checked = 0;
    for page in pages
        .iter()
        .filter(|page| page.extension().is_some_and(|end| end == "md"))
    {
        for code in fences(&fs::read_to_string(page).unwrap()) {
            wrong.extend(told(&page.display().to_string(), &code, &[]));
            checked += 1;
        }
    }
    assert!(checked >= 5, "only {checked} examples");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What an example of the library may use without making it.
const GIVEN: &str = "\
---@type rpitr.Node
local pg
---@type rpitr.Conn
local db
---@type rpitr.DrillRun
local d
";

#[test]
fn the_examples_of_the_library_are_right() {
    let api = Api::embedded();
    let modules = api.modules.iter().map(|module| (&module.name, &module.doc));
    let functions = api
        .functions()
        .map(|function| (&function.name, &function.doc));
    let mut wrong = Vec::new();
    let mut checked = 0;
    for (name, doc) in modules.chain(functions) {
        for example in doc.examples() {
            let code = format!("{GIVEN}{}", example.code);
            wrong.extend(told(name, &code, &[]));
            checked += 1;
        }
    }
    assert!(checked >= 100, "only {checked} examples");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
