//! Processes: finding the ones a lab is made of, and stopping, continuing and killing them.

#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod platform;
#[cfg(not(target_os = "linux"))]
#[path = "other.rs"]
mod platform;

mod find;
mod owner;
mod tree;

pub use find::{Proc, ProcessId, Wanted};
pub use owner::{SUPERVISED_FOR, SUPERVISOR, heed_supervisor, is_supervised, supervised_for};
pub use tree::{kill_all, pause, resume, signal, wait_gone};
