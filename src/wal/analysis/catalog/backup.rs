//! Names out of a base backup's files, without a server.

use std::fs;
use std::io::Read;
use std::path::Path;

use super::names::{Catalog, Names};
use super::reader::{CatalogReader, PageOf, Told};
use crate::wal::version::Version;
use crate::wal::{Error, PAGE_SIZE};

impl Names {
    /// Reads the catalogs of a base backup (or a stopped server's data directory) in plain format.
    /// A running server's pages may be torn: what makes no sense is left out.
    pub fn from_backup(data: &Path) -> Result<Names, Error> {
        Ok(catalogs(data)?.names)
    }
}

/// The same with the rows, to follow updates from there.
pub(in crate::wal) fn catalogs(data: &Path) -> Result<CatalogReader, Error> {
    let path = data.join("PG_VERSION");
    let text = fs::read_to_string(&path).map_err(|e| Error::io("read", &path, e))?;
    let major = text.trim().parse().unwrap_or(0);
    let mut reader = CatalogReader::default();
    database(&mut reader, major, 0, &data.join("global"))?;
    databases(&mut reader, major, &data.join("base"))?;
    let spaces = data.join("pg_tblspc");
    for space in entries(&spaces)? {
        for version in entries(&space).unwrap_or_default() {
            databases(&mut reader, major, &version)?;
        }
    }
    Ok(reader)
}

fn entries(dir: &Path) -> Result<Vec<std::path::PathBuf>, Error> {
    let list = fs::read_dir(dir).map_err(|e| Error::io("list", dir, e))?;
    Ok(list.flatten().map(|entry| entry.path()).collect())
}

fn databases(reader: &mut CatalogReader, major: u16, dir: &Path) -> Result<(), Error> {
    for path in entries(dir)? {
        let oid = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.parse().ok());
        if let Some(oid) = oid {
            database(reader, major, oid, &path)?;
        }
    }
    Ok(())
}

/// Database 0 stands for the shared catalogs.
fn database(reader: &mut CatalogReader, major: u16, oid: u32, dir: &Path) -> Result<(), Error> {
    let map = match fs::read(dir.join("pg_filenode.map")) {
        Ok(map) => map,
        // A directory without a map is no database: a tablespace may hold empty ones.
        Err(_) => return Ok(()),
    };
    let slots = Version::of_major(major).map_slots;
    if !map_is_whole(&map, slots) {
        return Ok(());
    }
    reader.read_map(oid, &map);
    let mapped = |catalog: u32| {
        (0..slots)
            .filter_map(|n| {
                let at = 8 + n * 8;
                let pair = map.get(at..at + 8)?;
                let word = |at| crate::wal::page::u32_at(pair, at);
                (word(0)? == catalog).then(|| word(4))?
            })
            .next()
            .unwrap_or(catalog)
    };
    if oid == 0 {
        return relation(reader, major, (oid, Catalog::Database), dir, mapped(1262));
    }
    relation(reader, major, (oid, Catalog::Class), dir, mapped(1259))?;
    let schemas = reader.names.relation(oid, 2615).filenode.unwrap_or(2615);
    relation(reader, major, (oid, Catalog::Namespace), dir, schemas)
}

fn map_is_whole(map: &[u8], slots: usize) -> bool {
    let at = 8 + 8 * slots;
    match (map.get(..at), crate::wal::page::u32_at(map, at)) {
        (Some(covered), Some(stored)) => crc32c::crc32c(covered) == stored,
        _ => false,
    }
}

/// Reads all pages of a relation, 1 GB file after file.
fn relation(
    reader: &mut CatalogReader,
    major: u16,
    (database, catalog): (u32, Catalog),
    dir: &Path,
    number: u32,
) -> Result<(), Error> {
    let mut page = vec![0u8; PAGE_SIZE];
    let mut block = 0;
    for part in 0.. {
        let path = match part {
            0 => dir.join(number.to_string()),
            n => dir.join(format!("{number}.{n}")),
        };
        let Ok(mut file) = fs::File::open(&path) else {
            break;
        };
        while file.read_exact(&mut page).is_ok() {
            let place = PageOf {
                database,
                file: number,
                block,
            };
            let mut told = Told::default();
            reader.page(catalog, major, &page, place, 0, &mut told);
            block += 1;
        }
    }
    Ok(())
}
