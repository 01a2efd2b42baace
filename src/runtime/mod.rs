//! Labs and their nodes: where they live on disk, the processes they are made of, and how they end.
//!
//! Everything here runs on a single-threaded tokio runtime. Nothing is created before the
//! registry names it, so that whatever a crash leaves behind can be found and removed.

mod background;
mod docker;
mod entry;
mod error;
mod files;
mod gc;
mod helper;
mod lab;
mod local;
mod marker;
mod members;
mod node;
mod ports;
mod process;
mod receiver;
mod registry;
mod source;
mod startup;
mod state;
mod tool;
mod user;
mod visit;

pub use background::Background;
pub use docker::{
    ARCHIVE_FOLDER, Action, Build, NewContainer, Parts, Program, Published, RunningProgram,
    ScriptContainers, Service, answers, first_file, tar_of_one,
};
pub use docker::{
    DockerNode, Engine, Error as DockerError, Inspection, Limits, local_store, local_view,
};
pub use error::Error;
pub use files::{Copied, CopyOptions, DirEntry, DiskSpace, Symlinks, TreeSize};
pub use gc::{GcOptions, GcReport};
pub use lab::{Destroyed, Lab, LabOptions, LocalRuntime, NodeSpec};
pub use local::{
    LocalNode, SOCKET_PATH_LIMIT, StartOptions, Started, Status, StopMode, Stopped, Until,
};
pub use members::NewNode;
pub use node::{Endpoint, Node, NodePaths};
pub use process::{
    Proc, ProcessId, SUPERVISED_FOR, SUPERVISOR, heed_supervisor, is_supervised, supervised_for,
};
pub use receiver::Receiving;
pub use registry::{ContainerRecord, LabRecord, NodeRecord, Registry, Ties};
pub use source::{Source, open_source};
pub use state::StateRoot;
pub use tool::{ToolOptions, ToolOutput};
pub use user::ServerUser;
pub use visit::{Use, Visit};
