//! Puts digests together in WAL order: attributes work to transactions, follows the catalogs,
//! and judges every commit.

use std::collections::HashMap;
use std::ops::ControlFlow;

use super::backups::BackupSpan;
use super::catalog::{CatalogReader, Names};
use super::classify::Thresholds;
use super::digest::{CatalogFiles, Digester, Item, Owned, first_block};
use super::pass::{Analysis, AnalysisOptions, Finding};
use super::pending::{Pending, Work};
use super::source::SharedFiles;
use super::stretch::Stretch;
use super::transaction::{FileNode, Transaction};
use crate::wal::page::u32_at;
use crate::wal::record::{RMGR_DATABASE, RMGR_HEAP, RMGR_RELMAP, RMGR_STANDBY, RMGR_STORAGE};
use crate::wal::version::Version;
use crate::wal::xact::{Leavings, XactDetail};
use crate::wal::xlog::XlogEvent;
use crate::wal::{End, Lsn, RecordError, RestorePoint, Summary, Xact};

const HEAP_TRUNCATE: u8 = 0x30;

type Visit<'v> = dyn FnMut(Finding<'_>, &Names) -> ControlFlow<()> + 'v;

/// Where DROP DATABASE became irreversible, and what was committed by then.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dying {
    pub lsn: Lsn,
    pub timeline: u32,
    pub commits: u64,
    pub last_commit: Option<Xact>,
    pub first_lost: Option<Xact>,
}

/// The state of a pass.
pub(super) struct Merger<'v> {
    visit: &'v mut Visit<'v>,
    pub(super) thresholds: Thresholds,
    pub(super) harmless: bool,
    pub(super) catalogs: CatalogReader,
    files: SharedFiles,
    pending: Pending,
    pub(super) dying: HashMap<u32, Dying>,
    pub(super) backups: Vec<BackupSpan>,
    pub(super) summary: Summary,
    /// The latest time any transaction ended: later records may carry earlier times.
    pub(super) latest_end: i64,
    stopped: bool,
}

impl<'v> Merger<'v> {
    pub fn new(
        catalogs: CatalogReader,
        options: &AnalysisOptions<'_>,
        visit: &'v mut Visit<'v>,
    ) -> Self {
        let files = SharedFiles::default();
        files.add(catalogs.names.moved_files());
        Merger {
            visit,
            thresholds: Thresholds {
                rows: options.mass_rows.max(1),
                share: options.mass_share,
            },
            harmless: options.harmless,
            catalogs,
            files,
            pending: Pending::default(),
            dying: HashMap::new(),
            backups: Vec::new(),
            summary: Summary::new(),
            latest_end: i64::MIN,
            stopped: false,
        }
    }

    pub fn files(&self) -> SharedFiles {
        self.files.clone()
    }

    /// Applies a digest. When a catalog moves to a file the digest did not look at, the rest is
    /// digested again.
    pub fn take(
        &mut self,
        stretch: Stretch,
        redo: &dyn Fn(CatalogFiles) -> Digester,
    ) -> Result<ControlFlow<()>, (Lsn, RecordError)> {
        self.summary.records += stretch.records;
        self.summary.bytes += stretch.bytes;
        let first = stretch.first.map(|(start, ..)| start);
        self.summary.first = self.summary.first.or(first);
        let base = self.summary.commits;
        let mut digester = stretch.digester;
        let mut files = self.files.get();
        if digester.catalogs != files {
            digester = redo(files.clone());
        }
        let mut items = digester.items.into_iter();
        while let Some((position, item)) = items.next() {
            let may_move_catalogs = matches!(item, Item::Record(_));
            let flow = self.item(item, base).map_err(|error| (position, error))?;
            if flow.is_break() {
                self.stopped = true;
                return Ok(flow);
            }
            if !may_move_catalogs {
                continue;
            }
            let now = self.files.get();
            if now != files {
                files = now;
                let again = redo(files.clone()).items.into_iter();
                let mut again = again.collect::<Vec<_>>();
                again.retain(|(at, _)| *at > position);
                items = again.into_iter();
            }
        }
        let progress = Finding::Progress(stretch.mark.next);
        let flow = (self.visit)(progress, &self.catalogs.names);
        self.stopped |= flow.is_break();
        Ok(flow)
    }

    fn item(&mut self, item: Item, base: u64) -> Result<ControlFlow<()>, RecordError> {
        match item {
            Item::Work {
                xid,
                first_lsn,
                commits,
                touched,
            } => {
                let work = Work {
                    first: Some((first_lsn, base + commits)),
                    touched,
                    ddl: None,
                };
                self.pending.add(xid, work);
            }
            Item::End(detail, leavings) => {
                return Ok(self.end(detail, &leavings.unwrap_or_default()));
            }
            Item::Xlog {
                start,
                end,
                timeline,
                event,
            } => return Ok(self.xlog(start, end, timeline, &event)),
            Item::Prepare(prepare) => {
                return Ok((self.visit)(
                    Finding::Prepared(&prepare),
                    &self.catalogs.names,
                ));
            }
            Item::Record(owned) => self.record(&owned)?,
        }
        Ok(ControlFlow::Continue(()))
    }

    fn xlog(&mut self, start: Lsn, end: Lsn, timeline: u32, event: &XlogEvent) -> ControlFlow<()> {
        match event {
            XlogEvent::BackupEnd { start } => self.backups.push(BackupSpan {
                start: *start,
                stop: end,
                timeline,
            }),
            XlogEvent::RestorePoint { name, unix_us } => {
                self.summary.restore_points.push(RestorePoint {
                    name: name.clone(),
                    start,
                    end,
                    unix_us: *unix_us,
                });
            }
            _ => {}
        }
        let finding = Finding::Xlog {
            start,
            end,
            timeline,
            event,
        };
        (self.visit)(finding, &self.catalogs.names)
    }

    fn record(&mut self, owned: &Owned) -> Result<(), RecordError> {
        let record = owned.record();
        let (xid, info) = (owned.header.xid, owned.header.info);
        match owned.header.rmgr {
            RMGR_STANDBY if info & 0xF0 == 0 => self.pending.lock(&record, self.summary.commits)?,
            RMGR_STANDBY => self.pending.forget_dead(&record)?,
            RMGR_STORAGE => self.storage(xid, info, record.main_data()?),
            RMGR_DATABASE => self.database(owned, record.main_data()?),
            RMGR_RELMAP => {
                if self.catalogs.map(&record)? {
                    self.catalog_moved();
                }
            }
            RMGR_HEAP if info & 0x70 == HEAP_TRUNCATE => {
                const CASCADE: u8 = 0x01;
                let flags = record.main_data()?.get(8).copied().unwrap_or(0);
                let seen = &mut self.pending.ddl(xid).logged_truncate;
                *seen = Some(seen.unwrap_or(false) || flags & CASCADE != 0);
            }
            _ => self.catalog(owned)?,
        }
        Ok(())
    }

    fn catalog(&mut self, owned: &Owned) -> Result<(), RecordError> {
        let record = owned.record();
        let Some(file) = first_block(&record) else {
            return Ok(());
        };
        let told = self.catalogs.apply(&record)?;
        if told.catalog_moved {
            self.catalog_moved();
        }
        if let Some(database) = told.dying_database {
            self.dying.insert(
                database,
                Dying {
                    lsn: owned.start,
                    timeline: owned.timeline,
                    commits: self.summary.commits,
                    last_commit: self.summary.last_commit,
                    first_lost: None,
                },
            );
        }
        self.pending.told(owned.header.xid, file.database, told);
        Ok(())
    }

    fn catalog_moved(&mut self) {
        self.files.add(self.catalogs.names.moved_files());
    }

    fn storage(&mut self, xid: u32, info: u8, data: &[u8]) {
        const CREATE: u8 = 0x10;
        let word = |at| u32_at(data, at).unwrap_or(0);
        if info & 0xF0 != CREATE || xid == 0 {
            return;
        }
        let file = FileNode {
            tablespace: word(0),
            database: word(4),
            number: word(8),
        };
        let ddl = self.pending.ddl(xid);
        ddl.created.push(file);
        // VACUUM FULL of a catalog fills its new file before the maps say so. The transient table
        // it goes through is locked and has the OID its file has.
        let transient = ddl.locks.contains(&(file.database, file.number));
        let catalog = [1259, 2615, 1262]
            .into_iter()
            .find(|oid| ddl.locks.contains(&(file.database, *oid)));
        if let (true, Some(oid)) = (transient, catalog)
            && self.catalogs.names.moved(file.database, oid, file.number)
        {
            self.catalog_moved();
        }
    }

    fn database(&mut self, owned: &Owned, data: &[u8]) {
        let (xid, info) = (owned.header.xid, owned.header.info & 0xF0);
        let word = |at| u32_at(data, at).unwrap_or(0);
        if info == Version::of_major(owned.major).database_drop {
            let dropped = (word(0), owned.start);
            self.pending.ddl(xid).dropped_databases.push(dropped);
            return;
        }
        self.pending.ddl(xid).created_databases.push(word(0));
        // A copy of files: 0x00 in every version, with the template's id. From 15 on the pages of
        // the copy may be logged instead, which tells its names by itself.
        if info == 0 {
            self.catalogs.names.copy_database(word(8), word(0));
        }
        self.catalog_moved();
    }

    fn end(&mut self, detail: XactDetail, leavings: &Leavings) -> ControlFlow<()> {
        let xact = detail.xact;
        let mut work = self.pending.finish(xact.xid, &detail.subxacts);
        if !xact.kind.is_commit() {
            self.catalogs.names.undo(work.undo());
            self.summary.aborts += 1;
        }
        let database = detail
            .database
            .or_else(|| {
                work.touched
                    .iter()
                    .map(|t| t.file.database)
                    .find(|db| *db != 0)
            })
            .or_else(|| leavings.files.iter().map(|f| f.1).find(|db| *db != 0));
        let transaction = Transaction {
            xact,
            first_lsn: work.first.map_or(xact.start, |(lsn, _)| lsn),
            database,
            exclusive_locks: detail.exclusive_locks,
            dropped_files: detail.dropped_relations,
            subxacts: detail.subxacts,
            gid: detail.gid,
            touched: std::mem::take(&mut work.touched),
        };
        let flow = (self.visit)(Finding::Transaction(&transaction), &self.catalogs.names);
        if flow.is_break() {
            return flow;
        }
        let is_commit = xact.kind.is_commit();
        for dying in self.dying.values_mut().filter(|_| is_commit) {
            dying.first_lost = dying.first_lost.or(Some(xact));
        }
        let incidents = if xact.kind.is_commit() {
            work.touched = transaction.touched;
            self.judge(&work, leavings, xact, database.unwrap_or(0))
        } else {
            Vec::new()
        };
        if xact.kind.is_commit() {
            self.summary.commits += 1;
            self.summary.first_commit = self.summary.first_commit.or(Some(xact));
            self.summary.last_commit = Some(xact);
        }
        self.latest_end = self.latest_end.max(xact.unix_us);
        for incident in &incidents {
            let flow = (self.visit)(Finding::Incident(incident), &self.catalogs.names);
            if flow.is_break() {
                return flow;
            }
        }
        ControlFlow::Continue(())
    }

    pub fn finish(self, end: End) -> Analysis {
        Analysis {
            summary: Summary {
                end,
                ..self.summary
            },
            names: self.catalogs.names,
            backups: self.backups,
            stopped: self.stopped,
        }
    }
}
