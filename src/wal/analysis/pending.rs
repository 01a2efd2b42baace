//! Transactions in flight: what each did so far, until its end is read.

use std::collections::{HashMap, HashSet};

use super::catalog::{Refiled, Row, Told, Undo};
use super::digest::{XidHash, compact};
use super::transaction::{FileNode, Touched};
use crate::wal::page::u32_at;
use crate::wal::{Lsn, Record, RecordError};

/// What a transaction did to definitions and files.
#[derive(Debug, Default)]
pub(super) struct Ddl {
    /// Its first lock, and the commits seen before it.
    pub first_lock: Option<(Lsn, u64)>,
    /// AccessExclusiveLocks: database and OID.
    pub locks: HashSet<(u32, u32)>,
    /// Files it created.
    pub created: Vec<FileNode>,
    /// OIDs of relations it created.
    pub born: Vec<u32>,
    pub deleted: Vec<(u32, Row)>,
    pub refiled: Vec<(u32, Refiled)>,
    /// TRUNCATE records of `wal_level = logical`: whether they cascaded.
    pub logged_truncate: Option<bool>,
    pub dropped_databases: Vec<(u32, Lsn)>,
    pub created_databases: Vec<u32>,
    undo: Vec<Undo>,
}

impl Ddl {
    fn merge(&mut self, other: Ddl) {
        self.first_lock = [self.first_lock, other.first_lock]
            .into_iter()
            .flatten()
            .min();
        self.locks.extend(other.locks);
        self.created.extend(other.created);
        self.born.extend(other.born);
        self.deleted.extend(other.deleted);
        self.refiled.extend(other.refiled);
        self.dropped_databases.extend(other.dropped_databases);
        self.created_databases.extend(other.created_databases);
        self.undo.extend(other.undo);
        self.logged_truncate = match (self.logged_truncate, other.logged_truncate) {
            (None, other) => other,
            (one, None) => one,
            (Some(one), Some(other)) => Some(one || other),
        };
    }
}

/// What a transaction did.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// Its first record, and the commits seen before it.
    pub first: Option<(Lsn, u64)>,
    pub touched: Vec<Touched>,
    pub ddl: Option<Box<Ddl>>,
}

impl Work {
    pub fn merge(&mut self, other: Work) {
        self.first = [self.first, other.first].into_iter().flatten().min();
        if self.touched.is_empty() {
            self.touched = other.touched;
        } else {
            self.touched.extend(other.touched);
            if self.touched.len() > 512 {
                compact(&mut self.touched);
            }
        }
        match (&mut self.ddl, other.ddl) {
            (Some(ddl), Some(other)) => ddl.merge(*other),
            (mine @ None, other) => *mine = other,
            (Some(_), None) => {}
        }
    }

    /// What to take back when the transaction is rolled back.
    pub fn undo(&mut self) -> Vec<Undo> {
        self.ddl
            .as_mut()
            .map(|ddl| std::mem::take(&mut ddl.undo))
            .unwrap_or_default()
    }
}

/// All transactions in flight.
#[derive(Debug, Default)]
pub(super) struct Pending {
    works: HashMap<u32, Work, XidHash>,
}

impl Pending {
    pub fn add(&mut self, xid: u32, work: Work) {
        match self.works.entry(xid) {
            std::collections::hash_map::Entry::Occupied(mut known) => known.get_mut().merge(work),
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert(work);
            }
        }
    }

    /// Takes out what `xid` and its subtransactions did.
    pub fn finish(&mut self, xid: u32, subxacts: &[u32]) -> Work {
        let mut work = self.works.remove(&xid).unwrap_or_default();
        for subxact in subxacts {
            if let Some(part) = self.works.remove(subxact) {
                work.merge(part);
            }
        }
        if work.touched.len() > 1 {
            compact(&mut work.touched);
        }
        work
    }

    pub fn ddl(&mut self, xid: u32) -> &mut Ddl {
        self.works
            .entry(xid)
            .or_default()
            .ddl
            .get_or_insert_default()
    }

    /// `Standby LOCK`: written when a lock is taken, and again by every snapshot.
    pub fn lock(&mut self, record: &Record<'_>, commits: u64) -> Result<(), RecordError> {
        let data = record.main_data()?;
        let count = u32_at(data, 0).unwrap_or(0) as usize;
        for at in (0..count).map(|n| 4 + n * 12) {
            let (Some(xid), Some(database), Some(oid)) =
                (u32_at(data, at), u32_at(data, at + 4), u32_at(data, at + 8))
            else {
                return Err(RecordError("a lock record is too short"));
            };
            let ddl = self.ddl(xid);
            if ddl.locks.insert((database, oid)) {
                ddl.first_lock.get_or_insert((record.start, commits));
            }
        }
        Ok(())
    }

    /// `Standby RUNNING_XACTS`: what is older than the oldest running transaction and never ended
    /// was lost in a crash.
    pub fn forget_dead(&mut self, record: &Record<'_>) -> Result<(), RecordError> {
        let data = record.main_data()?;
        let oldest = u32_at(data, 16).ok_or(RecordError("a snapshot record is too short"))?;
        self.works
            .retain(|xid, _| (xid.wrapping_sub(oldest) as i32) >= 0);
        Ok(())
    }

    /// What a catalog record told about transaction `xid`.
    pub fn told(&mut self, xid: u32, database: u32, told: Told) {
        let nothing = told.undo.is_empty()
            && told.refiled.is_empty()
            && told.born.is_empty()
            && told.deleted.is_none();
        if xid == 0 || nothing {
            return;
        }
        let ddl = self.ddl(xid);
        ddl.undo.extend(told.undo);
        ddl.born.extend(told.born);
        ddl.refiled
            .extend(told.refiled.into_iter().map(|refiled| (database, refiled)));
        ddl.deleted
            .extend(told.deleted.into_iter().map(|row| (database, row)));
    }
}
