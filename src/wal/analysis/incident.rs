//! A transaction that destroyed data, and how to get it back.

use std::fmt;

use super::{BackupSpan, Relation, Rows};
use crate::wal::{Lsn, Xact};

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IncidentKind {
    Truncate,
    DropTable,
    DropIndex,
    DropMaterializedView,
    DropSequence,
    /// Objects without storage: views, partitioned parents, foreign tables.
    DropOther,
    DropSchema,
    DropDatabase,
    MassDelete,
    MassUpdate,
    /// VACUUM FULL, CLUSTER, REFRESH, ALTER: new file, same data.
    Rewrite,
    /// REINDEX, or a sequence restarted.
    Rebuild,
    /// Another tablespace.
    Move,
    /// Any other DDL on an existing relation.
    OtherDdl,
}

impl IncidentKind {
    pub const ALL: [IncidentKind; 14] = [
        IncidentKind::Truncate,
        IncidentKind::DropTable,
        IncidentKind::DropIndex,
        IncidentKind::DropMaterializedView,
        IncidentKind::DropSequence,
        IncidentKind::DropOther,
        IncidentKind::DropSchema,
        IncidentKind::DropDatabase,
        IncidentKind::MassDelete,
        IncidentKind::MassUpdate,
        IncidentKind::Rewrite,
        IncidentKind::Rebuild,
        IncidentKind::Move,
        IncidentKind::OtherDdl,
    ];

    /// A stable word: what the command line and Lua call it.
    pub fn word(self) -> &'static str {
        match self {
            IncidentKind::Truncate => "truncate",
            IncidentKind::DropTable => "drop_table",
            IncidentKind::DropIndex => "drop_index",
            IncidentKind::DropMaterializedView => "drop_matview",
            IncidentKind::DropSequence => "drop_sequence",
            IncidentKind::DropOther => "drop_other",
            IncidentKind::DropSchema => "drop_schema",
            IncidentKind::DropDatabase => "drop_database",
            IncidentKind::MassDelete => "delete",
            IncidentKind::MassUpdate => "update",
            IncidentKind::Rewrite => "rewrite",
            IncidentKind::Rebuild => "rebuild",
            IncidentKind::Move => "move",
            IncidentKind::OtherDdl => "ddl",
        }
    }

    /// The kind with this [`word`](IncidentKind::word).
    pub fn parse(word: &str) -> Option<IncidentKind> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// Nothing was lost.
    pub fn is_harmless(self) -> bool {
        matches!(
            self,
            IncidentKind::Rewrite
                | IncidentKind::Rebuild
                | IncidentKind::Move
                | IncidentKind::OtherDdl
        )
    }
}

impl fmt::Display for IncidentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A relation an incident hit.
#[derive(Debug, Clone, PartialEq)]
pub struct LostRelation {
    pub relation: Relation,
    /// What the transaction did to its rows, record by record; TRUNCATE and DROP count none.
    pub rows: Rows,
}

/// Where to recover to so that the incident never happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// `recovery_target_lsn`, to be used with `recovery_target_inclusive = off`.
    pub lsn: Lsn,
    /// `recovery_target_timeline`, as a number: `latest` may follow another branch.
    pub timeline: u32,
    /// The same stop as `recovery_target_xid`, exclusive; `None` when an xid would be too late.
    pub xid: Option<u32>,
    /// Unix microseconds for `recovery_target_time`, exclusive; `None` when the commit order
    /// makes no time exact.
    pub time: Option<i64>,
    /// With `recovery_target_action = pause` queries on the lost relation hang behind the lock of
    /// the transaction that is stopped; this earlier target leaves it readable. `None` when
    /// other transactions committed in between, which it would lose: promote instead.
    pub pause_lsn: Option<Lsn>,
}

/// One kind of destruction by one transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct Incident {
    pub kind: IncidentKind,
    pub relations: Vec<LostRelation>,
    /// Names of the schemas that were dropped with it.
    pub schemas: Vec<String>,
    pub database: Option<u32>,
    pub database_name: Option<String>,
    /// The transaction that did it: xid, time, start and end of its commit record, timeline.
    pub xact: Xact,
    /// The transaction's first record.
    pub first_lsn: Lsn,
    /// `TRUNCATE ... CASCADE`: known at `wal_level = logical` only.
    pub cascade: Option<bool>,
    /// Rows over all relations.
    pub rows: Rows,
    pub target: Proposal,
    /// The newest base backup in this WAL that can reach the target.
    pub backup: Option<BackupSpan>,
    /// The last commit the target keeps.
    pub last_kept: Option<Xact>,
    /// The first commit after the incident, which the target gives up; filled in at the end of
    /// the pass.
    pub first_lost: Option<Xact>,
    /// Commits before the target since the pass began.
    pub commits_kept: u64,
    /// Commits behind the incident (not counting it), up to the end of the WAL; filled in at the
    /// end of the pass.
    pub commits_lost: u64,
    /// Commits of others between the incident's first record and its end.
    pub commits_during: u64,
    /// What else is worth knowing, in sentences.
    pub notes: Vec<String>,
}

impl Incident {
    /// Qualified names of the relations, or of the database.
    pub fn names(&self) -> Vec<String> {
        if self.kind == IncidentKind::DropDatabase {
            return self.database_name.clone().into_iter().collect();
        }
        self.relations
            .iter()
            .map(|lost| lost.relation.to_string())
            .collect()
    }
}
