//! A relation, as far as the WAL tells.

use std::fmt;

/// `pg_class.relkind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RelationKind {
    Table,
    Index,
    Sequence,
    Toast,
    View,
    MaterializedView,
    Composite,
    Foreign,
    Partitioned,
    PartitionedIndex,
}

impl RelationKind {
    pub fn parse(letter: u8) -> Option<RelationKind> {
        Some(match letter {
            b'r' => RelationKind::Table,
            b'i' => RelationKind::Index,
            b'S' => RelationKind::Sequence,
            b't' => RelationKind::Toast,
            b'v' => RelationKind::View,
            b'm' => RelationKind::MaterializedView,
            b'c' => RelationKind::Composite,
            b'f' => RelationKind::Foreign,
            b'p' => RelationKind::Partitioned,
            b'I' => RelationKind::PartitionedIndex,
            _ => return None,
        })
    }

    pub fn word(self) -> &'static str {
        match self {
            RelationKind::Table => "table",
            RelationKind::Index => "index",
            RelationKind::Sequence => "sequence",
            RelationKind::Toast => "toast table",
            RelationKind::View => "view",
            RelationKind::MaterializedView => "materialized view",
            RelationKind::Composite => "type",
            RelationKind::Foreign => "foreign table",
            RelationKind::Partitioned => "partitioned table",
            RelationKind::PartitionedIndex => "partitioned index",
        }
    }
}

/// Identity and name of a relation; what is unknown is `None`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Relation {
    /// 0 for shared catalogs.
    pub database: u32,
    pub oid: Option<u32>,
    pub filenode: Option<u32>,
    pub schema: Option<String>,
    pub name: Option<String>,
    pub kind: Option<RelationKind>,
    /// `UNLOGGED`: its rows are in no WAL and in no base backup.
    pub unlogged: bool,
    /// `pg_class.reltuples`: the server's last estimate.
    pub estimated_rows: Option<f32>,
}

impl fmt::Display for Relation {
    /// `schema.name`, or what is known of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.schema, &self.name, self.oid, self.filenode) {
            (Some(schema), Some(name), ..) => write!(f, "{schema}.{name}"),
            (None, Some(name), ..) => f.write_str(name),
            (_, None, Some(oid), _) => write!(f, "oid {oid}"),
            (_, None, None, Some(number)) => write!(f, "file {number}"),
            _ => f.write_str("unknown"),
        }
    }
}
