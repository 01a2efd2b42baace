//! `docs/troubleshooting.md` against the sources: every code that is raised has a row, every text that
//! is quoted is raised, every message of PostgreSQL marked as provoked is provoked by a test.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const PAGE: &str = "docs/troubleshooting.md";
const PROVOKED_BY: &str = "tests/lua/lab/messages_test.lua";

/// What stands for the parts of a text that differ.
const PART: &str = "…";

/// The sources that raise errors, without their tests.
fn sources() -> Vec<(String, String)> {
    fn collect(folder: &Path, found: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.display().to_string();
            if path.is_dir() {
                collect(&path, found);
            } else if name.ends_with(".rs") && !name.ends_with("tests.rs") || name.ends_with(".lua")
            {
                let text = fs::read_to_string(&path).unwrap();
                let mut code = text
                    .split("#[cfg(test)]\nmod tests {")
                    .next()
                    .unwrap()
                    .to_string();
                if name.ends_with(".lua") {
                    let lines = code
                        .lines()
                        .filter(|line| !line.trim_start().starts_with("--"));
                    code = lines.collect::<Vec<_>>().join("\n");
                }
                found.push((name, code));
            }
        }
    }
    let mut found = Vec::new();
    collect(Path::new("src"), &mut found);
    collect(Path::new("stdlib/rpitr"), &mut found);
    collect(Path::new("stdlib/prelude"), &mut found);
    found.sort();
    found
}

/// The string literals of a source, with `…` for what is filled in.
fn literals(name: &str, text: &str) -> Vec<String> {
    let rust = name.ends_with(".rs");
    let comment = if rust { "//" } else { "--" };
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if rest.starts_with(comment) {
            rest = rest.split_once('\n').map_or("", |(_, after)| after);
        } else if rust && rest.starts_with("'\"'") {
            rest = &rest[3..];
        } else if c == '"' || (c == '\'' && !rust) {
            let (literal, after) = quoted(&rest[1..], c);
            found.push(if rust {
                filled_rust(&literal)
            } else {
                filled_lua(&literal)
            });
            rest = after;
        } else {
            rest = &rest[c.len_utf8()..];
        }
    }
    found
}

/// A literal up to its closing quote, unescaped; and what follows.
fn quoted(text: &str, quote: char) -> (String, &str) {
    let mut literal = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return (literal, &text[at + 1..]);
        }
        if c != '\\' {
            literal.push(c);
            continue;
        }
        match chars.next().map(|(_, escaped)| escaped) {
            Some('n') => literal.push('\n'),
            // The line goes on: what indents it is no part of the text.
            Some('\n') => {
                let indent = chars.as_str().len() - chars.as_str().trim_start().len();
                for _ in 0..indent {
                    chars.next();
                }
            }
            Some(escaped) => literal.push(escaped),
            None => break,
        }
    }
    (literal, "")
}

fn filled_rust(literal: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for c in literal.chars() {
        match c {
            '{' if !inside => {
                inside = true;
                out.push_str(PART);
            }
            '}' if inside => inside = false,
            _ if inside => {}
            _ => out.push(c),
        }
    }
    out
}

fn filled_lua(literal: &str) -> String {
    let mut out = String::new();
    let mut chars = literal.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        while chars
            .peek()
            .is_some_and(|c| c.is_ascii_digit() || *c == '.')
        {
            chars.next();
        }
        match chars.next() {
            Some('q') => out.push_str("\"…\""),
            Some('%') | None => out.push('%'),
            Some(_) => out.push_str(PART),
        }
    }
    out
}

/// The words between `before` and the next `"`, wherever `before` occurs.
fn words_after<'a>(text: &'a str, before: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(before)
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .filter(|word| is_code(word))
}

fn is_code(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

/// `raise { kind = "x", code = "y" }`; the code may be a choice between some.
fn codes_of_lua(text: &str, found: &mut BTreeSet<String>) {
    for table in text.split("raise").skip(1) {
        let table = table.split("\n  end").next().unwrap();
        let value = |key: &str| {
            let rest = table.split(key).nth(1).unwrap_or_default();
            rest.split([',', '\n']).next().unwrap_or_default()
        };
        let kind = value("kind = ").trim_matches('"');
        // A kind that is a choice as well belongs to no code in particular.
        let kind = if is_code(kind) { kind } else { "" };
        for code in value("code = ")
            .split('"')
            .skip(1)
            .step_by(2)
            .filter(|word| is_code(word))
        {
            found.insert(format!("{kind}/{code}"));
        }
    }
}

/// `.code("y")`, `new(Kind::X, "y")`, and the arms of functions that name what an error is.
fn codes_of_rust(name: &str, text: &str, found: &mut BTreeSet<String>) {
    // Two modules have helpers of their own.
    let helper = match name {
        "src/sql/error.rs" => "Some(\"",
        "src/compose/error.rs" => " new(\"",
        _ => ".code(\"",
    };
    found.extend(words_after(text, helper).map(|code| format!("/{code}")));
    // `new(kind, code)` of the error modules, not `Failure::new(kind, message)`.
    for made in text
        .replace("Failure::new(", "")
        .split("new(Kind::")
        .skip(1)
    {
        if let Some((kind, rest)) = made.split_once(", \"")
            && kind.chars().all(char::is_alphanumeric)
            && let Some((code, _)) = rest.split_once("\")")
            && is_code(code)
        {
            found.insert(format!("{}/{code}", kind.to_lowercase()));
        }
    }
    let (kind, function) = match name {
        "src/archive/error.rs" => ("archive", "pub fn code(&self)"),
        "src/wal/end.rs" => ("wal", "pub fn code(&self)"),
        // What rpitr check finds; its kind is what it would be at run time.
        "src/check/finding.rs" => ("", "pub fn name(self)"),
        _ => return,
    };
    let arms = text.split(function).nth(1).unwrap();
    let arms = arms.split("\n    }\n").next().unwrap();
    found.extend(words_after(arms, "=> \"").map(|code| format!("{kind}/{code}")));
}

/// Every code the sources raise: as `kind/code` where the kind stands beside it, else as `/code`.
fn codes() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (name, text) in sources() {
        if name.ends_with(".lua") {
            codes_of_lua(&text, &mut found);
        } else {
            codes_of_rust(&name, &text, &mut found);
        }
    }
    found
}

/// The cells of the page's tables whose first cell is a code: what it is, what is quoted.
fn rows(page: &str) -> Vec<(String, Vec<String>)> {
    let mut rows = Vec::new();
    for line in page.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.split('|').collect();
        let [_, what, texts, ..] = cells.as_slice() else {
            continue;
        };
        for what in ticked(what) {
            rows.push((what, ticked(texts)));
        }
    }
    rows
}

/// What stands in backticks.
fn ticked(cell: &str) -> Vec<String> {
    cell.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_string)
        .collect()
}

/// The part of the page about rpitr's own errors, and the one about PostgreSQL's.
fn halves() -> (String, String) {
    let page = fs::read_to_string(PAGE).unwrap();
    let (ours, theirs) = page.split_once("\n## What PostgreSQL says").unwrap();
    (ours.to_string(), theirs.to_string())
}

#[test]
fn every_code_that_is_raised_has_a_row() {
    let (ours, _) = halves();
    let listed: BTreeSet<String> = rows(&ours).into_iter().map(|(code, _)| code).collect();
    let raised = codes();
    assert!(raised.len() > 80, "only {} codes were found", raised.len());
    let missing: Vec<&String> = raised
        .iter()
        .filter(|code| {
            !listed
                .iter()
                .any(|row| row == *code || code.starts_with('/') && row.ends_with(*code))
        })
        .collect();
    assert!(missing.is_empty(), "{PAGE} has no row for {missing:?}");
    let kinds = fs::read_to_string("src/failure.rs").unwrap();
    for row in &listed {
        let (kind, code) = row.split_once('/').unwrap_or((row, ""));
        assert!(
            kinds.contains(&format!("=> \"{kind}\"")),
            "{row}: there is no kind {kind}"
        );
        let known = code.is_empty() || raised.contains(row) || raised.contains(&format!("/{code}"));
        assert!(known, "{PAGE} has a row for {row}, which nothing raises");
    }
    for kind in words_after(&kinds, "=> \"") {
        let prefix = format!("{kind}/");
        assert!(
            listed
                .iter()
                .any(|row| row == kind || row.starts_with(&prefix)),
            "{PAGE} says nothing of the kind {kind}"
        );
    }
}

#[test]
fn every_text_that_is_quoted_is_raised() {
    let (ours, _) = halves();
    let known: Vec<String> = sources()
        .iter()
        .flat_map(|(name, text)| literals(name, text))
        .collect();
    let (mut quoted, mut unknown) = (0, Vec::new());
    for (code, texts) in rows(&ours) {
        quoted += texts.len();
        let said = |text: &String| known.iter().any(|literal| literal.contains(text));
        unknown.extend(
            texts
                .into_iter()
                .filter(|text| !said(text))
                .map(|text| (code.clone(), text)),
        );
    }
    assert!(unknown.is_empty(), "{PAGE}: no source says {unknown:#?}");
    assert!(quoted > 100, "only {quoted} texts are quoted");
}

#[test]
fn what_postgresql_says_is_provoked() {
    let (_, theirs) = halves();
    let suite = fs::read_to_string(PROVOKED_BY).unwrap();
    let mut provoked = 0;
    for line in theirs
        .lines()
        .filter(|line| line.starts_with("| `") && line.ends_with(" yes |"))
    {
        for text in ticked(line.split('|').nth(1).unwrap()) {
            for part in text
                .split(PART)
                .map(str::trim)
                .filter(|part| part.len() > 3)
            {
                assert!(
                    suite.contains(part),
                    "{PROVOKED_BY} does not provoke {text:?}: {part:?}"
                );
            }
            provoked += 1;
        }
    }
    assert!(provoked >= 10, "only {provoked} messages are provoked");
}

#[test]
fn literals_are_read_as_they_are_printed() {
    let rust =
        "#[error(\"node \\\"{node}\\\" is {is}\")] // \"no\"\nlet q = '\"'; x(\"a \\\n   b\")";
    assert_eq!(literals("a.rs", rust), ["node \"…\" is …", "a b"]);
    let lua = "message = (\"%q is %.1f s\"):format(x) -- \"no\"\nhint = 'say \"y\"'";
    assert_eq!(literals("a.lua", lua), ["\"…\" is … s", "say \"y\""]);
}
