//! How much WAL each resource manager wrote, as `pg_waldump --stats` counts it.

use std::collections::BTreeMap;

use super::record::rmgr_name;
use super::{Decoded, End, Lsn, Reader, Wal};

/// Counts of one resource manager.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    pub records: u64,
    /// Bytes of records without page images.
    pub bytes: u64,
    /// Bytes of page images.
    pub image_bytes: u64,
}

impl Count {
    /// Bytes of records, page images included.
    pub fn total(&self) -> u64 {
        self.bytes + self.image_bytes
    }

    fn add(&mut self, other: Count) {
        self.records += other.records;
        self.bytes += other.bytes;
        self.image_bytes += other.image_bytes;
    }
}

/// What lies between two positions.
#[derive(Debug, Clone)]
pub struct Statistics {
    by_rmgr: BTreeMap<u8, Count>,
    /// The first record that was counted, and the end of the last.
    pub first: Option<Lsn>,
    pub last: Option<Lsn>,
    /// Where reading ended when it was not at the upper bound.
    pub end: Option<End>,
}

impl Statistics {
    /// Reads the records that start at `from` or later and before `to`. `watch` is told the
    /// position of each record.
    pub fn read(wal: &Wal, from: Lsn, to: Option<Lsn>, mut watch: impl FnMut(Lsn)) -> Statistics {
        let mut reader = Reader::new(wal, from);
        let mut decoded = Decoded::default();
        let mut statistics = Statistics {
            by_rmgr: BTreeMap::new(),
            first: None,
            last: None,
            end: None,
        };
        loop {
            let record = match reader.read() {
                Ok(record) if to.is_some_and(|to| record.start >= to) => break,
                Ok(record) => record,
                Err(end) => {
                    statistics.end = Some(*end);
                    break;
                }
            };
            let start = record.start;
            if let Err(error) = record.decode(&mut decoded) {
                statistics.end = Some(reader.reject(start, error));
                break;
            }
            let images = decoded.blocks.iter().filter_map(|block| block.image);
            let image_bytes = images.map(|image| u64::from(image.len)).sum();
            let count = Count {
                records: 1,
                bytes: u64::from(record.header.total_len).saturating_sub(image_bytes),
                image_bytes,
            };
            statistics.first = statistics.first.or(Some(start));
            statistics.last = Some(record.end);
            let rmgr = record.header.rmgr;
            statistics.by_rmgr.entry(rmgr).or_default().add(count);
            watch(start);
        }
        statistics
    }

    /// Name and counts of each resource manager, in the order of their ids.
    pub fn by_manager(&self) -> impl Iterator<Item = (String, Count)> + '_ {
        self.by_rmgr
            .iter()
            .map(|(id, count)| (rmgr_name(*id), *count))
    }

    pub fn total(&self) -> Count {
        let mut total = Count::default();
        for count in self.by_rmgr.values() {
            total.add(*count);
        }
        total
    }
}
