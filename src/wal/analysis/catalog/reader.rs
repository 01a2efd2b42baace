//! Follows the rows of the naming catalogs through page images and heap records.
//!
//! An UPDATE may store only what differs from the old row, so the rows seen so far are kept by
//! page and offset.

use std::collections::HashMap;

use super::heap::{TUPLE_HEADER, tuples};
use super::image;
use super::names::{Catalog, Names, Refiled, Undo};
use super::rows::Row;
use crate::wal::page::{u16_at, u32_at};
use crate::wal::record::{RMGR_HEAP, RMGR_HEAP2};
use crate::wal::{BlockRef, Decoded, Record, RecordError};

const INSERT: u8 = 0x00;
const DELETE: u8 = 0x10;
const UPDATE: u8 = 0x20;
const HOT_UPDATE: u8 = 0x40;
const INPLACE: u8 = 0x70;
const MULTI_INSERT: u8 = 0x50;
const INIT_PAGE: u8 = 0x80;
const MAP_MAGIC: u32 = 0x0059_2717;

/// Where a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Place {
    database: u32,
    file: u32,
    block: u32,
    offset: u16,
}

impl Place {
    fn of(block: &BlockRef, offset: u16) -> Place {
        Place {
            database: block.database,
            file: block.relation,
            block: block.block,
            offset,
        }
    }
}

/// What a record told beyond names.
#[derive(Debug, Default)]
pub(in crate::wal) struct Told {
    pub undo: Vec<Undo>,
    pub refiled: Vec<Refiled>,
    /// OIDs of relations whose row was inserted: they did not exist before.
    pub born: Vec<u32>,
    /// A row that was deleted.
    pub deleted: Option<Row>,
    /// DROP DATABASE made this database invalid, outside any transaction.
    pub dying_database: Option<u32>,
    /// A catalog lives in a file that was not known to hold one.
    pub catalog_moved: bool,
}

/// Names, and the rows they came from.
#[derive(Debug, Default)]
pub(in crate::wal) struct CatalogReader {
    pub names: Names,
    rows: HashMap<Place, Box<[u8]>>,
    decoded: Decoded,
}

impl CatalogReader {
    /// A relation map was rewritten: mapped catalogs may have moved. True when one did.
    pub fn map(&mut self, record: &Record<'_>) -> Result<bool, RecordError> {
        let data = record.main_data()?;
        let short = RecordError("a relation map record is too short");
        let database = u32_at(data, 0).ok_or(short)?;
        Ok(self.read_map(database, data.get(12..).ok_or(short)?))
    }

    /// The contents of a `pg_filenode.map`.
    pub fn read_map(&mut self, database: u32, map: &[u8]) -> bool {
        if u32_at(map, 0) != Some(MAP_MAGIC) {
            return false;
        }
        let count = u32_at(map, 4).unwrap_or(0) as usize;
        let mut moved = false;
        for at in (0..count.min(64)).map(|n| 8 + n * 8) {
            let (Some(oid), Some(number)) = (u32_at(map, at), u32_at(map, at + 4)) else {
                break;
            };
            moved |= self.names.moved(database, oid, number);
        }
        moved
    }

    /// Reads a record that refers to a page of a naming catalog.
    pub fn apply(&mut self, record: &Record<'_>) -> Result<Told, RecordError> {
        let mut decoded = std::mem::take(&mut self.decoded);
        let result = record.decode(&mut decoded);
        let mut told = Told::default();
        if result.is_ok() {
            self.blocks(record, &decoded, &mut told);
        }
        self.decoded = decoded;
        result.map(|()| told)
    }

    fn blocks(&mut self, record: &Record<'_>, decoded: &Decoded, told: &mut Told) {
        let wanted = |block: &&BlockRef| block.fork == 0;
        for block in decoded.blocks.iter().filter(wanted) {
            if let Some(catalog) = self.names.catalog(block.database, block.relation)
                && let Some(page) = image::page(record, block)
            {
                let major = record.major;
                self.page(
                    catalog,
                    major,
                    &page,
                    Place::of(block, 0),
                    record.header.xid,
                    told,
                );
            }
        }
        let Some(block) = decoded.blocks.first().filter(wanted) else {
            return;
        };
        let Some(catalog) = self.names.catalog(block.database, block.relation) else {
            return;
        };
        let main = decoded.main_data(record);
        match (record.header.rmgr, record.header.info & 0x70) {
            (RMGR_HEAP, INSERT) if block.image.is_some() => {
                let offset = u16_at(main, 0).unwrap_or(0);
                self.born(catalog, record.major, Place::of(block, offset), told);
            }
            (RMGR_HEAP, INSERT) => self.insert(record, catalog, block, main, told),
            (RMGR_HEAP2, MULTI_INSERT) => self.multi_insert(record, catalog, block, main, told),
            (RMGR_HEAP, UPDATE | HOT_UPDATE) => {
                let old = decoded.blocks.get(1).unwrap_or(block);
                self.update(record, catalog, (block, old), main, told);
            }
            (RMGR_HEAP, DELETE) => {
                told.deleted = u16_at(main, 4)
                    .and_then(|offset| self.rows.get(&Place::of(block, offset)))
                    .and_then(|data| Row::parse(catalog, record.major, data));
            }
            (RMGR_HEAP, INPLACE) => self.inplace(record, catalog, block, main, told),
            _ => {}
        }
    }

    /// Learns every row of a page; those that are no longer current first.
    pub fn page(
        &mut self,
        catalog: Catalog,
        major: u16,
        page: &[u8],
        place: impl Into<PageOf>,
        xid: u32,
        told: &mut Told,
    ) {
        let place: PageOf = place.into();
        for current in [false, true] {
            for tuple in tuples(page).filter(|tuple| tuple.current == current) {
                let by = (tuple.xmin == xid && xid != 0).then_some(xid);
                let place = place.at(tuple.offset);
                self.row(
                    catalog,
                    major,
                    place,
                    tuple.data,
                    (by.is_some(), current),
                    told,
                );
            }
        }
    }

    /// Keeps and learns one row; `mine`: written by the transaction of the record at hand.
    fn row(
        &mut self,
        catalog: Catalog,
        major: u16,
        place: Place,
        data: &[u8],
        (mine, current): (bool, bool),
        told: &mut Told,
    ) {
        let Some(row) = Row::parse(catalog, major, data) else {
            return;
        };
        self.rows.insert(place, data.into());
        let learned = self.names.learn(place.database, row, current);
        if mine {
            told.undo.extend(learned.undo);
            told.refiled.extend(learned.refiled);
        }
        told.catalog_moved |= learned.catalog_moved;
    }

    fn insert(
        &mut self,
        record: &Record<'_>,
        catalog: Catalog,
        block: &BlockRef,
        main: &[u8],
        told: &mut Told,
    ) {
        let data = block.data(record);
        let columns = data
            .get(4)
            .map(|start| usize::from(*start))
            .and_then(|start| data.get(5 + start.checked_sub(TUPLE_HEADER)?..));
        if let (Some(offset), Some(columns)) = (u16_at(main, 0), columns) {
            let place = Place::of(block, offset);
            self.row(catalog, record.major, place, columns, (true, true), told);
            self.born(catalog, record.major, place, told);
        }
    }

    /// The row at `place` is new.
    fn born(&self, catalog: Catalog, major: u16, place: Place, told: &mut Told) {
        let row = self.rows.get(&place);
        if let Some(Row::Class(row)) = row.and_then(|data| Row::parse(catalog, major, data)) {
            told.born.push(row.oid);
        }
    }

    fn multi_insert(
        &mut self,
        record: &Record<'_>,
        catalog: Catalog,
        block: &BlockRef,
        main: &[u8],
        told: &mut Told,
    ) {
        let data = block.data(record);
        let count = usize::from(u16_at(main, 2).unwrap_or(0));
        let init = record.header.info & INIT_PAGE != 0;
        let mut at = 0usize;
        for index in 0..count {
            // Each is two-byte aligned: length, two masks, where the columns begin, the tuple.
            at = at.next_multiple_of(2);
            let (Some(len), Some(start)) = (u16_at(data, at), data.get(at + 6)) else {
                return;
            };
            let body = at + 7;
            let end = body + usize::from(len);
            let columns = usize::from(*start)
                .checked_sub(TUPLE_HEADER)
                .and_then(|skip| data.get(body + skip..end));
            let offset = match init {
                true => Some(index as u16 + 1),
                false => u16_at(main, 4 + index * 2),
            };
            let (Some(columns), Some(offset)) = (columns, offset) else {
                return;
            };
            let place = Place::of(block, offset);
            self.row(catalog, record.major, place, columns, (true, true), told);
            self.born(catalog, record.major, place, told);
            at = end;
        }
    }

    fn update(
        &mut self,
        record: &Record<'_>,
        catalog: Catalog,
        (new, old): (&BlockRef, &BlockRef),
        main: &[u8],
        told: &mut Told,
    ) {
        let (Some(old_offset), Some(flags), Some(new_offset)) =
            (u16_at(main, 4), main.get(7).copied(), u16_at(main, 12))
        else {
            return;
        };
        let before = self.rows.get(&Place::of(old, old_offset));
        let columns = updated(new.data(record), flags, before.map(|row| &**row));
        if let Some(columns) = columns {
            let place = Place::of(new, new_offset);
            self.row(catalog, record.major, place, &columns, (true, true), told);
        }
    }

    /// An update that changes the row where it is, outside any transaction.
    fn inplace(
        &mut self,
        record: &Record<'_>,
        catalog: Catalog,
        block: &BlockRef,
        main: &[u8],
        told: &mut Told,
    ) {
        let Some(place) = u16_at(main, 0).map(|offset| Place::of(block, offset)) else {
            return;
        };
        let data = block.data(record);
        if !data.is_empty() {
            self.row(catalog, record.major, place, data, (false, true), told);
        }
        let row = self
            .rows
            .get(&place)
            .and_then(|data| Row::parse(catalog, record.major, data));
        if let Some(Row::Database {
            oid, invalid: true, ..
        }) = row
        {
            told.dying_database = Some(oid);
        }
    }
}

/// A page without an offset.
#[derive(Debug, Clone, Copy)]
pub(in crate::wal) struct PageOf {
    pub database: u32,
    pub file: u32,
    pub block: u32,
}

impl PageOf {
    fn at(self, offset: u16) -> Place {
        Place {
            database: self.database,
            file: self.file,
            block: self.block,
            offset,
        }
    }
}

impl From<Place> for PageOf {
    fn from(place: Place) -> Self {
        PageOf {
            database: place.database,
            file: place.file,
            block: place.block,
        }
    }
}

/// The columns of the new row of an UPDATE (`heap_xlog_update`).
fn updated(data: &[u8], flags: u8, before: Option<&[u8]>) -> Option<Vec<u8>> {
    const PREFIX: u8 = 0x20;
    const SUFFIX: u8 = 0x40;
    let mut at = 0;
    let mut length = |flag: u8| -> Option<usize> {
        if flags & flag == 0 {
            return Some(0);
        }
        at += 2;
        u16_at(data, at - 2).map(usize::from)
    };
    let (prefix, suffix) = (length(PREFIX)?, length(SUFFIX)?);
    let start = usize::from(*data.get(at + 4)?);
    let middle = data.get(at + 5 + start.checked_sub(TUPLE_HEADER)?..)?;
    if prefix == 0 && suffix == 0 {
        return Some(middle.to_vec());
    }
    let before = before?;
    let mut columns = before.get(..prefix)?.to_vec();
    columns.extend_from_slice(middle);
    columns.extend_from_slice(before.get(before.len().checked_sub(suffix)?..)?);
    Some(columns)
}
