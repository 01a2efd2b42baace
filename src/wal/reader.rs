//! Reads records in order along a chain (`XLogDecodeNextRecord` in `xlogreader.c`).
//!
//! Memory is constant: one buffer for a stretch of the current segment and one for a record that
//! crosses pages. No byte sequence makes the reader panic; what cannot be read ends the stream
//! with an [`End`], and asking again returns the same one.

use std::io;

use super::page::{
    FIRST_IS_CONTRECORD, FIRST_IS_OVERWRITE_CONTRECORD, PageHeader, SHORT_HEADER, u32_at, u64_at,
};
use super::record::{
    HEADER, MAX_LENGTH, RMGR_XLOG, RecordHeader, XLOG_OVERWRITE_CONTRECORD, XLOG_SWITCH, checksum,
};
use super::unpack::Source;
use super::{End, Lsn, PAGE_SIZE, Reason, Record, RecordError, Verdict, Wal};

const PAGE: u64 = PAGE_SIZE as u64;
/// How much is read at once: little enough that the checksum finds it in the processor's cache.
const CHUNK: usize = 128 << 10;

/// A problem on the page that starts at `page`.
pub(super) struct Fail {
    pub page: Lsn,
    pub reason: Reason,
}

/// The page the reader is looking at.
#[derive(Clone, Copy)]
struct Page {
    address: Lsn,
    /// Where it is in the buffer.
    at: usize,
    header: PageHeader,
}

enum Place {
    Buffer(usize),
    Scratch,
}

/// Reads records one after the other.
#[derive(Debug)]
pub struct Reader<'w> {
    wal: &'w Wal,
    open: Option<(u64, Source)>,
    buffer: Vec<u8>,
    /// The position of the first byte in the buffer, and how many bytes are valid.
    buffered: (u64, usize),
    /// The timeline of the buffered file, and where it leaves the chain.
    file_timeline: u32,
    limit: Lsn,
    current: Option<Page>,
    scratch: Vec<u8>,
    next: Lsn,
    prev: Option<Lsn>,
    page_timeline: u32,
    abandoned: Option<Lsn>,
    /// Records that end on an earlier page are believed without computing their checksum.
    verify_from: Lsn,
    end: Option<Box<End>>,
}

/// Where a reader is and what it expects next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub next: Lsn,
    pub prev: Option<Lsn>,
    pub page_timeline: u32,
    pub abandoned: Option<Lsn>,
}

impl std::fmt::Debug for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "page {}", self.address)
    }
}

impl<'w> Reader<'w> {
    /// Starts with the first record that begins at or after `from`: the page of `from` is found
    /// and the rest of a record that began before it is skipped (`XLogFindNextRecord`).
    pub fn new(wal: &'w Wal, from: Lsn) -> Reader<'w> {
        let mut reader = Reader::at(wal, from);
        if let Err(fail) = reader.enter(from) {
            reader.end = Some(Box::new(reader.judge(fail)));
        }
        reader
    }

    /// Goes on where another reader was: at `mark`, expecting what it expected.
    pub(super) fn resume(wal: &'w Wal, mark: Mark) -> Reader<'w> {
        let mut reader = Reader::at(wal, mark.next);
        reader.prev = mark.prev;
        reader.page_timeline = mark.page_timeline;
        reader.abandoned = mark.abandoned;
        reader
    }

    /// What a reader that takes over needs to know.
    pub(super) fn mark(&self) -> Mark {
        Mark {
            next: self.next,
            prev: self.prev,
            page_timeline: self.page_timeline,
            abandoned: self.abandoned,
        }
    }

    fn at(wal: &'w Wal, from: Lsn) -> Reader<'w> {
        Reader {
            wal,
            open: None,
            buffer: Vec::new(),
            buffered: (0, 0),
            file_timeline: 0,
            limit: Lsn(u64::MAX),
            current: None,
            scratch: Vec::new(),
            next: from,
            prev: None,
            page_timeline: 0,
            abandoned: None,
            verify_from: Lsn::INVALID,
            end: None,
        }
    }

    /// Computes checksums only of records that end on the page of `from` or later, for WAL that
    /// was verified before and only leads the way.
    pub fn checksums_from(mut self, from: Lsn) -> Self {
        self.verify_from = Lsn(from.0 - from.0 % PAGE);
        self
    }

    /// The next record, or where and why reading ended.
    pub fn read(&mut self) -> Result<Record<'_>, Box<End>> {
        if let Some(end) = &self.end {
            return Err(end.clone());
        }
        match self.advance() {
            Ok((header, start, end, place)) => {
                let len = header.total_len as usize;
                let bytes = match place {
                    Place::Buffer(at) => &self.buffer[at..at + len],
                    Place::Scratch => &self.scratch[..len],
                };
                Ok(Record {
                    start,
                    end,
                    timeline: self.wal.chain().timeline_at(start),
                    major: self.wal.identity().major(),
                    header,
                    bytes,
                })
            }
            Err(fail) => {
                let end = Box::new(self.judge(fail));
                self.end = Some(end.clone());
                Err(end)
            }
        }
    }

    /// Ends the stream at a record whose checksum is right but whose contents are not.
    pub(crate) fn reject(&mut self, start: Lsn, error: RecordError) -> End {
        let size = self.wal.segment_size();
        let file = self.wal.files.get(&size.number(start));
        let end = End {
            lsn: start,
            last_record: None,
            file: file.map(|f| f.path.clone()),
            offset: size.offset(start),
            reason: Reason::BadContents(error.0),
            verdict: Verdict::Damage {
                evidence: "the checksum is right, the contents are not".to_string(),
            },
        };
        self.end = Some(Box::new(end.clone()));
        end
    }

    /// Where the next record is expected: the end of the last one.
    pub fn position(&self) -> Lsn {
        self.next
    }

    fn enter(&mut self, from: Lsn) -> Result<(), Fail> {
        let mut address = Lsn(from.0 - from.0 % PAGE);
        loop {
            let page = self.page(address)?;
            let body = address.plus(page.header.len() as u64);
            let room = PAGE - page.header.len() as u64;
            let mut rest = 0;
            if page.header.info & FIRST_IS_CONTRECORD != 0 {
                rest = align(u64::from(page.header.remaining));
            }
            if rest < room {
                self.next = body.plus(rest);
                break;
            }
            address = address.plus(PAGE);
        }
        // Records of this page that begin before `from` are walked over, not shown.
        while self.next < from {
            self.advance()?;
        }
        Ok(())
    }

    /// Reads the record at `self.next` and moves behind it.
    fn advance(&mut self) -> Result<(RecordHeader, Lsn, Lsn, Place), Fail> {
        loop {
            match self.record_at(self.next)? {
                Some(found) => return Ok(found),
                // The rest of the record was lost; a replacement begins at `self.next`.
                None => continue,
            }
        }
    }

    fn record_at(&mut self, at: Lsn) -> Result<Option<(RecordHeader, Lsn, Lsn, Place)>, Fail> {
        let mut start = at;
        let mut page = self.page(Lsn(at.0 - at.0 % PAGE))?;
        if at == page.address {
            start = at.plus(page.header.len() as u64);
            if page.header.info & FIRST_IS_CONTRECORD != 0 {
                return Err(fail(&page, Reason::UnexpectedContinuation));
            }
        }
        if start >= self.limit {
            return Err(fail(
                &page,
                self.absent(self.wal.segment_size().number(start)),
            ));
        }
        let offset = (start.0 - page.address.0) as usize;
        if offset < page.header.len() {
            return Err(fail(&page, Reason::UnexpectedContinuation));
        }
        let room = PAGE_SIZE - offset;
        let here = page.at + offset;
        let total = u32_at(&self.buffer, here).unwrap_or(0);
        if total == 0 {
            return Err(fail(&page, Reason::ZeroLength));
        }
        if (total as usize) < HEADER || total > MAX_LENGTH {
            return Err(fail(&page, Reason::BadLength { found: total }));
        }
        let len = total as usize;
        if len <= room {
            let header = self.finish(&self.buffer[here..here + len], start, &page)?;
            let end = self.behind(&header, start.plus(align(u64::from(total))));
            self.move_on(start, end);
            return Ok(Some((header, start, end, Place::Buffer(here))));
        }

        // The record goes on over one or more pages: look at its header before following it.
        if room >= HEADER {
            self.check_header(here, start, &page)?;
        }
        self.scratch.clear();
        self.scratch
            .extend_from_slice(&self.buffer[here..here + room]);
        let mut address = page.address;
        loop {
            address = address.plus(PAGE);
            page = self.page(address)?;
            let info = page.header.info;
            if info & FIRST_IS_OVERWRITE_CONTRECORD != 0 {
                self.abandoned = Some(start);
                self.next = address;
                return Ok(None);
            }
            if info & FIRST_IS_CONTRECORD == 0 {
                return Err(fail(&page, Reason::NoContinuation));
            }
            let missing = len - self.scratch.len();
            if page.header.remaining as usize != missing {
                return Err(fail(
                    &page,
                    Reason::BadContinuation {
                        found: page.header.remaining,
                    },
                ));
            }
            let body = page.at + page.header.len();
            let take = missing.min(PAGE_SIZE - page.header.len());
            self.scratch
                .extend_from_slice(&self.buffer[body..body + take]);
            if take == missing {
                let header = self.finish(&self.scratch, start, &page)?;
                let end = address.plus(page.header.len() as u64 + align(take as u64));
                let end = self.behind(&header, end);
                self.move_on(start, end);
                return Ok(Some((header, start, end, Place::Scratch)));
            }
        }
    }

    fn move_on(&mut self, start: Lsn, end: Lsn) {
        self.prev = Some(start);
        self.next = end;
        self.abandoned = None;
    }

    /// A switch ends its segment.
    fn behind(&self, header: &RecordHeader, end: Lsn) -> Lsn {
        if header.rmgr == RMGR_XLOG && header.info & 0xF0 == XLOG_SWITCH {
            let size = self.wal.segment_size().bytes();
            Lsn(end.0.div_ceil(size).saturating_mul(size))
        } else {
            end
        }
    }

    /// `ValidXLogRecordHeader`.
    fn check_header(&self, at: usize, start: Lsn, page: &Page) -> Result<(), Fail> {
        let header = RecordHeader::parse(&self.buffer[at..])
            .ok_or_else(|| fail(page, Reason::BadLength { found: 0 }))?;
        self.check(&header, start, page)
    }

    fn check(&self, header: &RecordHeader, start: Lsn, page: &Page) -> Result<(), Fail> {
        if !header.rmgr_is_known(self.wal.identity().major()) {
            return Err(fail(
                page,
                Reason::BadResourceManager { found: header.rmgr },
            ));
        }
        let right = match self.prev {
            Some(prev) => header.prev == prev,
            None => header.prev < start,
        };
        if !right {
            return Err(fail(
                page,
                Reason::StalePrev {
                    found: header.prev,
                    expected: self.prev.unwrap_or_default(),
                },
            ));
        }
        Ok(())
    }

    /// Everything that needs the whole record.
    fn finish(&self, bytes: &[u8], start: Lsn, page: &Page) -> Result<RecordHeader, Fail> {
        let header =
            RecordHeader::parse(bytes).ok_or_else(|| fail(page, Reason::BadLength { found: 0 }))?;
        self.check(&header, start, page)?;
        if page.address >= self.verify_from {
            let computed = checksum(bytes);
            if computed != header.crc {
                return Err(fail(
                    page,
                    Reason::BadCrc {
                        found: header.crc,
                        expected: computed,
                    },
                ));
            }
        }
        if let Some(lost) = self.abandoned {
            let replaces = header.rmgr == RMGR_XLOG
                && header.info & 0xF0 == XLOG_OVERWRITE_CONTRECORD
                && bytes.len() >= HEADER + 10
                && u64_at(bytes, HEADER + 2) == Some(lost.0);
            if !replaces {
                return Err(fail(page, Reason::OverwriteMismatch));
            }
        }
        Ok(header)
    }
}

fn fail(page: &Page, reason: Reason) -> Fail {
    Fail {
        page: page.address,
        reason,
    }
}

/// `MAXALIGN`.
fn align(bytes: u64) -> u64 {
    bytes.saturating_add(7) & !7
}

mod judge;
mod pages;
