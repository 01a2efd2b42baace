//! rpitr: PostgreSQL recovery that can be proved.
//!
//! Layers, one direction; each knows only those below it:
//!
//! ```text
//! scripts/*.lua                drills and exercises
//! stdlib/rpitr/*.lua           the public Lua API
//! bindings                     private host functions behind it: convert, guard, return
//! engine                       the only place that knows mlua's internals: state, tasks, errors
//! api                          what the library says of itself: help, completion, checks
//! check                        what is wrong with a script, told without running it
//! chaos                        faults, their journal and their guardian
//! compose runtime postgres sql wal archive catalogue workload verify report      plain Rust
//! cli repl                     thin front ends over the engine
//! ```

// In the library only: in tests an unwrap is an assertion.
#![warn(clippy::unwrap_used, clippy::expect_used)]

pub mod api;
pub mod archive;
pub mod bindings;
pub mod catalogue;
pub mod chaos;
pub mod check;
pub mod cli;
pub mod compose;
pub mod engine;
pub mod exit;
pub mod failure;
pub mod moment;
pub mod postgres;
pub mod repl;
pub mod report;
pub mod runtime;
pub mod sql;
pub mod verify;
pub mod wal;
pub mod workload;
