//! Heap pages and tuples (`storage/bufpage.h`, `access/htup_details.h`).

use crate::wal::PAGE_SIZE;
use crate::wal::page::{u16_at, u32_at};

/// The fixed part of a tuple header, in front of the null bitmap.
pub(super) const TUPLE_HEADER: usize = 23;

const PAGE_HEADER: usize = 24;
const XMAX_LOCK_ONLY: u16 = 0x0080;
const XMIN_COMMITTED: u16 = 0x0100;
const XMIN_INVALID: u16 = 0x0200;
const XMAX_INVALID: u16 = 0x0800;

/// A tuple on a page.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tuple<'p> {
    pub offset: u16,
    pub xmin: u32,
    /// Nobody has replaced or deleted it, as far as the page itself says.
    pub current: bool,
    /// The columns.
    pub data: &'p [u8],
}

/// The tuples of a page. A torn page, as a base backup may hold, yields what makes sense.
pub(super) fn tuples(page: &[u8]) -> impl Iterator<Item = Tuple<'_>> {
    let lower = u16_at(page, 12).map_or(0, usize::from).min(PAGE_SIZE);
    let count = lower.saturating_sub(PAGE_HEADER) / 4;
    (0..count).filter_map(move |index| {
        let pointer = u32_at(page, PAGE_HEADER + index * 4)?;
        let (at, flags, len) = (
            (pointer & 0x7FFF) as usize,
            pointer >> 15 & 3,
            (pointer >> 17) as usize,
        );
        const NORMAL: u32 = 1;
        if flags != NORMAL {
            return None;
        }
        tuple(index as u16 + 1, page.get(at..at + len)?)
    })
}

fn tuple(offset: u16, bytes: &[u8]) -> Option<Tuple<'_>> {
    let mask = u16_at(bytes, 20)?;
    let start = usize::from(*bytes.get(22)?);
    if start < TUPLE_HEADER {
        return None;
    }
    let xmax = u32_at(bytes, 4)?;
    let gone = xmax != 0 && mask & (XMAX_INVALID | XMAX_LOCK_ONLY) == 0;
    let never = mask & (XMIN_INVALID | XMIN_COMMITTED) == XMIN_INVALID;
    Some(Tuple {
        offset,
        xmin: u32_at(bytes, 0)?,
        current: !gone && !never,
        data: bytes.get(start..)?,
    })
}
