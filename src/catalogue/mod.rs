//! A catalogue of captured WAL: which segments a directory holds, what each was found to be, where the
//! gaps are, how far capture is behind its server.
//!
//! The directory is the truth, the catalogue (an SQLite file) what is known about it. Every change is a
//! transaction and every scan starts from the directory, so a catalogue that was killed at any moment
//! catches up with the next scan: nothing is missing, nothing counted twice.

mod error;
mod files;
mod lag;
mod mirror;
mod problems;
mod scan;
mod store;

pub use error::Error;
pub use lag::{Lag, Standing};
pub use mirror::{News, push as mirror};
pub use problems::Problem;
pub use scan::{Change, Scan};
pub use store::{Catalogue, DEFAULT_FILE, Entry, Sample, State, Totals};
