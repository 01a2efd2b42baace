//! The command line: thin front ends over the engine and the domain modules.

pub mod archive;
mod args;
mod chaos;
mod inspect;
mod lab;
mod run;
mod test;
mod wal;
mod verify;

pub use run::run;
