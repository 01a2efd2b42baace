//! Records of the Transaction resource manager (`access/xact.h`, `xactdesc.c`).

use super::page::{i64_at, u16_at, u32_at};
use super::record::RMGR_XACT;
use super::version::Version;
use super::{Lsn, Record, RecordError};

/// Microseconds between 1970-01-01 and 2000-01-01, PostgreSQL's epoch.
const EPOCH: i64 = 946_684_800_000_000;

/// A PostgreSQL timestamp as Unix microseconds.
pub fn unix_micros(postgres: i64) -> i64 {
    postgres.saturating_add(EPOCH)
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum XactKind {
    Commit,
    CommitPrepared,
    Abort,
    AbortPrepared,
}

impl XactKind {
    pub fn is_commit(self) -> bool {
        matches!(self, XactKind::Commit | XactKind::CommitPrepared)
    }
}

/// The end of a transaction: the only records a time or xid target looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Xact {
    /// For prepared transactions the prepared one, not the (absent) one of the record header.
    pub xid: u32,
    pub kind: XactKind,
    pub start: Lsn,
    pub end: Lsn,
    pub timeline: u32,
    /// Taken before the record was inserted: not monotonic in WAL order.
    pub unix_us: i64,
}

/// A decoded COMMIT or ABORT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XactDetail {
    pub xact: Xact,
    pub subxacts: Vec<u32>,
    /// How many relation files it removed.
    pub dropped_relations: u32,
    /// The database, when the record says.
    pub database: Option<u32>,
    /// It held an AccessExclusiveLock: a cheap sign of DDL.
    pub exclusive_locks: bool,
    pub gid: Option<String>,
}

/// A decoded PREPARE; its work counts only at COMMIT PREPARED.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepare {
    pub xid: u32,
    pub database: u32,
    pub unix_us: i64,
    pub gid: String,
    pub start: Lsn,
}

const SHORT: RecordError = RecordError("a transaction record is too short");

struct Cursor<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn u32(&mut self) -> Result<u32, RecordError> {
        let value = u32_at(self.data, self.at).ok_or(SHORT)?;
        self.at += 4;
        Ok(value)
    }

    /// A count of items of `size` bytes, all of which are there.
    fn count(&mut self, size: usize) -> Result<usize, RecordError> {
        let count = self.u32()? as usize;
        let left = self.data.len().saturating_sub(self.at);
        if count > left / size {
            return Err(SHORT);
        }
        Ok(count)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], RecordError> {
        let item = self.data.get(self.at..self.at + len).ok_or(SHORT)?;
        self.at += len;
        Ok(item)
    }

    fn text(&mut self) -> Result<String, RecordError> {
        let rest = self.data.get(self.at..).ok_or(SHORT)?;
        let len = rest.iter().position(|b| *b == 0).ok_or(SHORT)?;
        self.at += len + 1;
        Ok(String::from_utf8_lossy(&rest[..len]).into_owned())
    }
}

/// What else the end of a transaction lists; memory is reused from record to record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Leavings {
    /// Relation files it removed: tablespace, database, number.
    pub files: Vec<(u32, u32, u32)>,
    /// Relations whose statistics it removed (15+): database, OID.
    pub statistics: Vec<(u32, u32)>,
    /// Relations whose definition it changed: database, OID.
    pub relations: Vec<(u32, u32)>,
}

impl Leavings {
    pub(super) fn clear(&mut self) {
        self.files.clear();
        self.statistics.clear();
        self.relations.clear();
    }

    /// `xl_xact_stats_item`; 18 splits the object id in two, relations use the lower half.
    fn statistic(&mut self, item: &[u8]) {
        const RELATION: u32 = 2;
        let word = |at| u32_at(item, at).unwrap_or(0);
        if word(0) == RELATION {
            self.statistics.push((word(4), word(8)));
        }
    }

    /// `SharedInvalidationMessage`: those of the relation cache name a relation.
    fn invalidation(&mut self, message: &[u8]) {
        const RELCACHE: u8 = (-2i8) as u8;
        let word = |at| u32_at(message, at).unwrap_or(0);
        if message.first() == Some(&RELCACHE) {
            self.relations.push((word(4), word(8)));
        }
    }
}

/// Decodes COMMIT, ABORT and their prepared forms; `None` for other records.
pub(super) fn decode(record: &Record<'_>) -> Result<Option<XactDetail>, RecordError> {
    decode_with(record, None)
}

/// As [`decode`], and fills in what the record leaves behind.
pub(super) fn decode_with(
    record: &Record<'_>,
    mut leavings: Option<&mut Leavings>,
) -> Result<Option<XactDetail>, RecordError> {
    if record.header.rmgr != RMGR_XACT {
        return Ok(None);
    }
    let kind = match record.header.info & 0x70 {
        0x00 => XactKind::Commit,
        0x20 => XactKind::Abort,
        0x30 => XactKind::CommitPrepared,
        0x40 => XactKind::AbortPrepared,
        _ => return Ok(None),
    };
    let data = record.main_data()?;
    let mut detail = XactDetail {
        xact: Xact {
            xid: record.header.xid,
            kind,
            start: record.start,
            end: record.end,
            timeline: record.timeline,
            unix_us: unix_micros(i64_at(data, 0).ok_or(SHORT)?),
        },
        subxacts: Vec::new(),
        dropped_relations: 0,
        database: None,
        exclusive_locks: false,
        gid: None,
    };
    let mut cursor = Cursor { data, at: 8 };
    let xinfo = if record.header.info & 0x80 != 0 {
        cursor.u32()?
    } else {
        0
    };
    let has = |bit: u32| xinfo & (1 << bit) != 0;
    detail.exclusive_locks = has(6);
    if has(0) {
        detail.database = Some(cursor.u32()?);
        cursor.u32()?;
    }
    if has(1) {
        for _ in 0..cursor.count(4)? {
            detail.subxacts.push(cursor.u32()?);
        }
    }
    if has(2) {
        let count = cursor.count(12)?;
        detail.dropped_relations = count as u32;
        for _ in 0..count {
            let file = (cursor.u32()?, cursor.u32()?, cursor.u32()?);
            if let Some(leavings) = &mut leavings {
                leavings.files.push(file);
            }
        }
    }
    let stats_item = Version::of_major(record.major).stats_item;
    if has(8) && stats_item > 0 {
        for _ in 0..cursor.count(stats_item)? {
            let item = cursor.take(stats_item)?;
            if let Some(leavings) = &mut leavings {
                leavings.statistic(item);
            }
        }
    }
    if has(3) && kind.is_commit() {
        for _ in 0..cursor.count(16)? {
            let message = cursor.take(16)?;
            if let Some(leavings) = &mut leavings {
                leavings.invalidation(message);
            }
        }
    }
    if has(4) {
        detail.xact.xid = cursor.u32()?;
        if has(7) {
            detail.gid = Some(cursor.text()?);
        }
    }
    Ok(Some(detail))
}

/// Decodes a PREPARE (`xl_xact_prepare`); `None` for other records.
pub(super) fn decode_prepare(record: &Record<'_>) -> Result<Option<Prepare>, RecordError> {
    if record.header.rmgr != RMGR_XACT || record.header.info & 0x70 != 0x10 {
        return Ok(None);
    }
    let data = record.main_data()?;
    let version = Version::of_major(record.major);
    // Two counts of dropped statistics, of four bytes each.
    let shift = if version.prepare_stats { 8 } else { 0 };
    let len = usize::from(u16_at(data, 46 + shift).ok_or(SHORT)?);
    let gid = data.get(64 + shift..64 + shift + len).ok_or(SHORT)?;
    let gid = gid.split(|b| *b == 0).next().unwrap_or_default();
    Ok(Some(Prepare {
        xid: u32_at(data, 8).ok_or(SHORT)?,
        database: u32_at(data, 12).ok_or(SHORT)?,
        unix_us: unix_micros(i64_at(data, 16).ok_or(SHORT)?),
        gid: String::from_utf8_lossy(gid).into_owned(),
        start: record.start,
    }))
}
