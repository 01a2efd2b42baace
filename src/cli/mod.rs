//! The command line: thin front ends over the engine and the domain modules.

pub mod archive;
mod args;
mod chaos;
mod check;
mod consent;
mod doc;
mod environment;
mod inspect;
mod lab;
mod new;
mod report;
mod run;
mod setup;
mod test;
mod verify;
mod wal;

pub use run::run;
