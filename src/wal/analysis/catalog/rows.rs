//! Rows of the three catalogs that name things (`pg_class`, `pg_namespace`, `pg_database`), parsed
//! from the user data of a heap tuple.

use super::names::Catalog;
use super::relation::RelationKind;
use crate::wal::page::u32_at;
use crate::wal::version::Version;

const NAME: usize = 64;

/// A row of `pg_class`.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::wal) struct ClassRow {
    pub oid: u32,
    pub name: String,
    pub schema: u32,
    /// 0 for catalogs whose file a relation map names.
    pub filenode: u32,
    pub kind: Option<RelationKind>,
    pub unlogged: bool,
    pub temporary: bool,
    pub rows: f32,
}

/// A row that names something.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::wal) enum Row {
    Class(ClassRow),
    Namespace {
        oid: u32,
        name: String,
    },
    Database {
        oid: u32,
        name: String,
        /// DROP DATABASE has begun: nobody can connect any more.
        invalid: bool,
    },
}

impl Row {
    /// `None` when the bytes cannot be such a row.
    pub fn parse(catalog: Catalog, major: u16, data: &[u8]) -> Option<Row> {
        let version = Version::of_major(major);
        let oid = u32_at(data, 0).filter(|oid| *oid != 0)?;
        let name = name(data)?;
        Some(match catalog {
            Catalog::Namespace => Row::Namespace { oid, name },
            Catalog::Database => Row::Database {
                oid,
                name,
                invalid: u32_at(data, version.connection_limit)? as i32 == -2,
            },
            Catalog::Class => {
                let shift = version.class_shift;
                let persistence = *data.get(114 + shift)?;
                if !matches!(persistence, b'p' | b'u' | b't') {
                    return None;
                }
                Row::Class(ClassRow {
                    oid,
                    name,
                    schema: u32_at(data, 68)?,
                    filenode: u32_at(data, 88)?,
                    kind: RelationKind::parse(*data.get(115 + shift)?),
                    unlogged: persistence == b'u',
                    temporary: persistence == b't',
                    rows: f32::from_bits(u32_at(data, 100)?),
                })
            }
        })
    }
}

/// A `name` column: NUL-padded, never empty.
fn name(data: &[u8]) -> Option<String> {
    let raw = data.get(4..4 + NAME)?;
    let len = raw.iter().position(|byte| *byte == 0)?;
    if len == 0 || raw[len..].iter().any(|byte| *byte != 0) {
        return None;
    }
    Some(String::from_utf8_lossy(&raw[..len]).into_owned())
}
