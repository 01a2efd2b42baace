//! The local runtime on real PostgreSQL processes.
//!
//! Each test has a state root of its own under `/tmp`, which the server user can enter; it is
//! emptied at the end of the test, also when the test panics.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod labs;
mod restores;
mod servers;
mod support;
mod tools;
