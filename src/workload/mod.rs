//! Concurrent writers whose every operation is on record outside the database.
//!
//! What a client was promised is only known to the client, so the log is written here, line by line,
//! before the next operation begins. [`crate::verify`] holds recovered databases against it.

mod content;
mod crew;
mod error;
mod line;
mod log;
mod past;
mod writer;

pub use content::{Content, Ending, Operation, Spec};
pub use crew::{Crew, Stats};
pub use error::Error;
pub use line::Line;
pub use log::{Log, read_log};
