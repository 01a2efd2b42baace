//! What the analysis needs of a stretch of WAL, in order: row changes summed up per transaction,
//! and the few records that tell about locks, files, catalogs and ends of transactions.
//!
//! A digest depends on nothing outside its stretch, so stretches can be read side by side.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::transaction::{FileNode, Rows, Touched};
use crate::wal::page::{u16_at, u32_at};
use crate::wal::record::{
    RMGR_DATABASE, RMGR_HEAP, RMGR_HEAP2, RMGR_RELMAP, RMGR_SEQUENCE, RMGR_STANDBY, RMGR_STORAGE,
    RMGR_XACT, RMGR_XLOG,
};
use crate::wal::xact::{self, Leavings, Prepare, XactDetail};
use crate::wal::xlog::XlogEvent;
use crate::wal::{Lsn, Record, RecordError};

/// One thing worth knowing, at its place in the WAL.
#[derive(Debug)]
pub(super) enum Item {
    /// What transaction `xid` did since the last such item.
    Work {
        xid: u32,
        first_lsn: Lsn,
        /// Commits of this digest in front of `first_lsn`.
        commits: u64,
        touched: Vec<Touched>,
    },
    End(XactDetail, Option<Box<Leavings>>),
    Prepare(Prepare),
    Xlog {
        start: Lsn,
        end: Lsn,
        timeline: u32,
        event: XlogEvent,
    },
    /// Another record, for the reader of catalogs, locks and files.
    Record(Owned),
}

/// A record taken out of the reader's buffer.
#[derive(Debug)]
pub(super) struct Owned {
    pub start: Lsn,
    pub end: Lsn,
    pub timeline: u32,
    pub major: u16,
    pub header: crate::wal::RecordHeader,
    bytes: Box<[u8]>,
}

impl Owned {
    fn of(record: &Record<'_>) -> Owned {
        Owned {
            start: record.start,
            end: record.end,
            timeline: record.timeline,
            major: record.major,
            header: record.header,
            bytes: record.bytes().into(),
        }
    }

    pub fn record(&self) -> Record<'_> {
        Record {
            start: self.start,
            end: self.end,
            timeline: self.timeline,
            major: self.major,
            header: self.header,
            bytes: &self.bytes,
        }
    }
}

/// Which files hold catalogs whose rows are worth reading. Only grows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct CatalogFiles {
    moved: Vec<(u32, u32)>,
}

impl CatalogFiles {
    /// A catalog of `database` has moved to file `number`; false when that was known.
    pub fn add(&mut self, database: u32, number: u32) -> bool {
        let new = !self.holds(database, number);
        if new {
            self.moved.push((database, number));
        }
        new
    }

    pub fn holds(&self, database: u32, number: u32) -> bool {
        matches!(number, 1259 | 1262 | 2615) || self.moved.contains(&(database, number))
    }
}

#[derive(Debug, Default)]
struct Work {
    xid: u32,
    first_lsn: Lsn,
    commits: u64,
    touched: Vec<Touched>,
}

/// Turns records into items.
#[derive(Debug, Default)]
pub(super) struct Digester {
    /// Each with the position of the record that brought it out.
    pub items: Vec<(Lsn, Item)>,
    pub catalogs: CatalogFiles,
    position: Lsn,
    open: HashMap<u32, Work, XidHash>,
    /// The transaction of the last record stays out of the map: records come in runs.
    current: Work,
    leavings: Leavings,
    commits: u64,
}

impl Digester {
    pub fn new(catalogs: CatalogFiles) -> Self {
        Digester {
            catalogs,
            ..Digester::default()
        }
    }

    pub fn record(&mut self, record: &Record<'_>) -> Result<(), RecordError> {
        let header = &record.header;
        self.position = record.start;
        if header.xid != 0 {
            self.work_of(header.xid, record.start);
        }
        match header.rmgr {
            RMGR_HEAP | RMGR_HEAP2 => self.heap(record)?,
            RMGR_XACT => self.xact(record)?,
            RMGR_XLOG => self.xlog(record)?,
            RMGR_STANDBY if header.info & 0xF0 != 0x20 => self.keep(record),
            RMGR_STORAGE | RMGR_DATABASE | RMGR_RELMAP => self.keep(record),
            RMGR_SEQUENCE => self.keep(record),
            _ => {}
        }
        Ok(())
    }

    /// Gives out what unfinished transactions did so far.
    pub fn flush(&mut self) {
        self.position = Lsn(u64::MAX);
        let current = std::mem::take(&mut self.current);
        let open = std::mem::take(&mut self.open);
        for work in open.into_values().chain([current]) {
            self.emit(work);
        }
    }

    fn push(&mut self, item: Item) {
        self.items.push((self.position, item));
    }

    fn keep(&mut self, record: &Record<'_>) {
        self.push(Item::Record(Owned::of(record)));
    }

    fn emit(&mut self, work: Work) {
        if work.xid != 0 {
            self.push(Item::Work {
                xid: work.xid,
                first_lsn: work.first_lsn,
                commits: work.commits,
                touched: work.touched,
            });
        }
    }

    /// Makes `xid` the current transaction.
    #[inline]
    fn work_of(&mut self, xid: u32, start: Lsn) {
        if self.current.xid == xid {
            return;
        }
        let commits = self.commits;
        let fresh = || Work {
            xid,
            first_lsn: start,
            commits,
            touched: Vec::new(),
        };
        let wanted = self.open.remove(&xid).unwrap_or_else(fresh);
        let before = std::mem::replace(&mut self.current, wanted);
        if before.xid != 0 {
            self.open.insert(before.xid, before);
        }
    }

    fn finish(&mut self, xid: u32) {
        if self.current.xid == xid {
            let work = std::mem::take(&mut self.current);
            self.emit(work);
        } else if let Some(work) = self.open.remove(&xid) {
            self.emit(work);
        }
    }

    fn xact(&mut self, record: &Record<'_>) -> Result<(), RecordError> {
        self.leavings.clear();
        if let Some(detail) = xact::decode_with(record, Some(&mut self.leavings))? {
            self.finish(record.header.xid);
            if detail.xact.xid != record.header.xid {
                self.finish(detail.xact.xid);
            }
            for subxact in &detail.subxacts {
                self.finish(*subxact);
            }
            self.commits += u64::from(detail.xact.kind.is_commit());
            let any = self.leavings != Leavings::default();
            let leavings = any.then(|| Box::new(std::mem::take(&mut self.leavings)));
            self.push(Item::End(detail, leavings));
        } else if let Some(prepare) = xact::decode_prepare(record)? {
            self.push(Item::Prepare(prepare));
        }
        Ok(())
    }

    fn xlog(&mut self, record: &Record<'_>) -> Result<(), RecordError> {
        const FPI_FOR_HINT: u8 = 0xA0;
        const FPI: u8 = 0xB0;
        if matches!(record.header.info & 0xF0, FPI | FPI_FOR_HINT) {
            if let Some(file) = first_block(record)
                && self.catalogs.holds(file.database, file.number)
            {
                self.keep(record);
            }
            return Ok(());
        }
        if let Some(event) = XlogEvent::decode(record)? {
            self.push(Item::Xlog {
                start: record.start,
                end: record.end,
                timeline: record.timeline,
                event,
            });
        }
        Ok(())
    }

    #[inline]
    fn heap(&mut self, record: &Record<'_>) -> Result<(), RecordError> {
        let op = record.header.info & 0x70;
        let Some(file) = first_block(record) else {
            // TRUNCATE, written at `wal_level = logical`, refers to no page.
            if record.header.rmgr == RMGR_HEAP && op == 0x30 {
                self.keep(record);
            }
            return Ok(());
        };
        if self.catalogs.holds(file.database, file.number) {
            self.keep(record);
        }
        let rows = rows(record, op)?;
        if record.header.xid != 0 && rows.total() > 0 {
            self.touch(file, rows, record.start);
        }
        Ok(())
    }

    #[inline]
    fn touch(&mut self, file: FileNode, rows: Rows, start: Lsn) {
        /// How far back the same relation is looked for; the rest is merged later.
        const LOOK_BACK: usize = 8;
        let touched = &mut self.current.touched;
        let recent = touched.iter_mut().rev().take(LOOK_BACK);
        for entry in recent {
            if entry.file == file {
                entry.rows.add(&rows);
                return;
            }
        }
        if touched.len() >= 256 && touched.len().is_power_of_two() {
            compact(touched);
        }
        touched.push(Touched {
            file,
            rows,
            first_lsn: start,
        });
    }
}

/// Merges the entries of the same relation.
pub(super) fn compact(touched: &mut Vec<Touched>) {
    touched.sort_by_key(|entry| (entry.file, entry.first_lsn));
    touched.dedup_by(|later, kept| {
        let same = later.file == kept.file;
        if same {
            kept.rows.add(&later.rows);
        }
        same
    });
}

/// The row changes one heap record stands for.
#[inline]
fn rows(record: &Record<'_>, op: u8) -> Result<Rows, RecordError> {
    const IS_SUPER: u8 = 0x08;
    const PARTITION_MOVE: u8 = 0x10;
    let mut rows = Rows::default();
    if record.header.rmgr == RMGR_HEAP2 {
        if op == 0x50 {
            let main = record.main_data()?;
            rows.inserted = u64::from(u16_at(main, 2).unwrap_or(0));
        }
        return Ok(rows);
    }
    match op {
        0x00 => rows.inserted = 1,
        0x10 => {
            // A speculative insertion taken back, or a row moved to another partition, deletes
            // nothing.
            let flags = record.main_data()?.get(7).copied().unwrap_or(0);
            rows.deleted = u64::from(flags & (IS_SUPER | PARTITION_MOVE) == 0);
        }
        0x20 | 0x40 => rows.updated = 1,
        _ => {}
    }
    Ok(rows)
}

/// The relation of the first block reference.
#[inline]
pub(super) fn first_block(record: &Record<'_>) -> Option<FileNode> {
    let bytes = record.bytes();
    let mut at = crate::wal::record::HEADER;
    // An origin or a top-level transaction never comes before a block.
    if *bytes.get(at)? > 32 {
        return None;
    }
    let flags = *bytes.get(at + 1)?;
    at += 4;
    if flags & 0x10 != 0 {
        let version = crate::wal::version::Version::of_major(record.major);
        let info = *bytes.get(at + 4)?;
        let has_hole = info & 0x01 != 0;
        at += 5;
        if has_hole && version.image_is_compressed(info) {
            at += 2;
        }
    }
    Some(FileNode {
        tablespace: u32_at(bytes, at)?,
        database: u32_at(bytes, at + 4)?,
        number: u32_at(bytes, at + 8)?,
    })
}

/// Transaction ids are counters: one multiplication spreads them well enough.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.0 = (self.0 ^ u64::from(value)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 ^= self.0 >> 32;
    }
}

pub(super) type XidHash = BuildHasherDefault<Spread>;
