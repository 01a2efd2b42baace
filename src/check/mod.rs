//! `rpitr check`: what is wrong with a script, told without running it.
//!
//! A script is parsed (`lower`) into a small tree (`syntax`), then read (`walk`, `infer`, `call`) with
//! what the library's index says (`known`). Each rule in `rules/` judges one kind of place. The first
//! law is that nothing right is ever called wrong: what cannot be told is `Type::Unknown`, and
//! nothing is said about it.

mod call;
mod finding;
mod grammar;
mod index;
mod infer;
mod known;
mod lower;
mod lua;
mod options;
mod report;
mod rules;
mod scope;
mod silence;
mod syntax;
mod tokens;
mod told;
mod types;
mod walk;

pub use finding::{Finding, Place, Rule};
pub use known::Known;

use scope::Facts;

/// What a script shows to others, and what it takes from them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outline {
    /// The globals its top level assigns.
    pub globals: Vec<String>,
    /// The modules it requires that are not the library's.
    pub requires: Vec<String>,
}

impl Outline {
    /// Nothing when the parser does not follow.
    pub fn of(source: &str) -> Option<Outline> {
        lower::parse(source).map(|script| walk::outline(&script))
    }
}

/// Everything wrong with a script that Lua can compile, in the order of the text. `globals` are
/// those that other files declare.
pub fn check(known: &Known, source: &str, globals: &[String]) -> Vec<Finding> {
    let Some(script) = lower::parse(source) else {
        return Vec::new();
    };
    let mut start = Facts::default();
    for name in globals {
        start.globals.insert(name.clone(), types::Type::Unknown);
    }
    let report = walk::read(known, &script, &start);
    let mut findings = silence::heed(source, report.findings);
    findings.sort_by_key(|finding| (finding.span.start, finding.rule));
    // What several rules say of one place is one mistake; the most telling of them comes first.
    findings.dedup_by(|one, before| one.span == before.span);
    findings
}
