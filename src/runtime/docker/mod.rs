//! Nodes as containers of a Docker engine, which may be on another machine.
//!
//! A node is one container: its first process idles, the server and the tools run beside it. So the
//! container is the machine: killing it is a power cut, pausing it freezes everything, and tools reach the
//! files of a stopped server. Inside, files have the paths they would have on this machine: a lab's
//! archive and backups are in one volume, each node's data in another. What the host reads is mirrored to
//! the same paths ([`local_view`]). Nothing is mounted from the host.

mod archive;
mod conf;
mod containers;
mod engine;
mod environment;
mod error;
mod exec;
mod files;
mod image;
mod lab;
mod network;
mod node;
mod place;
mod remove;
mod script;
mod server;
mod session;
mod standing;
mod start;
mod tar;
mod view;

pub use engine::Engine;
pub use error::Error;
pub(super) use exec::Signaller;
pub use lab::DockerLab;
pub use network::{Inspection, Limits};
pub use node::DockerNode;
pub use script::{
    Action, Build, NewContainer, Parts, Program, Published, RunningProgram, ScriptContainers,
    answers,
};
pub use standing::{ARCHIVE_FOLDER, Service};
pub use tar::{first_file, tar_of_one};
pub use view::{local_store, local_view};
