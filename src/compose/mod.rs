//! The standing environments of `compose/`: their files, their credentials, and the compose command that
//! brings them up. What is inside the files is compose's business; nothing here reads YAML.

mod command;
mod environment;
mod error;

pub use command::Compose;
pub use environment::{Environment, NAMES, is_environment};
pub use error::Error;
