//! rpitr: PostgreSQL recovery that can be proved.
//!
//! Layers, one direction; each knows only those below it:
//!
//! ```text
//! scripts/*.lua                drills and exercises
//! stdlib/rpitr/*.lua           the public Lua API
//! bindings                     private host functions behind it: convert, guard, return
//! engine                       the only place that knows mlua's internals: state, tasks, errors
//! compose runtime postgres sql wal archive report      plain Rust
//! cli                          a thin front end over the engine
//! ```

// In the library only: in tests an unwrap is an assertion.
#![warn(clippy::unwrap_used, clippy::expect_used)]

pub mod archive;
pub mod bindings;
pub mod cli;
pub mod compose;
pub mod engine;
pub mod exit;
pub mod failure;
pub mod postgres;
pub mod report;
pub mod runtime;
pub mod sql;
pub mod wal;
