//! Walks the WAL once and reports what recovery cares about: the ends of transactions, restore
//! points, checkpoints, timeline switches.

use std::collections::{HashMap, HashSet};

use super::record::{RMGR_XACT, RMGR_XLOG};
use super::xact::{self, Prepare, Xact, XactDetail};
use super::xlog::XlogEvent;
use super::{End, Error, Lsn, Reader, Record, RecordError, Wal};

/// Something recovery cares about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Xact(XactDetail),
    Prepare(Prepare),
    Xlog {
        start: Lsn,
        end: Lsn,
        event: XlogEvent,
    },
}

/// Decodes a record; `None` when it is of no interest to recovery planning.
pub fn event(record: &Record<'_>) -> Result<Option<Event>, RecordError> {
    match record.header.rmgr {
        RMGR_XACT => match xact::decode(record)? {
            Some(detail) => Ok(Some(Event::Xact(detail))),
            None => Ok(xact::decode_prepare(record)?.map(Event::Prepare)),
        },
        RMGR_XLOG => Ok(XlogEvent::decode(record)?.map(|event| Event::Xlog {
            start: record.start,
            end: record.end,
            event,
        })),
        _ => Ok(None),
    }
}

/// A named restore point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestorePoint {
    pub name: String,
    pub start: Lsn,
    pub end: Lsn,
    pub unix_us: i64,
}

/// What a scan saw.
#[derive(Debug, Clone)]
pub struct Summary {
    pub records: u64,
    /// Bytes of records, page headers not counted.
    pub bytes: u64,
    pub first: Option<Lsn>,
    pub commits: u64,
    pub aborts: u64,
    pub first_commit: Option<Xact>,
    pub last_commit: Option<Xact>,
    pub restore_points: Vec<RestorePoint>,
    /// Where the WAL ends, why, and whether that is damage.
    pub end: End,
}

impl Summary {
    /// Nothing seen yet.
    pub(super) fn new() -> Summary {
        Summary {
            records: 0,
            bytes: 0,
            first: None,
            commits: 0,
            aborts: 0,
            first_commit: None,
            last_commit: None,
            restore_points: Vec::new(),
            end: End::stopped(Lsn::INVALID),
        }
    }
}

/// Reads every record from `from` on and shows each event to `visit`; constant memory. Damage is
/// not an error here: look at [`Summary::end`].
pub fn scan(wal: &Wal, from: Lsn, mut visit: impl FnMut(&Event)) -> Result<Summary, Error> {
    let mut reader = Reader::new(wal, from);
    let (mut records, mut bytes, mut commits, mut aborts) = (0, 0, 0, 0);
    let (mut first, mut first_commit, mut last_commit) = (None, None, None);
    let mut restore_points = Vec::new();
    let end = loop {
        let record = match reader.read() {
            Ok(record) => record,
            Err(end) => break *end,
        };
        records += 1;
        bytes += u64::from(record.header.total_len);
        first = first.or(Some(record.start));
        let found = match event(&record) {
            Ok(found) => found,
            Err(error) => {
                let start = record.start;
                break reader.reject(start, error);
            }
        };
        let Some(found) = found else { continue };
        match &found {
            Event::Xact(detail) if detail.xact.kind.is_commit() => {
                commits += 1;
                first_commit = first_commit.or(Some(detail.xact));
                last_commit = Some(detail.xact);
            }
            Event::Xact(_) => aborts += 1,
            Event::Xlog {
                start,
                end,
                event: XlogEvent::RestorePoint { name, unix_us },
            } => restore_points.push(RestorePoint {
                name: name.clone(),
                start: *start,
                end: *end,
                unix_us: *unix_us,
            }),
            _ => {}
        }
        visit(&found);
    };
    Ok(Summary {
        records,
        bytes,
        first,
        commits,
        aborts,
        first_commit,
        last_commit,
        restore_points,
        end,
    })
}

/// Shows each event of a record that starts at `from` or later and before `to` to `visit`, until that
/// says no. Returns where and why reading ended, unless it was cut short.
pub fn walk(
    wal: &Wal,
    from: Lsn,
    to: Option<Lsn>,
    mut visit: impl FnMut(&Event) -> bool,
) -> Result<Option<End>, Error> {
    let mut reader = Reader::new(wal, from);
    loop {
        let record = match reader.read() {
            Ok(record) if to.is_some_and(|to| record.start >= to) => return Ok(None),
            Ok(record) => record,
            Err(end) => return Ok(Some(*end)),
        };
        match event(&record) {
            Ok(Some(found)) if !visit(&found) => return Ok(None),
            Ok(_) => {}
            Err(error) => {
                let start = record.start;
                return Ok(Some(reader.reject(start, error)));
            }
        }
    }
}

/// The commits of the given transactions between `from` and `to` (start positions, `to`
/// excluded), by top-level xid. A transaction missing from the answer did not commit there.
/// Damage before `to` is an error; a legal end of WAL before it is not.
pub fn commits_by_xid(
    wal: &Wal,
    xids: &HashSet<u32>,
    from: Lsn,
    to: Lsn,
) -> Result<HashMap<u32, Xact>, Error> {
    let mut found = HashMap::new();
    let mut reader = Reader::new(wal, from);
    while found.len() < xids.len() {
        let record = match reader.read() {
            Ok(record) if record.start < to => record,
            Ok(_) => break,
            Err(end) if end.is_damage() && end.lsn < to => return Err(Error::Damage(end)),
            Err(_) => break,
        };
        if record.header.rmgr != RMGR_XACT {
            continue;
        }
        match xact::decode(&record) {
            Ok(Some(detail)) if detail.xact.kind.is_commit() => {
                if xids.contains(&detail.xact.xid) {
                    found.insert(detail.xact.xid, detail.xact);
                }
            }
            Ok(_) => {}
            Err(error) => {
                let start = record.start;
                return Err(Error::Damage(Box::new(reader.reject(start, error))));
            }
        }
    }
    Ok(found)
}
