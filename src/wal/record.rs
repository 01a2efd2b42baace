//! WAL records (`access/xlogrecord.h`): header, checksum, block references, main data.
//!
//! Parsing never trusts a length: every access is bounds-checked and a record that does not add
//! up is a [`RecordError`], even when its checksum is right.

use super::page::{u16_at, u32_at, u64_at};
use super::version::Version;
use super::{Lsn, PAGE_SIZE};

/// The length of a record header.
pub const HEADER: usize = 24;
/// The longest record (`XLogRecordMaxSize`, PostgreSQL 16): a cap against wild lengths.
pub const MAX_LENGTH: u32 = 1020 * 1024 * 1024;

pub const RMGR_XLOG: u8 = 0;
pub const RMGR_XACT: u8 = 1;
pub const RMGR_STORAGE: u8 = 2;
pub const RMGR_DATABASE: u8 = 4;
pub const RMGR_RELMAP: u8 = 7;
pub const RMGR_STANDBY: u8 = 8;
pub const RMGR_HEAP2: u8 = 9;
pub const RMGR_HEAP: u8 = 10;
pub const RMGR_SEQUENCE: u8 = 15;
pub const XLOG_SWITCH: u8 = 0x40;
pub const XLOG_OVERWRITE_CONTRECORD: u8 = 0xD0;

const RMGRS: [&str; 22] = [
    "XLOG",
    "Transaction",
    "Storage",
    "CLOG",
    "Database",
    "Tablespace",
    "MultiXact",
    "RelMap",
    "Standby",
    "Heap2",
    "Heap",
    "Btree",
    "Hash",
    "Gin",
    "Gist",
    "Sequence",
    "SPGist",
    "BRIN",
    "CommitTs",
    "ReplicationOrigin",
    "Generic",
    "LogicalMessage",
];

/// The name of a resource manager as `pg_waldump` prints it; custom ones are `custom###`.
pub fn rmgr_name(id: u8) -> String {
    match RMGRS.get(usize::from(id)) {
        Some(name) => (*name).to_string(),
        None => format!("custom{id:03}"),
    }
}

/// Why a record's contents cannot be taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RecordError(pub &'static str);

/// `XLogRecord`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader {
    pub total_len: u32,
    pub xid: u32,
    pub prev: Lsn,
    pub info: u8,
    pub rmgr: u8,
    pub crc: u32,
}

impl RecordHeader {
    pub(super) fn parse(bytes: &[u8]) -> Option<RecordHeader> {
        Some(RecordHeader {
            total_len: u32_at(bytes, 0)?,
            xid: u32_at(bytes, 4)?,
            prev: Lsn(u64_at(bytes, 8)?),
            info: *bytes.get(16)?,
            rmgr: *bytes.get(17)?,
            crc: u32_at(bytes, 20)?,
        })
    }

    /// Built-in managers are 0..=21 in 13 to 18; custom ones (15+) are 128 and up.
    pub(super) fn rmgr_is_known(&self, major: u16) -> bool {
        usize::from(self.rmgr) < RMGRS.len()
            || (Version::of_major(major).custom_rmgrs && self.rmgr >= 128)
    }
}

/// The checksum of a whole record: the body first, then the header up to the checksum
/// (`ValidXLogRecord` in `xlogreader.c`).
pub(super) fn checksum(record: &[u8]) -> u32 {
    if record.len() < HEADER {
        return 0;
    }
    crc32c::crc32c_append(crc32c::crc32c(&record[HEADER..]), &record[..20])
}

/// One record, borrowed from the reader that read it.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Where the record begins: what `pg_waldump` prints as `lsn`.
    pub start: Lsn,
    /// Where the next record may begin (`EndRecPtr`): for a switch, the next segment.
    pub end: Lsn,
    /// The timeline of the chain this position belongs to.
    pub timeline: u32,
    /// The PostgreSQL major version that wrote it.
    pub major: u16,
    pub header: RecordHeader,
    pub(super) bytes: &'a [u8],
}

impl<'a> Record<'a> {
    /// The bytes of the record without page headers, its own header included.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub fn is_switch(&self) -> bool {
        self.header.rmgr == RMGR_XLOG && self.header.info & 0xF0 == XLOG_SWITCH
    }

    /// The main data alone; the block references are skipped.
    pub fn main_data(&self) -> Result<&'a [u8], RecordError> {
        let mut none = Decoded::default();
        self.walk(&mut none, false)?;
        Ok(&self.bytes[none.main.start..none.main.end])
    }

    /// Takes the record apart into `decoded`, whose memory is reused.
    pub fn decode(&self, decoded: &mut Decoded) -> Result<(), RecordError> {
        self.walk(decoded, true)
    }

    /// `DecodeXLogRecord` in `xlogreader.c`, with its cross-checks.
    fn walk(&self, out: &mut Decoded, keep: bool) -> Result<(), RecordError> {
        out.blocks.clear();
        out.origin = None;
        out.top_xid = None;
        let bytes = self.bytes;
        let mut at = HEADER;
        let mut payload = 0usize;
        let mut main_len = 0usize;
        let mut last_block: Option<u8> = None;
        let mut locator: Option<(u32, u32, u32)> = None;
        while bytes.len().saturating_sub(at) > payload {
            let id = bytes[at];
            at += 1;
            match id {
                255 => {
                    main_len = usize::from(*bytes.get(at).ok_or(SHORT)?);
                    at += 1;
                    payload += main_len;
                    break;
                }
                254 => {
                    main_len = u32_at(bytes, at).ok_or(SHORT)? as usize;
                    at += 4;
                    payload += main_len;
                    break;
                }
                253 => {
                    out.origin = Some(u16_at(bytes, at).ok_or(SHORT)?);
                    at += 2;
                }
                252 if Version::of_major(self.major).toplevel_xid => {
                    out.top_xid = Some(u32_at(bytes, at).ok_or(SHORT)?);
                    at += 4;
                }
                0..=32 => {
                    if last_block.is_some_and(|last| id <= last) {
                        return Err(RecordError("block references are out of order"));
                    }
                    last_block = Some(id);
                    let block = self.block(id, &mut at, &mut locator)?;
                    payload +=
                        block.image.map_or(0, |i| usize::from(i.len)) + usize::from(block.data_len);
                    if keep {
                        out.blocks.push(block);
                    }
                }
                _ => return Err(RecordError("an unknown block reference id")),
            }
        }
        if bytes.len().saturating_sub(at) != payload {
            return Err(SHORT);
        }
        let mut data = at;
        for block in &mut out.blocks {
            block.image_at = data;
            data += block.image.map_or(0, |i| usize::from(i.len));
            block.data_at = data;
            data += usize::from(block.data_len);
        }
        out.main = bytes.len() - main_len..bytes.len();
        Ok(())
    }

    fn block(
        &self,
        id: u8,
        at: &mut usize,
        locator: &mut Option<(u32, u32, u32)>,
    ) -> Result<BlockRef, RecordError> {
        let bytes = self.bytes;
        let flags = *bytes.get(*at).ok_or(SHORT)?;
        let data_len = u16_at(bytes, *at + 1).ok_or(SHORT)?;
        *at += 3;
        if (flags & 0x20 != 0) != (data_len > 0) {
            return Err(RecordError(
                "a block reference contradicts itself about its data",
            ));
        }
        let image = if flags & 0x10 != 0 {
            let len = u16_at(bytes, *at).ok_or(SHORT)?;
            let hole_offset = u16_at(bytes, *at + 2).ok_or(SHORT)?;
            let info = *bytes.get(*at + 4).ok_or(SHORT)?;
            *at += 5;
            let has_hole = info & 0x01 != 0;
            let compressed = Version::of_major(self.major).image_is_compressed(info);
            let hole_len = if compressed && has_hole {
                let len = u16_at(bytes, *at).ok_or(SHORT)?;
                *at += 2;
                len
            } else if compressed {
                0
            } else {
                (PAGE_SIZE as u16).saturating_sub(len)
            };
            let sane = match (has_hole, compressed) {
                (true, _) => hole_offset > 0 && hole_len > 0 && usize::from(len) < PAGE_SIZE,
                (false, true) => hole_offset == 0 && usize::from(len) < PAGE_SIZE,
                (false, false) => hole_offset == 0 && usize::from(len) == PAGE_SIZE,
            };
            if !sane {
                return Err(RecordError("a page image contradicts itself"));
            }
            Some(BlockImage {
                len,
                hole_offset,
                hole_len,
                info,
                compressed,
            })
        } else {
            None
        };
        if flags & 0x80 == 0 {
            let part = |n: usize| u32_at(bytes, *at + n).ok_or(SHORT);
            *locator = Some((part(0)?, part(4)?, part(8)?));
            *at += 12;
        }
        let (tablespace, database, relation) =
            locator.ok_or(RecordError("a block reference names no relation"))?;
        let block = u32_at(bytes, *at).ok_or(SHORT)?;
        *at += 4;
        Ok(BlockRef {
            id,
            fork: flags & 0x0F,
            will_init: flags & 0x40 != 0,
            tablespace,
            database,
            relation,
            block,
            image,
            data_len,
            image_at: 0,
            data_at: 0,
        })
    }
}

const SHORT: RecordError = RecordError("its parts do not add up to its length");

/// A page image inside a record; not decompressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockImage {
    pub len: u16,
    pub hole_offset: u16,
    pub hole_len: u16,
    /// `bimg_info`; its bits changed in 15.
    pub info: u8,
    pub compressed: bool,
}

/// A reference to one page of one relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockRef {
    pub id: u8,
    /// 0 main, 1 free space map, 2 visibility map, 3 init.
    pub fork: u8,
    pub will_init: bool,
    pub tablespace: u32,
    pub database: u32,
    /// The file number, which is not the OID once the table was rewritten.
    pub relation: u32,
    pub block: u32,
    pub image: Option<BlockImage>,
    pub data_len: u16,
    image_at: usize,
    data_at: usize,
}

impl BlockRef {
    /// The bytes stored for this block besides an image.
    pub fn data<'a>(&self, record: &Record<'a>) -> &'a [u8] {
        let end = self.data_at + usize::from(self.data_len);
        record.bytes.get(self.data_at..end).unwrap_or_default()
    }

    /// The stored bytes of the page image, hole left out, perhaps compressed.
    pub fn image_bytes<'a>(&self, record: &Record<'a>) -> &'a [u8] {
        let len = self.image.map_or(0, |i| usize::from(i.len));
        record
            .bytes
            .get(self.image_at..self.image_at + len)
            .unwrap_or_default()
    }
}

/// A record taken apart; reuse one for many records.
#[derive(Debug, Clone, Default)]
pub struct Decoded {
    pub blocks: Vec<BlockRef>,
    /// The replication origin.
    pub origin: Option<u16>,
    /// The top-level transaction, written at `wal_level=logical` (14+).
    pub top_xid: Option<u32>,
    main: std::ops::Range<usize>,
}

impl Decoded {
    pub fn main_data<'a>(&self, record: &Record<'a>) -> &'a [u8] {
        record.bytes.get(self.main.clone()).unwrap_or_default()
    }
}
