//! WAL page headers (`XLogPageHeaderData` and `XLogLongPageHeaderData` in PostgreSQL's
//! `access/xlog_internal.h`).
//!
//! Headers are not covered by any checksum: a reader believes one only after comparing magic,
//! address, system identifier and sizes, in the order of `XLogReaderValidatePageHeader`.

use super::{Lsn, Reason};

/// The page size of every packaged PostgreSQL (`XLOG_BLCKSZ`).
pub const PAGE_SIZE: usize = 8192;

/// The length of a page header other than the first of a segment.
pub const SHORT_HEADER: usize = 24;
/// The length of the header of the first page of a segment.
pub const LONG_HEADER: usize = 40;

/// The page begins with the rest of a record.
pub const FIRST_IS_CONTRECORD: u16 = 0x0001;
const LONG: u16 = 0x0002;
/// The page begins with a record that replaces one whose rest was lost.
pub const FIRST_IS_OVERWRITE_CONTRECORD: u16 = 0x0008;
const ALL_FLAGS: u16 = 0x000F;

/// What only the first page of a segment says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LongHeader {
    pub system_id: u64,
    pub segment_size: u32,
    pub page_size: u32,
}

/// A page header, as written; see [`PageHeader::check`] for whether to believe it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageHeader {
    pub magic: u16,
    pub info: u16,
    /// The timeline of the first record on the page: at most the timeline of the file.
    pub timeline: u32,
    pub address: Lsn,
    /// With [`FIRST_IS_CONTRECORD`]: how many bytes of that record are still missing.
    pub remaining: u32,
    pub long: Option<LongHeader>,
}

impl PageHeader {
    /// `None` when fewer bytes than a header needs are given.
    pub fn parse(bytes: &[u8]) -> Option<PageHeader> {
        let info = u16_at(bytes, 2)?;
        let long = if info & LONG != 0 {
            Some(LongHeader {
                system_id: u64_at(bytes, 24)?,
                segment_size: u32_at(bytes, 32)?,
                page_size: u32_at(bytes, 36)?,
            })
        } else {
            None
        };
        Some(PageHeader {
            magic: u16_at(bytes, 0)?,
            info,
            timeline: u32_at(bytes, 4)?,
            address: Lsn(u64_at(bytes, 8)?),
            remaining: u32_at(bytes, 16)?,
            long,
        })
    }

    /// Where the first byte after the header is.
    pub fn len(&self) -> usize {
        if self.long.is_some() {
            LONG_HEADER
        } else {
            SHORT_HEADER
        }
    }

    /// A header is never empty.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Whether this is the header expected at `address` (`xlogreader.c`,
    /// `XLogReaderValidatePageHeader`; same order). The timeline is the caller's business.
    pub(super) fn check(&self, address: Lsn, expect: &Expect) -> Result<(), Reason> {
        if self.magic != expect.magic {
            return Err(match self.magic {
                0 => Reason::ZeroPage,
                found => Reason::WrongMagic { found },
            });
        }
        if self.info & !ALL_FLAGS != 0 {
            return Err(Reason::BadPageFlags { found: self.info });
        }
        let first = address.0.is_multiple_of(expect.segment_size);
        match self.long {
            Some(long) => {
                if long.system_id != expect.system_id {
                    return Err(Reason::ForeignSystem {
                        found: long.system_id,
                        expected: expect.system_id,
                    });
                }
                if u64::from(long.segment_size) != expect.segment_size {
                    return Err(Reason::WrongSegmentSize {
                        found: u64::from(long.segment_size),
                        expected: expect.segment_size,
                    });
                }
                if long.page_size as usize != PAGE_SIZE {
                    return Err(Reason::WrongPageSize {
                        found: long.page_size,
                    });
                }
            }
            None if first => return Err(Reason::BadPageFlags { found: self.info }),
            None => {}
        }
        if self.address != address {
            return Err(Reason::RecycledPage {
                found: self.address,
            });
        }
        if !first && self.long.is_some() {
            return Err(Reason::BadPageFlags { found: self.info });
        }
        Ok(())
    }
}

/// What every page of one cluster's WAL has in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expect {
    pub magic: u16,
    pub system_id: u64,
    pub segment_size: u64,
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn i64_at(bytes: &[u8], at: usize) -> Option<i64> {
    Some(i64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
