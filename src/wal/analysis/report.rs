//! Makes incidents of verdicts: with the target just before each, and what that keeps.

use super::backups;
use super::classify::{Findings, judge};
use super::incident::{Incident, IncidentKind, Proposal};
use super::merge::{Dying, Merger};
use super::pending::Work;
use super::transaction::Rows;
use crate::wal::Xact;
use crate::wal::xact::Leavings;

impl Merger<'_> {
    /// The incidents of a committed transaction.
    pub(super) fn judge(
        &mut self,
        work: &Work,
        leavings: &Leavings,
        xact: Xact,
        database: u32,
    ) -> Vec<Incident> {
        let names = &self.catalogs.names;
        let findings = judge(names, work, leavings, database, self.thresholds);
        let mut incidents = self.databases(work, xact);
        let Findings {
            relations,
            schemas,
            notes,
        } = findings;
        for (order, relations) in relations {
            let Some(kind) = IncidentKind::ALL.get(usize::from(order)).copied() else {
                continue;
            };
            if kind.is_harmless() && !self.harmless {
                continue;
            }
            let mut incident = self.incident(kind, work, xact, database);
            for lost in &relations {
                incident.rows.add(&lost.rows);
            }
            incident.relations = relations;
            if kind == IncidentKind::DropSchema {
                incident.schemas = schemas.clone();
            }
            if kind == IncidentKind::Truncate {
                incident.cascade = work.ddl.as_ref().and_then(|ddl| ddl.logged_truncate);
            }
            if !kind.is_harmless() {
                incident.notes = notes.clone();
            }
            incidents.push(incident);
        }
        incidents
    }

    /// DROP DATABASE, or its move to another tablespace: neither can be undone by stopping before
    /// the commit, because the files are gone by then.
    fn databases(&mut self, work: &Work, xact: Xact) -> Vec<Incident> {
        let Some(ddl) = &work.ddl else {
            return Vec::new();
        };
        let mut incidents = Vec::new();
        for &(database, drop_lsn) in &ddl.dropped_databases {
            let dying = self.dying.remove(&database);
            let moved = ddl.created_databases.contains(&database);
            let kind = match moved {
                true => IncidentKind::Move,
                false => IncidentKind::DropDatabase,
            };
            if moved && !self.harmless {
                continue;
            }
            let mut incident = self.incident(kind, work, xact, database);
            incident.target = Proposal {
                lsn: drop_lsn,
                timeline: xact.timeline,
                xid: None,
                time: None,
                pause_lsn: None,
            };
            if !moved {
                incident.notes.push(
                    "files are removed before the commit: an xid or time target cannot save them"
                        .to_string(),
                );
            }
            if let Some(Dying {
                lsn,
                timeline,
                commits,
                last_commit,
                first_lost,
            }) = dying
            {
                incident.target.lsn = lsn;
                incident.target.timeline = timeline;
                incident.target.pause_lsn = Some(lsn);
                incident.commits_kept = commits;
                incident.last_kept = last_commit;
                incident.first_lost = first_lost;
            }
            incident.backup = backups::serving(&self.backups, incident.target.lsn);
            incidents.push(incident);
        }
        incidents
    }

    fn incident(&self, kind: IncidentKind, work: &Work, xact: Xact, database: u32) -> Incident {
        let commits = self.summary.commits;
        let (first_lsn, before_first) = work.first.unwrap_or((xact.start, commits));
        let lock = work.ddl.as_ref().and_then(|ddl| ddl.first_lock);
        let name = self.catalogs.names.database(database);
        Incident {
            kind,
            relations: Vec::new(),
            schemas: Vec::new(),
            database: Some(database).filter(|oid| *oid != 0),
            database_name: name.map(str::to_string),
            xact,
            first_lsn,
            cascade: None,
            rows: Rows::default(),
            target: Proposal {
                lsn: xact.start,
                timeline: xact.timeline,
                xid: Some(xact.xid),
                time: (self.latest_end < xact.unix_us).then_some(xact.unix_us),
                pause_lsn: lock
                    .filter(|(_, before)| *before == commits)
                    .map(|(lsn, _)| lsn),
            },
            backup: backups::serving(&self.backups, xact.start),
            last_kept: self.summary.last_commit,
            first_lost: None,
            commits_kept: commits,
            commits_lost: 0,
            commits_during: commits - before_first.min(commits),
            notes: Vec::new(),
        }
    }
}
