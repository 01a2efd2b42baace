//! Full-page images out of records: unpacked, with the hole put back.

use super::pglz;
use crate::wal::version::Version;
use crate::wal::{BlockRef, PAGE_SIZE, Record};

/// The page as it was; `None` when there is no image or it does not unpack.
pub(super) fn page(record: &Record<'_>, block: &BlockRef) -> Option<Vec<u8>> {
    let image = block.image?;
    let stored = block.image_bytes(record);
    let hole = usize::from(image.hole_len);
    let length = PAGE_SIZE.checked_sub(hole)?;
    let version = Version::of_major(record.major);
    let flag = |bit: u8| bit != 0 && image.info & bit != 0;
    let mut bytes = if flag(version.image_pglz) {
        pglz::unpack(stored, length)?
    } else if flag(version.image_lz4) {
        lz4_flex::block::decompress(stored, length).ok()?
    } else if flag(version.image_zstd) {
        zstd::bulk::decompress(stored, length).ok()?
    } else {
        stored.to_vec()
    };
    if bytes.len() != length {
        return None;
    }
    let at = usize::from(image.hole_offset);
    if hole > 0 {
        if at > bytes.len() {
            return None;
        }
        bytes.splice(at..at, std::iter::repeat_n(0, hole));
    }
    Some(bytes)
}
