//! Tells destruction from maintenance by what a transaction did to files and catalogs.
//!
//! At `wal_level = replica` a TRUNCATE leaves no record of its own: it locks the table, gives it a
//! new file and removes the old one when it commits. So does everything that rewrites a table,
//! except that a rewrite goes through a transient table whose OID is the number of its file.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::catalog::{Names, Refiled, Relation, RelationKind, Row};
use super::incident::{IncidentKind, LostRelation};
use super::pending::{Ddl, Work};
use super::transaction::{FileNode, Rows};
use crate::wal::xact::Leavings;

/// Relations below this OID are the system's own.
const FIRST_USER_OID: u32 = 16384;
/// Smaller deletes are no incident, whatever share of a table they are.
const FEWEST_ROWS: u64 = 10;

/// From how many rows on a DELETE or UPDATE is an incident.
#[derive(Debug, Clone, Copy)]
pub(super) struct Thresholds {
    pub rows: u64,
    pub share: f64,
}

/// A verdict about one transaction: what kind of thing it did to which relations.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub relations: BTreeMap<IncidentOrder, Vec<LostRelation>>,
    pub schemas: Vec<String>,
    pub notes: Vec<String>,
}

/// Incidents of one transaction in a fixed order.
pub(super) type IncidentOrder = u8;

struct Judge<'a> {
    names: &'a Names,
    ddl: &'a Ddl,
    leavings: &'a Leavings,
    database: u32,
    created: HashSet<u32>,
    locked: HashSet<u32>,
    /// Relations that exist only inside the transaction: OID equals the number of a new file.
    transient: HashSet<u32>,
    findings: Findings,
}

/// Judges a committed transaction.
pub(super) fn judge(
    names: &Names,
    work: &Work,
    leavings: &Leavings,
    database: u32,
    thresholds: Thresholds,
) -> Findings {
    let none = Ddl::default();
    let ddl = work.ddl.as_deref().unwrap_or(&none);
    let created: HashSet<u32> = ddl.created.iter().map(|file| file.number).collect();
    let locked: HashSet<u32> = ddl.locks.iter().map(|(_, oid)| *oid).collect();
    let mut judge = Judge {
        names,
        ddl,
        leavings,
        database,
        transient: created.intersection(&locked).copied().collect(),
        created,
        locked,
        findings: Findings::default(),
    };
    let mut gone = BTreeSet::new();
    if work.ddl.is_some() || !leavings.files.is_empty() || !leavings.relations.is_empty() {
        gone = judge.dropped();
        judge.report_drops(&gone);
        judge.refiled(&gone);
        judge.unexplained(&gone);
        judge.other();
    }
    judge.rows(work, &gone, thresholds);
    judge.findings
}

impl Judge<'_> {
    fn add(&mut self, kind: IncidentKind, relation: Relation, rows: Rows) {
        if relation.unlogged && !kind.is_harmless() {
            self.findings.notes.push(format!(
                "{relation} is UNLOGGED: its rows are in no WAL and in no base backup"
            ));
        }
        self.findings
            .relations
            .entry(kind as IncidentOrder)
            .or_default()
            .push(LostRelation { relation, rows });
    }

    fn is_new(&self, oid: u32) -> bool {
        self.created.contains(&oid) || self.ddl.born.contains(&oid)
    }

    fn relation(&self, oid: u32) -> Relation {
        self.names.relation(self.database, oid)
    }

    fn kind(&self, oid: u32) -> Option<RelationKind> {
        self.names.kind(self.database, oid)
    }

    /// The relation a removed file belonged to.
    fn owner(&self, file: u32) -> u32 {
        self.names.oid_of(self.database, file).unwrap_or(file)
    }

    /// OIDs of relations that existed before and are gone.
    fn dropped(&self) -> BTreeSet<u32> {
        let mut gone = BTreeSet::new();
        for (_, row) in &self.ddl.deleted {
            if let Row::Class(row) = row
                && !row.temporary
            {
                gone.insert(row.oid);
            }
        }
        gone.extend(self.leavings.statistics.iter().map(|(_, oid)| *oid));
        if self.created.is_empty() {
            let files = self.leavings.files.iter();
            gone.extend(files.map(|(_, _, number)| self.owner(*number)));
        }
        gone.retain(|oid| !self.is_new(*oid));
        // Without a file nothing was stored; without a removed file it was a temporary one.
        let has_files = !self.leavings.files.is_empty();
        gone.retain(|oid| has_files || self.deleted_row(*oid));
        gone
    }

    fn deleted_row(&self, oid: u32) -> bool {
        self.ddl
            .deleted
            .iter()
            .any(|(_, row)| matches!(row, Row::Class(row) if row.oid == oid && !row.temporary))
    }

    fn report_drops(&mut self, gone: &BTreeSet<u32>) {
        use RelationKind::*;
        for (_, row) in &self.ddl.deleted {
            if let Row::Namespace { name, .. } = row
                && !name.starts_with("pg_temp_")
                && !name.starts_with("pg_toast_temp_")
            {
                self.findings.schemas.push(name.clone());
            }
        }
        let with_schema = !self.findings.schemas.is_empty();
        let table = |kind| matches!(kind, Some(Table | Partitioned | MaterializedView) | None);
        let tables = gone.iter().any(|oid| table(self.kind(*oid)));
        for &oid in gone {
            let relation = self.relation(oid);
            let kind = match relation.kind {
                Some(Toast | Composite) => continue,
                // What belongs to a table goes with it.
                Some(Index | PartitionedIndex | Sequence) if tables || with_schema => continue,
                Some(Index | PartitionedIndex) if is_leftover(&relation) => IncidentKind::Rebuild,
                // A rewrite drops the toast table it made on the way.
                Some(Index) if relation.schema.as_deref() == Some("pg_toast") => continue,
                Some(Index | PartitionedIndex) => IncidentKind::DropIndex,
                None if self.is_auxiliary(oid, gone) => continue,
                _ if with_schema => IncidentKind::DropSchema,
                Some(Sequence) => IncidentKind::DropSequence,
                Some(MaterializedView) => IncidentKind::DropMaterializedView,
                Some(View | Foreign) => IncidentKind::DropOther,
                Some(Table | Partitioned) | None => IncidentKind::DropTable,
            };
            self.add(kind, relation, Rows::default());
        }
        if with_schema {
            self.findings
                .relations
                .entry(IncidentKind::DropSchema as IncidentOrder)
                .or_default();
        }
    }

    /// A relation without a name beside others that have one: most likely an index or toast table
    /// of theirs.
    fn is_auxiliary(&self, oid: u32, gone: &BTreeSet<u32>) -> bool {
        self.kind(oid).is_none() && gone.iter().any(|other| self.kind(*other).is_some())
    }

    /// Relations that got another file, as their rows in `pg_class` say.
    fn refiled(&mut self, gone: &BTreeSet<u32>) {
        let mut last: BTreeMap<u32, Refiled> = BTreeMap::new();
        for (_, refiled) in &self.ddl.refiled {
            last.entry(refiled.oid)
                .and_modify(|known| known.after = refiled.after)
                .or_insert(*refiled);
        }
        for (oid, refiled) in last {
            if self.is_new(oid) || gone.contains(&oid) || self.leavings.files.is_empty() {
                continue;
            }
            let Some(kind) = self.refiled_as(&refiled) else {
                continue;
            };
            let relation = self.relation(oid);
            self.add(kind, relation, Rows::default());
        }
    }

    fn refiled_as(&self, refiled: &Refiled) -> Option<IncidentKind> {
        let kind = self.kind(refiled.oid);
        if matches!(kind, Some(RelationKind::Toast)) {
            return None;
        }
        if self.transient.contains(&refiled.after) {
            return Some(IncidentKind::Rewrite);
        }
        if !self.created.contains(&refiled.after) {
            return None;
        }
        if self.moved(refiled) {
            return Some(IncidentKind::Move);
        }
        Some(match kind {
            Some(RelationKind::Index | RelationKind::PartitionedIndex | RelationKind::Sequence) => {
                IncidentKind::Rebuild
            }
            _ => IncidentKind::Truncate,
        })
    }

    /// The new file is in another tablespace than the old one.
    fn moved(&self, refiled: &Refiled) -> bool {
        let space = |number| {
            let file = |file: &&FileNode| file.number == number;
            self.ddl.created.iter().find(file).map(|f| f.tablespace)
        };
        let old: Vec<u32> = self
            .leavings
            .files
            .iter()
            .filter(|(_, _, number)| refiled.before.is_none_or(|before| before == *number))
            .map(|(tablespace, ..)| *tablespace)
            .collect();
        match space(refiled.after) {
            Some(new) => !old.is_empty() && old.iter().all(|tablespace| *tablespace != new),
            None => false,
        }
    }

    /// Removed files of relations about which the catalog rows told nothing: decided by numbers.
    fn unexplained(&mut self, gone: &BTreeSet<u32>) {
        if self.created.is_empty() || !self.names_are_missing() {
            return;
        }
        let mut seen = BTreeSet::new();
        for (tablespace, _, number) in &self.leavings.files {
            let oid = self.owner(*number);
            let auxiliary = matches!(
                self.kind(oid),
                Some(RelationKind::Toast | RelationKind::Index | RelationKind::Sequence)
            );
            let known = self.ddl.refiled.iter().any(|(_, r)| r.oid == oid);
            if known || auxiliary || gone.contains(&oid) || self.is_new(oid) || !seen.insert(oid) {
                continue;
            }
            let elsewhere = self.ddl.created.iter().all(|f| f.tablespace != *tablespace);
            let kind = if !self.transient.is_empty() || oid < FIRST_USER_OID {
                IncidentKind::Rewrite
            } else if elsewhere {
                IncidentKind::Move
            } else if self.locked.contains(&oid) || self.kind(oid).is_some() {
                IncidentKind::Truncate
            } else {
                continue;
            };
            let relation = self.relation(oid);
            self.add(kind, relation, Rows::default());
        }
    }

    /// No table of this transaction has been judged yet.
    fn names_are_missing(&self) -> bool {
        self.findings
            .relations
            .keys()
            .all(|kind| *kind == IncidentKind::Rebuild as IncidentOrder)
    }

    /// DDL that removed nothing.
    fn other(&mut self) {
        if !self.findings.relations.is_empty() {
            return;
        }
        let changed = self.leavings.relations.iter();
        let oids: BTreeSet<u32> = changed
            .map(|(_, oid)| *oid)
            .chain(self.locked.iter().copied())
            .filter(|oid| *oid >= FIRST_USER_OID && !self.is_new(*oid))
            .collect();
        for oid in oids {
            let relation = self.relation(oid);
            let worth_naming = matches!(
                relation.kind,
                Some(
                    RelationKind::Table
                        | RelationKind::Partitioned
                        | RelationKind::View
                        | RelationKind::MaterializedView
                        | RelationKind::Sequence
                        | RelationKind::Foreign
                )
            );
            if worth_naming {
                self.add(IncidentKind::OtherDdl, relation, Rows::default());
            }
        }
    }

    /// DELETE and UPDATE of many rows, or of most of a table.
    fn rows(&mut self, work: &Work, gone: &BTreeSet<u32>, thresholds: Thresholds) {
        let mut by_relation: BTreeMap<(u32, u32), (Relation, Rows)> = BTreeMap::new();
        for touched in &work.touched {
            let changed = touched.rows.deleted + touched.rows.updated;
            if changed < FEWEST_ROWS.min(thresholds.rows) || touched.file.database == 0 {
                continue;
            }
            let relation = self.names.of_file(touched.file);
            let oid = relation.oid.unwrap_or(touched.file.number);
            let entry = by_relation
                .entry((touched.file.database, oid))
                .or_insert_with(|| (relation, Rows::default()));
            entry.1.add(&touched.rows);
        }
        for ((_, oid), (relation, rows)) in by_relation {
            let data = matches!(
                relation.kind,
                Some(RelationKind::Table | RelationKind::Partitioned) | None
            );
            let system = oid < FIRST_USER_OID || relation.schema.as_deref() == Some("pg_catalog");
            if !data || system || gone.contains(&oid) || self.is_new(oid) {
                continue;
            }
            let mass = |rows: u64| {
                let share = relation
                    .estimated_rows
                    .map_or(0.0, |all| rows as f64 / f64::from(all));
                rows >= thresholds.rows || (rows >= FEWEST_ROWS && share >= thresholds.share)
            };
            if mass(rows.deleted) {
                self.add(IncidentKind::MassDelete, relation.clone(), rows);
            }
            if mass(rows.updated) {
                self.add(IncidentKind::MassUpdate, relation, rows);
            }
        }
    }
}

/// What REINDEX CONCURRENTLY leaves of the old index.
fn is_leftover(relation: &Relation) -> bool {
    let name = relation.name.as_deref().unwrap_or_default();
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    stem.ends_with("_ccold") || stem.ends_with("_ccnew")
}
