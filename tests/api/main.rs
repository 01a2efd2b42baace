//! The index of the library against the library: nothing without a comment, no comment without the
//! thing, the same options in both; and the pages under docs/reference as the comments have them.

#[path = "../common/mod.rs"]
mod common;
mod examples;
mod live;
mod reference;
