//! The interactive session, from a pipe and through a real pseudo-terminal.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../common/mod.rs"]
mod common;
mod latency;
mod piped;
mod terminal;

use common::Bench;

/// A lab with a shop that stays until it is removed; gives its id.
fn kept_lab(bench: &Bench) -> String {
    let run = bench.run(&[
        "--keep",
        "-e",
        r#"local pg = lab.postgres {}
        lab.standby(pg, { name = "standby-2" })
        pg:create_database "shop"
        local db = pg:connect { dbname = "shop" }
        db:exec "CREATE TABLE customer_orders AS SELECT g AS id FROM generate_series(1, 30) g"
        pitr.backup(pg)
        print(lab.info().id)"#,
    ]);
    run.expect(0);
    run.stdout.lines().next().unwrap().to_string()
}
