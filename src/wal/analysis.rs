//! What happened: transactions with their rows and relations, and the ones that destroyed data,
//! each with the recovery target just before it.
//!
//! One pass over the WAL, in constant memory except for the names learned on the way and the
//! transactions in flight. The visitor sees findings in WAL order and may stop the pass.

mod backups;
mod classify;
mod digest;
mod incident;
mod merge;
mod pass;
mod pending;
mod report;
mod source;
mod stretch;
mod transaction;

pub mod catalog;

pub use backups::BackupSpan;
pub use catalog::{Names, Relation, RelationKind};
pub use incident::{Incident, IncidentKind, LostRelation, Proposal};
pub use pass::{Analysis, AnalysisOptions, Finding, analyse, incidents};
pub use transaction::{FileNode, Rows, Touched, Transaction};
