//! Every Lua example in README and docs runs as it stands, and every local link leads somewhere.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

fn pages() -> io::Result<Vec<PathBuf>> {
    let mut pages = vec![PathBuf::from("README.md")];
    for entry in fs::read_dir("docs")? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }
    Ok(pages)
}

/// The fenced Lua blocks of a page, with the line each begins on.
fn examples(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in text.lines().enumerate() {
        match &mut open {
            None if line == "```lua" => open = Some((number + 2, String::new())),
            None => {}
            Some(_) if line == "```" => found.extend(open.take()),
            Some((_, code)) => {
                code.push_str(line);
                code.push('\n');
            }
        }
    }
    found
}

/// Whether an example can run here: those with containers need an engine.
fn can_run(code: &str) -> bool {
    let needs_engine = code.contains("docker.");
    let answers = || {
        let version = Command::new("docker").arg("version").output();
        version.is_ok_and(|output| output.status.success())
    };
    !needs_engine || answers() || {
        let required = std::env::var("RPITR_REQUIRE_DOCKER").is_ok_and(|value| value == "1");
        assert!(!required, "RPITR_REQUIRE_DOCKER=1, but no engine answers");
        eprintln!("SKIPPED: no Docker engine answers, an example was not run");
        false
    }
}

#[test]
fn every_example_runs() {
    let folder = tempfile::tempdir().unwrap();
    let mut ran = 0;
    for page in pages().unwrap() {
        for (line, code) in examples(&fs::read_to_string(&page).unwrap()) {
            if !can_run(&code) {
                continue;
            }
            let file = folder.path().join(format!("example{ran}.lua"));
            fs::write(&file, code).unwrap();
            let output = Command::new(env!("CARGO_BIN_EXE_rpitr"))
                .arg(&file)
                .args(["--timeout", "120s"])
                .output()
                .unwrap();
            assert!(
                output.status.success(),
                "{}:{line} ended with {}\n{}{}",
                page.display(),
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
            ran += 1;
        }
    }
    assert!(ran >= 3, "only {ran} examples were found");
}

#[test]
fn every_local_link_leads_somewhere() {
    for page in pages().unwrap() {
        let text = fs::read_to_string(&page).unwrap();
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            if path.contains("://") {
                continue;
            }
            let target = match path {
                "" => page.clone(),
                path => page.parent().unwrap_or(Path::new("")).join(path),
            };
            assert!(target.exists(), "{}: {link} does not exist", page.display());
            if !anchor.is_empty() {
                let text = fs::read_to_string(&target).unwrap();
                let known = headings(&text).any(|heading| heading == anchor);
                assert!(
                    known,
                    "{}: {link}: there is no such heading",
                    page.display()
                );
            }
        }
    }
}

/// The headings of a page as links name them: lower case, without punctuation, dashes for spaces.
fn headings(text: &str) -> impl Iterator<Item = String> {
    let titles = text.lines().filter(|line| line.starts_with('#'));
    titles.map(|line| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title
            .chars()
            .filter(|c| c.is_alphanumeric() || "_- ".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}

/// Scripts find modules as globals; what tells language servers so must name every one of them.
#[test]
fn editors_know_every_module() {
    let mut modules: Vec<String> = fs::read_dir("stdlib/rpitr")
        .unwrap()
        .filter_map(|entry| {
            Some(
                entry
                    .ok()?
                    .file_name()
                    .to_str()?
                    .strip_suffix(".lua")?
                    .to_string(),
            )
        })
        .map(|name| format!("{name} = require \"rpitr.{name}\""))
        .collect();
    modules.sort();
    let text = fs::read_to_string("tools/editor/modules.lua").unwrap();
    let declared: Vec<&str> = text
        .lines()
        .filter(|line| line.contains(" = require "))
        .collect();
    assert_eq!(declared, modules);
}
