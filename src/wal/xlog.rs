//! Records of the XLOG resource manager that mean something to recovery (`catalog/pg_control.h`,
//! `access/xlog_internal.h`).

use super::page::{i64_at, u32_at, u64_at};
use super::xact::unix_micros;
use super::{Lsn, Record, RecordError};

/// What an XLOG record says; the rest is `None` from [`XlogEvent::decode`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum XlogEvent {
    Checkpoint {
        /// Where recovery from this checkpoint starts.
        redo: Lsn,
        timeline: u32,
        previous_timeline: u32,
        shutdown: bool,
        /// Unix seconds.
        time: i64,
    },
    Switch,
    /// The end of a base backup that began at `start`.
    BackupEnd {
        start: Lsn,
    },
    RestorePoint {
        name: String,
        unix_us: i64,
    },
    EndOfRecovery {
        timeline: u32,
        previous_timeline: u32,
        unix_us: i64,
    },
    /// Replaces a record whose rest was lost in a crash.
    Overwrite {
        lost: Lsn,
    },
}

impl XlogEvent {
    /// Decodes a record of resource manager 0.
    pub fn decode(record: &Record<'_>) -> Result<Option<XlogEvent>, RecordError> {
        let info = record.header.info & 0xF0;
        if !matches!(info, 0x00 | 0x10 | 0x40 | 0x50 | 0x70 | 0x90 | 0xD0) {
            return Ok(None);
        }
        let data = record.main_data()?;
        let short = RecordError("an XLOG record is too short");
        let u64_ = |at| u64_at(data, at).ok_or(short);
        let u32_ = |at| u32_at(data, at).ok_or(short);
        let i64_ = |at| i64_at(data, at).ok_or(short);
        Ok(Some(match info {
            0x00 | 0x10 => XlogEvent::Checkpoint {
                redo: Lsn(u64_(0)?),
                timeline: u32_(8)?,
                previous_timeline: u32_(12)?,
                shutdown: info == 0x00,
                // 17 put `wal_level` into what was padding, so the offset is the same in 13 to 18.
                time: i64_(64)?,
            },
            0x40 => XlogEvent::Switch,
            0x50 => XlogEvent::BackupEnd {
                start: Lsn(u64_(0)?),
            },
            0x70 => {
                let name = data.get(8..).unwrap_or_default();
                let end = name.iter().position(|b| *b == 0).unwrap_or(name.len());
                XlogEvent::RestorePoint {
                    name: String::from_utf8_lossy(&name[..end]).into_owned(),
                    unix_us: unix_micros(i64_(0)?),
                }
            }
            0x90 => XlogEvent::EndOfRecovery {
                unix_us: unix_micros(i64_(0)?),
                timeline: u32_(8)?,
                previous_timeline: u32_(12)?,
            },
            _ => XlogEvent::Overwrite {
                lost: Lsn(u64_(0)?),
            },
        }))
    }
}
