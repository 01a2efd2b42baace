//! TCP proxies on the edges of a cluster, in this process: where faults of the network act.
//!
//! They live on a thread of their own, so that a busy script does not slow traffic down. They die with
//! this process, and their faults with them.

mod acks;
mod edge;
mod frames;
mod pipe;
mod rules;

pub use acks::AckLoss;
pub use edge::{Proxy, Stats};
pub use rules::{Direction, Rule};
