//! Faults whose healing is guaranteed: the journal that names each fault before it happens, the guardian that
//! undoes it when this process dies, the supervisor that resumes its run, and the proxies that faults of the network act in.

mod error;
mod guardian;
mod heal;
mod journal;
mod probe;
mod proxy;
mod supervisor;
mod sweep;
mod undo;

pub use error::Error;
pub use guardian::{Guardian, main as guard_main};
pub use heal::{Healed, Healer, heal};
pub use journal::{Cluster, Entry, Journal, State};
pub use probe::Check;
pub use proxy::{AckLoss, Direction, Proxy, Rule, Stats};
pub use supervisor::Supervisor;
pub use sweep::{Sweep, Swept, sweep};
pub use undo::Undo;
