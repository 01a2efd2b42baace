//! The records of one segment, read without knowing anything about the segments before it.
//!
//! A record belongs to the segment it begins in: its reader goes on into the next one.

use std::collections::VecDeque;

use super::digest::{CatalogFiles, Digester};
use crate::wal::reader::Mark;
use crate::wal::record::RecordHeader;
use crate::wal::{End, Lsn, Reader, Wal};

/// Where records are looked for: those that begin at or behind `from` and in front of `until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub from: Lsn,
    pub until: Lsn,
}

/// The stretches of a chain, segment by segment, from `from` up to `to`.
pub(super) fn ranges(wal: &Wal, from: Lsn, to: Option<Lsn>) -> VecDeque<Range> {
    let size = wal.segment_size();
    let until = to.unwrap_or(Lsn(u64::MAX));
    let mut ranges: VecDeque<Range> = wal
        .files()
        .map(|(number, _)| Range {
            from: size.start(number).max(from),
            until: size.start(number.saturating_add(1)).min(until),
        })
        .filter(|range| range.from < range.until)
        .collect();
    // The reader says what is wrong with a beginning that does not exist.
    if let Some(first) = ranges.front().copied()
        && first.from > from
    {
        ranges.push_front(Range {
            from,
            until: first.from,
        });
    }
    ranges
}

/// What was read.
#[derive(Debug)]
pub(super) struct Stretch {
    pub range: Range,
    pub digester: Digester,
    pub records: u64,
    pub bytes: u64,
    /// The first record, and the timeline of the page it is on.
    pub first: Option<(Lsn, RecordHeader, u32)>,
    /// Where reading stopped, and what is expected there.
    pub mark: Mark,
    /// Reading stopped in front of `until`. Only a reader that knows what came before can say
    /// why: it goes on from `mark`.
    pub cut_short: bool,
}

impl Stretch {
    /// Reads from the beginning of the range.
    pub fn read(wal: &Wal, range: Range, catalogs: CatalogFiles) -> Stretch {
        let reader = Reader::new(wal, range.from);
        Stretch::read_from(reader, range, catalogs).0
    }

    /// Reads on with a given reader. The end is given when the range was not exhausted.
    pub fn read_from(
        mut reader: Reader<'_>,
        range: Range,
        catalogs: CatalogFiles,
    ) -> (Stretch, Option<End>) {
        let mut digester = Digester::new(catalogs);
        let (mut records, mut bytes) = (0, 0);
        let mut first = None;
        let page_timeline = reader.mark().page_timeline;
        let mut mark = reader.mark();
        let mut end = None;
        while reader.position() < range.until {
            let record = match reader.read() {
                Ok(record) => record,
                Err(why) => {
                    end = Some(*why);
                    break;
                }
            };
            if record.start >= range.until {
                break;
            }
            if first.is_none() {
                first = Some((record.start, record.header, page_timeline));
            }
            records += 1;
            bytes += u64::from(record.header.total_len);
            if let Err(error) = digester.record(&record) {
                let start = record.start;
                end = Some(reader.reject(start, error));
                break;
            }
            mark = reader.mark();
        }
        digester.flush();
        let stretch = Stretch {
            range,
            digester,
            records,
            bytes,
            first,
            mark,
            cut_short: end.is_some(),
        };
        (stretch, end)
    }

    /// Whether this stretch begins exactly where `before` ended.
    pub fn follows(&self, before: &Mark) -> bool {
        let Some((start, header, timeline)) = self.first else {
            return true;
        };
        let Some(prev) = before.prev else {
            return true;
        };
        // A page header may lie in between.
        let gap = start.0.checked_sub(before.next.0);
        header.prev == prev
            && gap.is_some_and(|gap| gap <= 40)
            && timeline >= before.page_timeline
            && before.abandoned.is_none()
    }
}
