//! How much the checker sees: every name after a dot or a colon in the shipped drills is misspelt
//! in turn, and most of these mistakes have to be found. What is missed stands on values whose
//! type nobody can tell: rows, tables of the drill's own.

use std::fs;

use rpitr::check::{Known, check};

use super::known;

/// Byte ranges of names that stand behind a dot or a colon.
fn members(source: &str) -> Vec<std::ops::Range<usize>> {
    let bytes = source.as_bytes();
    let word = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
    let mut found = Vec::new();
    let mut line_start = 0;
    for at in 1..bytes.len() {
        if bytes[at - 1] == b'\n' {
            line_start = at;
        }
        let begins = matches!(bytes[at - 1], b'.' | b':')
            && bytes[at].is_ascii_alphabetic()
            && at >= 2
            && (word(bytes[at - 2]) || bytes[at - 2] == b')');
        let line = &source[line_start..at];
        let in_text = line.contains("--") || line.matches('"').count() % 2 == 1;
        if begins && !in_text {
            let end = (at..bytes.len())
                .find(|end| !word(bytes[*end]))
                .unwrap_or(bytes.len());
            found.push(at..end);
        }
    }
    found
}

fn is_found(known: &Known, source: &str, place: &std::ops::Range<usize>) -> bool {
    let name = &source[place.clone()];
    let mutant = format!("{}{name}q{}", &source[..place.start], &source[place.end..]);
    let span = place.start..place.end + 1;
    check(known, &mutant, &[])
        .iter()
        .any(|one| one.span == span)
}

#[test]
fn most_misspelt_names_of_the_drills_are_found() {
    let known = known();
    let (mut found, mut missed) = (0, Vec::new());
    for script in [
        "full_recovery",
        "pitr",
        "naive_copy",
        "replication_lag",
        "chaos",
        "restore",
    ] {
        let source = fs::read_to_string(format!("scripts/{script}.lua")).unwrap();
        for place in members(&source) {
            if is_found(&known, &source, &place) {
                found += 1;
            } else {
                let line = source[..place.start].matches('\n').count() + 1;
                missed.push(format!("{script}:{line} {}", &source[place]));
            }
        }
    }
    let total = found + missed.len();
    let share = found * 100 / total;
    assert!(
        share >= 75,
        "only {share}% of {total}; missed:\n{}",
        missed.join("\n")
    );
}
