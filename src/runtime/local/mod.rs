//! Nodes as plain processes of this machine.

mod files;
mod node;
mod server;
mod start;

pub use node::{LocalNode, SOCKET_PATH_LIMIT};
pub use server::{Status, StopMode, Stopped};
pub use start::{StartOptions, Started, Until};
