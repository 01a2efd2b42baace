//! WAL archives: pushing a file into one, fetching one out of it, checking what is there.

mod error;
mod fetch;
mod files;
mod identity;
mod inspect;
mod listing;
mod log;
mod push;
mod sabotage;
mod snapshot;
mod story;
mod sum;
mod verify;

pub use error::Error;
pub use fetch::{FetchOptions, examine, fetch};
pub use files::{WalFile, files};
pub use identity::{IDENTITY_FILE, load_identity};
pub use inspect::{Inventory, TimelineInventory, gaps, inspect};
pub use listing::{Listing, Required};
pub use log::append;
pub use push::{Pushed, push};
pub use sabotage::{Sabotage, sabotage};
pub use snapshot::{LastCommit, Snapshot, description, load_snapshot, segment_of, snapshot};
pub use story::{Happening, Story, story};
pub use sum::sha256;
pub use verify::{Finding, FindingKind, verify};
