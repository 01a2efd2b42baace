//! Judges a finished run from its bundle alone: base facts, archive, client log, restored states.
//!
//! A pure function: the same bundle gives the same bytes. The exact oracle is the order of the
//! commit records in the WAL, because that is the only order recovery knows; `created_at <= T` is
//! not it. A second oracle, the client's log, knows nothing of WAL: where the two disagree, rpitr
//! itself is wrong.

mod bundle;
mod checks;
mod clients;
mod draw;
mod error;
mod goal;
mod history;
mod judge;
mod order;
mod promotions;
mod received;
mod restores;
mod state;
mod verdict;

pub use bundle::{Backup, Bundle, Facts, Promotion, Restore, ServerStop};
pub use draw::{Draw, Drawn, draw};
pub use error::Error;
pub use goal::{Goal, Target};
pub use history::{History, Op, Outcome};
pub use judge::judge;
pub use order::{Cut, Ending, Order};
pub use state::{Row, State};
pub use verdict::{Check, Verdict, Word};
