//! What a run tells people: lines on the terminal, reports on disk.

mod printer;

pub use printer::{Above, ColorChoice, Printer};
