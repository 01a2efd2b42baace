//! A finished transaction and what it touched.

use crate::wal::{Lsn, Xact};

/// The file of a relation: its number changes with every rewrite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileNode {
    pub tablespace: u32,
    /// 0 for catalogs shared by all databases.
    pub database: u32,
    pub number: u32,
}

/// Counts of row changes in one relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rows {
    pub inserted: u64,
    pub updated: u64,
    pub deleted: u64,
}

impl Rows {
    pub fn total(&self) -> u64 {
        self.inserted + self.updated + self.deleted
    }

    pub(super) fn add(&mut self, other: &Rows) {
        self.inserted += other.inserted;
        self.updated += other.updated;
        self.deleted += other.deleted;
    }
}

/// One relation a transaction changed rows of. [`Names::of_file`](super::Names::of_file) names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Touched {
    pub file: FileNode,
    pub rows: Rows,
    /// The first change.
    pub first_lsn: Lsn,
}

/// A commit or abort with the work of its subtransactions merged. Work of subtransactions that
/// were rolled back is left out of `touched`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Top-level id, kind, time, start and end of the record that ended it.
    pub xact: Xact,
    pub subxacts: Vec<u32>,
    /// The name it was prepared under.
    pub gid: Option<String>,
    /// The start of its first record; the ending record's when nothing else was seen.
    pub first_lsn: Lsn,
    /// The database, as far as the WAL says.
    pub database: Option<u32>,
    pub touched: Vec<Touched>,
    /// It held an AccessExclusiveLock: a sign of DDL.
    pub exclusive_locks: bool,
    /// How many relation files its end removed.
    pub dropped_files: u32,
}

impl Transaction {
    /// Row changes over all relations, catalogs included.
    pub fn rows(&self) -> Rows {
        let mut sum = Rows::default();
        for touched in &self.touched {
            sum.add(&touched.rows);
        }
        sum
    }
}
