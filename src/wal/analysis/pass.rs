//! One pass over the WAL: digests in, findings out, in order.

use std::ops::ControlFlow;
use std::path::Path;

use super::backups::{self, BackupSpan};
use super::catalog::{CatalogReader, Names};
use super::digest::{CatalogFiles, Digester};
use super::incident::Incident;
use super::merge::Merger;
use super::source;
use super::stretch::{self, Range, Stretch};
use super::transaction::Transaction;
use crate::wal::reader::Mark;
use crate::wal::xlog::XlogEvent;
use crate::wal::{End, Error, Lsn, Prepare, Reader, Summary, Wal};

/// How to analyse.
#[derive(Debug, Clone)]
pub struct AnalysisOptions<'a> {
    /// Begin here; at the first segment unless given. Names are learned only from here on.
    pub from: Option<Lsn>,
    /// Stop in front of the first record at or behind this position.
    pub to: Option<Lsn>,
    /// A base backup in plain format, or another data directory, to take names from.
    pub base: Option<&'a Path>,
    /// How many threads read; 1 reads in the calling thread.
    pub threads: usize,
    /// From how many rows on a DELETE or UPDATE is an incident.
    pub mass_rows: u64,
    /// From which share of the table's rows on (0 to 1), where the server's estimate is known and
    /// ten rows or more are hit.
    pub mass_share: f64,
    /// Also report what lost nothing: rewrites, rebuilds, moves, other DDL.
    pub harmless: bool,
}

impl Default for AnalysisOptions<'_> {
    fn default() -> Self {
        AnalysisOptions {
            from: None,
            to: None,
            base: None,
            threads: 1,
            mass_rows: 1000,
            mass_share: 0.5,
            harmless: false,
        }
    }
}

/// What a pass comes across.
#[derive(Debug)]
pub enum Finding<'a> {
    /// A commit or abort.
    Transaction(&'a Transaction),
    /// A transaction was prepared; its work counts when it is committed.
    Prepared(&'a Prepare),
    /// Follows the transaction that caused it. What comes behind it (`commits_lost`,
    /// `first_lost`) is not known yet.
    Incident(&'a Incident),
    /// A checkpoint, restore point, switch, end of backup or of recovery.
    Xlog {
        start: Lsn,
        end: Lsn,
        timeline: u32,
        event: &'a XlogEvent,
    },
    /// Everything before this position was read.
    Progress(Lsn),
}

/// What a pass saw.
#[derive(Debug)]
pub struct Analysis {
    /// Counts, restore points, and where the WAL ended and why.
    pub summary: Summary,
    pub names: Names,
    /// Base backups that ended in this WAL.
    pub backups: Vec<BackupSpan>,
    /// The visitor, or `to`, ended the pass before the WAL did.
    pub stopped: bool,
}

/// Reads the WAL once and shows findings in WAL order, with the names known by then.
pub fn analyse(
    wal: &Wal,
    options: &AnalysisOptions<'_>,
    mut visit: impl FnMut(Finding<'_>, &Names) -> ControlFlow<()>,
) -> Result<Analysis, Error> {
    let catalogs = match options.base {
        Some(base) => super::catalog::catalogs(base)?,
        None => CatalogReader::default(),
    };
    let from = options.from.or_else(|| wal.first()).unwrap_or_default();
    let merger = Merger::new(catalogs, options, &mut visit);
    let mut pass = Pass {
        wal,
        from,
        to: options.to,
        merger,
        mark: None,
    };
    let ranges = stretch::ranges(wal, from, options.to);
    let end = source::stretches(
        wal,
        ranges,
        options.threads,
        pass.merger.files(),
        |source| pass.run(source),
    );
    Ok(pass.merger.finish(end))
}

struct Pass<'a> {
    wal: &'a Wal,
    from: Lsn,
    to: Option<Lsn>,
    merger: Merger<'a>,
    /// Where the last stretch ended.
    mark: Option<Mark>,
}

impl Pass<'_> {
    fn run(&mut self, source: &mut dyn Iterator<Item = Stretch>) -> End {
        for stretch in source {
            let range = stretch.range;
            let follows = self.mark.is_none_or(|mark| stretch.follows(&mark));
            let cut_short = stretch.cut_short;
            if follows {
                let wal = self.wal;
                let redo = |files| Stretch::read(wal, range, files).digester;
                if let Err(end) = self.take(stretch, &redo) {
                    return end;
                }
            }
            if cut_short || !follows {
                // Only a reader that knows what came before can say what is wrong here.
                let (wal, from, before, until) = (self.wal, self.from, self.mark, range.until);
                let files = self.merger.files().get();
                let again = move |files| resumed(wal, from, before, until, files);
                let (stretch, end) = again(files);
                if let Err(end) = self.take(stretch, &|files| again(files).0.digester) {
                    return end;
                }
                if let Some(end) = end {
                    return end;
                }
            }
        }
        let rest = resumed(
            self.wal,
            self.from,
            self.mark,
            self.to.unwrap_or(LAST),
            CatalogFiles::default(),
        );
        rest.1
            .unwrap_or_else(|| End::stopped(self.to.unwrap_or(LAST)))
    }

    fn take(
        &mut self,
        stretch: Stretch,
        redo: &dyn Fn(CatalogFiles) -> Digester,
    ) -> Result<(), End> {
        let mark = stretch.mark;
        if stretch.records > 0 {
            self.mark = Some(mark);
        }
        match self.merger.take(stretch, redo) {
            Ok(ControlFlow::Continue(())) => Ok(()),
            Ok(ControlFlow::Break(())) => Err(End::stopped(mark.next)),
            Err((start, error)) => {
                let mut reader = Reader::new(self.wal, start);
                Err(reader.reject(start, error))
            }
        }
    }
}

const LAST: Lsn = Lsn(u64::MAX);

/// Reads on where `mark` says; from the very beginning without one.
fn resumed(
    wal: &Wal,
    from: Lsn,
    mark: Option<Mark>,
    until: Lsn,
    files: CatalogFiles,
) -> (Stretch, Option<End>) {
    let reader = match mark {
        Some(mark) => Reader::resume(wal, mark),
        None => Reader::new(wal, from),
    };
    let from = mark.map_or(from, |mark| mark.next);
    Stretch::read_from(reader, Range { from, until }, files)
}

/// All incidents, complete: with names learned later, and what comes behind each.
pub fn incidents(
    wal: &Wal,
    options: &AnalysisOptions<'_>,
) -> Result<(Vec<Incident>, Analysis), Error> {
    let mut found: Vec<Incident> = Vec::new();
    let mut waiting = 0;
    let analysis = analyse(wal, options, |finding, _| {
        match finding {
            Finding::Transaction(transaction) if transaction.xact.kind.is_commit() => {
                for incident in &mut found[waiting..] {
                    if incident.first_lost.is_none() {
                        incident.first_lost = Some(transaction.xact);
                    }
                }
                waiting = found.len();
            }
            Finding::Incident(incident) => {
                found.push(incident.clone());
            }
            _ => {}
        }
        ControlFlow::Continue(())
    })?;
    for incident in &mut found {
        let others = analysis.summary.commits.saturating_sub(1);
        incident.commits_lost = others.saturating_sub(incident.commits_kept);
        for lost in &mut incident.relations {
            if let (None, Some(oid)) = (&lost.relation.name, lost.relation.oid) {
                lost.relation = analysis.names.relation(lost.relation.database, oid);
            }
        }
        if let (None, Some(oid)) = (&incident.database_name, incident.database) {
            incident.database_name = analysis.names.database(oid).map(str::to_string);
        }
        if incident.backup.is_none() {
            incident.backup = backups::serving(&analysis.backups, incident.target.lsn);
        }
    }
    Ok((found, analysis))
}
