//! `rpitr check`: planted mistakes are found where they stand, and nothing that is right is called
//! wrong, in this file's near misses and in every script, test and page of the repository.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../common/mod.rs"]
mod common;

mod command;
mod corpus;
mod mutants;
mod planted;
mod right;

use rpitr::api::Api;
use rpitr::check::{Finding, Known, check};
use rpitr::engine::library;

/// The checker with the library of this repository.
fn known() -> Known {
    let parts = library().filter_map(|(path, _)| {
        let name = path.strip_prefix("rpitr/")?.strip_suffix(".lua")?;
        Some(name.replace('/', "."))
    });
    Known::new(Api::embedded(), parts)
}

fn findings(source: &str) -> Vec<Finding> {
    check(&known(), source, &[])
}
