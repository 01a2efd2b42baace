//! Transactions as a person looks for them: with the tables they changed and what they destroyed, chosen
//! by table, kind, time, position or id.

use std::ops::ControlFlow;

use super::{
    Analysis, AnalysisOptions, Error, Finding, Incident, IncidentKind, Lsn, Names, Relation, Rows,
    Touched, Transaction, Wal, analyse,
};

/// Which transactions or incidents are wanted. Nothing set: all.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// A table, index or database, with or without its schema.
    pub table: Option<String>,
    /// A kind of incident, or `insert`, `update`, `delete`, `ddl`.
    pub kind: Option<String>,
    /// This transaction, or the one this subtransaction belongs to.
    pub xid: Option<u32>,
    /// The ending record starts here or later, and before `to`.
    pub from: Option<Lsn>,
    pub to: Option<Lsn>,
    /// Unix microseconds; both ends count.
    pub from_time: Option<i64>,
    pub to_time: Option<i64>,
    /// Also transactions that were rolled back.
    pub aborted: bool,
}

/// The words [`Wanted::kind`] knows.
pub fn kinds() -> Vec<&'static str> {
    let incidents = IncidentKind::ALL.iter().map(|kind| kind.word());
    ["insert"].into_iter().chain(incidents).collect()
}

impl Wanted {
    fn in_range(&self, lsn: Lsn, unix_us: i64) -> bool {
        self.from.is_none_or(|from| from <= lsn)
            && self.to.is_none_or(|to| lsn < to)
            && self.from_time.is_none_or(|from| from <= unix_us)
            && self.to_time.is_none_or(|to| unix_us <= to)
    }

    /// Whether `name`, which may be qualified, is the table that is wanted. Unquoted names are folded to
    /// lower case by PostgreSQL, so they are here.
    fn names(&self, name: &str) -> bool {
        self.table.as_ref().is_none_or(|table| {
            let bare = name.rsplit('.').next().unwrap_or(name);
            let wanted = |table: &str| name == table || bare == table;
            wanted(table) || wanted(&table.to_lowercase())
        })
    }

    pub fn incident(&self, incident: &Incident) -> bool {
        self.in_range(incident.xact.start, incident.xact.unix_us)
            && self.xid.is_none_or(|xid| xid == incident.xact.xid)
            && self
                .kind
                .as_ref()
                .is_none_or(|kind| kind == incident.kind.word())
            && (self.table.is_none()
                || incident
                    .names()
                    .iter()
                    .chain(&incident.schemas)
                    .any(|name| self.names(name)))
    }

    fn commit(&self, commit: &Commit) -> bool {
        let transaction = &commit.transaction;
        let xact = &transaction.xact;
        (self.aborted || xact.kind.is_commit())
            && self.in_range(xact.start, xact.unix_us)
            && self
                .xid
                .is_none_or(|xid| xid == xact.xid || transaction.subxacts.contains(&xid))
            && self.kind.as_ref().is_none_or(|kind| commit.is(kind))
            && (self.table.is_none()
                || commit
                    .tables
                    .iter()
                    .any(|(table, _)| self.names(&table.to_string()))
                || commit
                    .destroyed
                    .iter()
                    .flat_map(|(_, names)| names)
                    .any(|name| self.names(name)))
    }
}

/// A transaction with names.
#[derive(Debug, Clone, PartialEq)]
pub struct Commit {
    pub transaction: Transaction,
    /// Users' tables whose rows it changed.
    pub tables: Vec<(Relation, Rows)>,
    /// Changes of the system catalogs: a sign of DDL.
    pub catalogs: Rows,
    /// What it destroyed: kind and names.
    pub destroyed: Vec<(IncidentKind, Vec<String>)>,
}

impl Commit {
    fn new(transaction: &Transaction, names: &Names) -> Commit {
        let mut commit = Commit {
            transaction: transaction.clone(),
            tables: Vec::new(),
            catalogs: Rows::default(),
            destroyed: Vec::new(),
        };
        for touched in &transaction.touched {
            let relation = names.of_file(touched.file);
            if is_catalog(touched, &relation) {
                commit.catalogs.inserted += touched.rows.inserted;
                commit.catalogs.updated += touched.rows.updated;
                commit.catalogs.deleted += touched.rows.deleted;
            } else {
                commit.tables.push((relation, touched.rows));
            }
        }
        commit
    }

    fn is(&self, kind: &str) -> bool {
        let any = |count: fn(&Rows) -> u64| self.tables.iter().any(|(_, rows)| count(rows) > 0);
        self.destroyed.iter().any(|(found, _)| found.word() == kind)
            || match kind {
                "insert" => any(|rows| rows.inserted),
                "update" => any(|rows| rows.updated),
                "delete" => any(|rows| rows.deleted),
                "ddl" => self.catalogs.total() > 0,
                _ => false,
            }
    }
}

fn is_catalog(touched: &Touched, relation: &Relation) -> bool {
    /// `FirstNormalObjectId`: what initdb makes has lower numbers.
    const FIRST_NORMAL: u32 = 16384;
    let system = relation
        .schema
        .as_deref()
        .is_some_and(|schema| matches!(schema, "pg_catalog" | "pg_toast" | "information_schema"));
    system || relation.oid.unwrap_or(touched.file.number) < FIRST_NORMAL
}

/// Shows the wanted transactions in WAL order until `visit` says no. Names are learned from the
/// beginning of the WAL, whatever part is wanted.
pub fn commits(
    wal: &Wal,
    wanted: &Wanted,
    options: &AnalysisOptions<'_>,
    mut watch: impl FnMut(Lsn) -> bool,
    mut visit: impl FnMut(&Commit) -> bool,
) -> Result<Analysis, Error> {
    let options = AnalysisOptions {
        to: wanted.to,
        ..options.clone()
    };
    // What a transaction destroyed is found after the transaction itself.
    let mut last: Option<Commit> = None;
    let mut show = |commit: Option<Commit>| match commit {
        Some(commit) if wanted.commit(&commit) => visit(&commit),
        _ => true,
    };
    let analysis = analyse(wal, &options, |finding, names| {
        let go_on = match finding {
            Finding::Transaction(transaction) => {
                show(last.replace(Commit::new(transaction, names)))
            }
            Finding::Incident(incident) => {
                if let Some(commit) = &mut last {
                    commit.destroyed.push((incident.kind, incident.names()));
                }
                true
            }
            Finding::Progress(lsn) => watch(lsn),
            _ => true,
        };
        if go_on {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })?;
    if !analysis.stopped || wanted.to.is_some() {
        show(last.take());
    }
    Ok(analysis)
}
