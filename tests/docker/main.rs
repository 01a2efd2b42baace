//! The Docker runtime against a real engine. Without one the tests are skipped, loudly;
//! `RPITR_REQUIRE_DOCKER=1` makes that a failure.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod archive;
mod attach;
mod bad_input;
mod bench;
mod faults;
mod files;
mod gc;
mod life;
mod network;
mod places;
mod proxy;
mod suites;
