//! The dictionary: what OIDs and file numbers are called.

use std::collections::HashMap;
use std::sync::Arc;

use super::relation::{Relation, RelationKind};
use super::rows::{ClassRow, Row};
use crate::wal::analysis::FileNode;

const PG_CLASS: u32 = 1259;
const PG_DATABASE: u32 = 1262;
const PG_NAMESPACE: u32 = 2615;

/// Schemas that `initdb` makes.
const BUILT_IN: [(u32, &str); 3] = [(11, "pg_catalog"), (99, "pg_toast"), (2200, "public")];

/// Which catalog a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::wal) enum Catalog {
    Class,
    Database,
    Namespace,
}

impl Catalog {
    fn of_oid(oid: u32) -> Option<Catalog> {
        match oid {
            PG_CLASS => Some(Catalog::Class),
            PG_DATABASE => Some(Catalog::Database),
            PG_NAMESPACE => Some(Catalog::Namespace),
            _ => None,
        }
    }
}

#[derive(Debug, Clone)]
struct Entry {
    name: Arc<str>,
    schema: u32,
    filenode: u32,
    kind: Option<RelationKind>,
    unlogged: bool,
    rows: f32,
}

/// Takes back what an aborted transaction taught.
#[derive(Debug)]
pub(in crate::wal) struct Undo {
    key: (u32, u32),
    before: Option<Entry>,
}

/// A relation whose file changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::wal) struct Refiled {
    pub oid: u32,
    pub before: Option<u32>,
    pub after: u32,
}

/// Names of databases, schemas and relations.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// By database and OID.
    relations: HashMap<(u32, u32), Entry>,
    /// By database and file number, past ones included.
    files: HashMap<(u32, u32), u32>,
    schemas: HashMap<(u32, u32), Arc<str>>,
    databases: HashMap<u32, Arc<str>>,
    /// Catalogs whose file is no longer the one `initdb` gave them.
    moved: HashMap<(u32, u32), Catalog>,
}

impl Names {
    /// The name of a database.
    pub fn database(&self, oid: u32) -> Option<&str> {
        self.databases.get(&oid).map(|name| &**name)
    }

    /// The OID of a database with this name.
    pub fn database_oid(&self, name: &str) -> Option<u32> {
        self.databases
            .iter()
            .find(|(_, known)| &***known == name)
            .map(|(oid, _)| *oid)
    }

    /// The name of a schema.
    pub fn schema(&self, database: u32, oid: u32) -> Option<&str> {
        let built_in = || BUILT_IN.iter().find(|(known, _)| *known == oid);
        self.schemas
            .get(&(database, oid))
            .map(|name| &**name)
            .or_else(|| built_in().map(|(_, name)| *name))
    }

    /// The relation with this OID; only the numbers are filled in when nothing else is known.
    pub fn relation(&self, database: u32, oid: u32) -> Relation {
        match self.relations.get(&(database, oid)) {
            Some(entry) => Relation {
                database,
                oid: Some(oid),
                filenode: Some(entry.filenode).filter(|number| *number != 0),
                schema: self.schema(database, entry.schema).map(str::to_string),
                name: Some(entry.name.to_string()),
                kind: entry.kind,
                unlogged: entry.unlogged,
                // -1 (14+) or 0 (before): never counted.
                estimated_rows: Some(entry.rows).filter(|rows| *rows > 0.0),
            },
            None => Relation {
                database,
                oid: Some(oid),
                ..Relation::default()
            },
        }
    }

    /// The relation a file belongs or belonged to.
    pub fn of_file(&self, file: FileNode) -> Relation {
        match self.oid_of(file.database, file.number) {
            Some(oid) => Relation {
                filenode: Some(file.number),
                ..self.relation(file.database, oid)
            },
            None => Relation {
                database: file.database,
                filenode: Some(file.number),
                ..Relation::default()
            },
        }
    }

    /// How many relations have a name.
    pub fn len(&self) -> usize {
        self.relations.len()
    }

    pub fn is_empty(&self) -> bool {
        self.relations.is_empty()
    }

    pub(in crate::wal) fn oid_of(&self, database: u32, number: u32) -> Option<u32> {
        self.files.get(&(database, number)).copied()
    }

    pub(in crate::wal) fn kind(&self, database: u32, oid: u32) -> Option<RelationKind> {
        self.relations.get(&(database, oid))?.kind
    }

    /// Which catalog a file holds, if it is one that names things.
    pub(in crate::wal) fn catalog(&self, database: u32, number: u32) -> Option<Catalog> {
        self.moved
            .get(&(database, number))
            .copied()
            .or_else(|| Catalog::of_oid(number))
    }

    /// A catalog has moved to another file.
    pub(in crate::wal) fn moved(&mut self, database: u32, oid: u32, number: u32) -> bool {
        match Catalog::of_oid(oid) {
            Some(catalog) if number != oid => {
                self.moved.insert((database, number), catalog).is_none()
            }
            _ => false,
        }
    }

    /// The files of catalogs that have moved.
    pub(in crate::wal) fn moved_files(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.moved.keys().copied()
    }

    /// What is known about the template is known about its copy.
    pub(in crate::wal) fn copy_database(&mut self, from: u32, to: u32) {
        fn copy<V: Clone>(map: &mut HashMap<(u32, u32), V>, from: u32, to: u32) {
            let copied: Vec<_> = map
                .iter()
                .filter(|((database, _), _)| *database == from)
                .map(|((_, key), value)| ((to, *key), value.clone()))
                .collect();
            map.extend(copied);
        }
        copy(&mut self.relations, from, to);
        copy(&mut self.files, from, to);
        copy(&mut self.schemas, from, to);
        copy(&mut self.moved, from, to);
    }

    /// Learns a row of a catalog. A row that is no longer the current version only fills gaps.
    pub(in crate::wal) fn learn(&mut self, database: u32, row: Row, current: bool) -> Learned {
        match row {
            Row::Class(class) => self.learn_class(database, class, current),
            Row::Namespace { oid, name } => {
                if current || !self.schemas.contains_key(&(database, oid)) {
                    self.schemas.insert((database, oid), name.into());
                }
                Learned::default()
            }
            Row::Database { oid, name, .. } => {
                if current || !self.databases.contains_key(&oid) {
                    self.databases.insert(oid, name.into());
                }
                Learned::default()
            }
        }
    }

    fn learn_class(&mut self, database: u32, row: ClassRow, current: bool) -> Learned {
        let key = (database, row.oid);
        let filenode = row.filenode;
        if row.filenode != 0 {
            self.files.insert((database, row.filenode), row.oid);
        }
        let known = self.relations.get(&key);
        if !current && known.is_some() {
            return Learned::default();
        }
        let before = known.map(|entry| entry.filenode);
        let refiled =
            (current && row.filenode != 0 && before != Some(row.filenode)).then_some(Refiled {
                oid: row.oid,
                before,
                after: row.filenode,
            });
        let same = known.is_some_and(|entry| {
            *entry.name == *row.name && entry.schema == row.schema && entry.filenode == row.filenode
        });
        let entry = Entry {
            name: match known {
                Some(entry) if *entry.name == *row.name => entry.name.clone(),
                _ => row.name.into(),
            },
            schema: row.schema,
            filenode: row.filenode,
            kind: row.kind,
            unlogged: row.unlogged,
            rows: row.rows,
        };
        let before = self.relations.insert(key, entry);
        let catalog_moved = current
            && key.1 == PG_NAMESPACE
            && filenode != 0
            && self.moved(database, key.1, filenode);
        Learned {
            undo: (!same).then_some(Undo { key, before }),
            refiled,
            catalog_moved,
        }
    }

    /// Takes back what an aborted transaction taught, newest first.
    pub(in crate::wal) fn undo(&mut self, undo: Vec<Undo>) {
        for Undo { key, before } in undo.into_iter().rev() {
            // A relation that was created and rolled back keeps its name: nothing contradicts it.
            if let Some(before) = before {
                self.relations.insert(key, before);
            }
        }
    }
}

/// What one row changed.
#[derive(Debug, Default)]
pub(in crate::wal) struct Learned {
    pub undo: Option<Undo>,
    pub refiled: Option<Refiled>,
    /// A catalog lives in another file from now on.
    pub catalog_moved: bool,
}
