//! The command line: thin front ends over the engine and the domain modules.

pub mod archive;
mod args;
mod environment;
mod inspect;
mod lab;
mod run;
mod test;

pub use run::run;
