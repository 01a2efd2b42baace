//! The command line: thin front ends over the engine and the domain modules.

/// Prints a line. A reader that went away is no reason to leave work half done, nor to panic.
macro_rules! outln {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

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
