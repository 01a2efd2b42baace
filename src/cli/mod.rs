//! The command line: thin front ends over the engine and the domain modules.

pub mod archive;
mod args;
mod chaos;
mod check;
mod doc;
mod environment;
mod inspect;
mod lab;
mod report;
mod run;
mod test;
mod verify;
mod wal;

pub use run::run;
