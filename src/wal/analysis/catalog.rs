//! Names of databases, schemas and relations, learned from WAL and base backups alone.

mod backup;
mod heap;
mod image;
mod names;
mod pglz;
mod reader;
mod relation;
mod rows;

pub(in crate::wal) use backup::catalogs;
pub use names::Names;
pub(in crate::wal) use names::{Refiled, Undo};
pub(in crate::wal) use reader::{CatalogReader, Told};
pub use relation::{Relation, RelationKind};
pub(in crate::wal) use rows::Row;
