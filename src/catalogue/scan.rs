//! Bringing a catalogue up to date with its directory.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Transaction, TransactionBehavior, params};

use super::files::{Seen, examine, look, row, stamp_for, valid_to};
use super::store::{now, put, signed};
use super::{Catalogue, Entry, Error, Problem, State, Totals, problems};
use crate::archive::Listing;
use crate::wal::{Identity, SegmentSize, magic_of_major};

/// How long verified segments may wait for the transaction that stores them: what a kill makes us
/// read again.
const COMMIT_AFTER: Duration = Duration::from_millis(200);

/// A segment that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub from: Option<State>,
    pub now: Entry,
}

/// What a scan found.
#[derive(Debug, Clone, Default)]
pub struct Scan {
    /// In the order they were noticed.
    pub changes: Vec<Change>,
    pub totals: Totals,
    /// All that is wrong now.
    pub problems: Vec<Problem>,
    /// Those that were not wrong before, and those that no longer are.
    pub appeared: Vec<Problem>,
    pub gone: Vec<Problem>,
    /// Complete segments that time did not suffice to read; the next scan goes on with them.
    pub unread: usize,
}

impl Catalogue {
    /// Compares the directory with what is known about it, reads what is new or changed, and stores
    /// the result. `limit` bounds the reading.
    pub fn scan(&mut self, dir: &Path, limit: Option<Duration>) -> Result<Scan, Error> {
        self.claim(dir)?;
        let identity = self.identity()?;
        let listing = Listing::read_as(dir, identity)?;
        let mut scan = Scan::default();
        if let Some(identity) = listing.identity {
            self.remember_identity(identity)?;
            let known = self.known()?;
            let (complete, partial) = look(&listing)?;
            self.register(&listing, &known, &complete, &partial, &mut scan)?;
            self.read_new(&listing, identity, &complete, limit, &mut scan)?;
        }
        self.settle(&listing, &mut scan)?;
        scan.totals = self.totals()?;
        Ok(scan)
    }

    /// Forgets what was verified, so that the next scan reads every segment again: bit rot changes
    /// neither size nor time of a file.
    pub fn forget_verified(&mut self) -> Result<(), Error> {
        let all =
            "UPDATE segments SET stamp = '' WHERE state IN ('verified', 'damaged', 'complete')";
        self.db.execute(all, []).map(|_| ()).map_err(self.fail())
    }

    /// A catalogue describes one directory.
    fn claim(&self, dir: &Path) -> Result<(), Error> {
        let full = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_path_buf());
        let full = full.display().to_string();
        match self.about("directory")? {
            Some(known) if known != full => Err(Error::OtherDirectory {
                path: self.path().to_path_buf(),
                known,
                dir: dir.to_path_buf(),
            }),
            Some(_) => Ok(()),
            None => {
                self.set_about("directory", &full)?;
                self.set_about("id", &uuid::Uuid::from_u128(rand::random()).to_string())
            }
        }
    }

    /// The cluster whose WAL this is. It was decided when the first segment was seen: later a foreign
    /// file is a foreign file, however many there are.
    fn identity(&self) -> Result<Option<Identity>, Error> {
        let read = |key| self.about(key);
        let (Some(system), Some(size), Some(major)) =
            (read("system_id")?, read("segment_size")?, read("major")?)
        else {
            return Ok(None);
        };
        Ok((|| {
            Some(Identity {
                system_id: system.parse().ok()?,
                segment_size: SegmentSize::new(size.parse().ok()?)?,
                magic: magic_of_major(major.parse().ok()?)?,
            })
        })())
    }

    fn remember_identity(&mut self, identity: Identity) -> Result<(), Error> {
        if self.about("system_id")?.is_some() {
            return Ok(());
        }
        // In this order: the one that is asked for first is written last.
        self.set_about("segment_size", &identity.segment_size.bytes().to_string())?;
        self.set_about("major", &identity.major().to_string())?;
        self.set_about("system_id", &identity.system_id.to_string())
    }

    fn known(&self) -> Result<HashMap<String, Entry>, Error> {
        let entries = self.entries()?.into_iter();
        Ok(entries.map(|entry| (entry.name.clone(), entry)).collect())
    }

    /// Runs `work` in one transaction with a revision number of its own.
    fn transact<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>, i64) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        let path = self.path().to_path_buf();
        let run = || {
            let tx = self
                .db
                .transaction_with_behavior(TransactionBehavior::Immediate)?;
            tx.execute(
                "INSERT INTO about VALUES ('revision', 1)
                 ON CONFLICT (key) DO UPDATE SET value = value + 1",
                [],
            )?;
            let revision = tx.query_row(
                "SELECT value FROM about WHERE key = 'revision'",
                [],
                |row| row.get(0),
            )?;
            let done = work(&tx, revision)?;
            tx.commit()?;
            Ok(done)
        };
        run().map_err(Error::sqlite(&path))
    }

    /// Stores what the names and times of the files say.
    fn register(
        &mut self,
        listing: &Listing,
        known: &HashMap<String, Entry>,
        complete: &[Seen],
        partial: &[Seen],
        scan: &mut Scan,
    ) -> Result<(), Error> {
        let at = now();
        let size = listing.segment_size();
        let mut rows: Vec<(Entry, bool)> = Vec::new();
        for seen in complete {
            let before = known.get(&seen.name);
            let unchanged = |entry: &&Entry| {
                entry.stamp == stamp_for(entry.state, seen, complete)
                    && !matches!(entry.state, State::Partial | State::Removed)
            };
            if before.filter(unchanged).is_none() {
                let mut row = row(seen, size, State::Complete, before, at);
                row.completed_at = before.and_then(|entry| entry.completed_at).or(Some(at));
                rows.push((row, true));
            }
        }
        for seen in partial {
            let before = known.get(&seen.name);
            let same = |entry: &&Entry| entry.state == State::Partial;
            if before.filter(same).is_some_and(|e| e.stamp == seen.stamp) {
                continue;
            }
            let mut row = row(seen, size, State::Partial, before, at);
            row.valid_to = listing.identity.and_then(|found| valid_to(seen, found));
            // Growing is no news: a mirror that told the primary would make it grow.
            rows.push((row, before.filter(same).is_none()));
        }
        let here: Vec<&str> = complete
            .iter()
            .chain(partial)
            .map(|s| s.name.as_str())
            .collect();
        let here: std::collections::HashSet<&str> = here.into_iter().collect();
        for entry in known.values() {
            if entry.state != State::Removed && !here.contains(entry.name.as_str()) {
                let state = State::Removed;
                let entry = Entry {
                    state,
                    ..entry.clone()
                };
                rows.push((entry, true));
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        self.transact(|tx, revision| {
            rows.iter()
                .try_for_each(|(row, news)| put(tx, row, news.then_some(revision)))
        })?;
        let news = rows.into_iter().filter(|(_, news)| *news);
        scan.changes.extend(news.map(|(now, _)| Change {
            from: known.get(&now.name).map(|entry| entry.state),
            now,
        }));
        Ok(())
    }

    /// Reads the segments nobody has read yet.
    fn read_new(
        &mut self,
        listing: &Listing,
        identity: Identity,
        complete: &[Seen],
        limit: Option<Duration>,
        scan: &mut Scan,
    ) -> Result<(), Error> {
        let started = Instant::now();
        let mut known = self.known()?;
        let waiting: Vec<&Seen> = complete
            .iter()
            .filter(|seen| {
                let entry = known.get(&seen.name);
                entry.is_some_and(|entry| entry.state == State::Complete)
            })
            .collect();
        let mut rest = waiting.as_slice();
        while !rest.is_empty() && limit.is_none_or(|limit| started.elapsed() < limit) {
            let (batch, mut rows) = (Instant::now(), Vec::new());
            while let Some((seen, later)) = rest.split_first() {
                rest = later;
                if let Some(entry) = known.remove(&seen.name) {
                    rows.extend(examine(listing, identity, seen, complete, entry));
                }
                if batch.elapsed() >= COMMIT_AFTER {
                    break;
                }
            }
            self.transact(|tx, revision| {
                rows.iter().try_for_each(|row| put(tx, row, Some(revision)))
            })?;
            scan.changes.extend(rows.into_iter().map(|now| Change {
                from: Some(State::Complete),
                now,
            }));
        }
        scan.unread = rest.len();
        Ok(())
    }

    /// Works out what is wrong and stores it.
    fn settle(&mut self, listing: &Listing, scan: &mut Scan) -> Result<(), Error> {
        let before = self.problems()?;
        let mut found = problems::find(listing, &self.entries()?);
        let same = |a: &Problem, b: &Problem| a.kind == b.kind && a.name == b.name;
        let at = now();
        for problem in &mut found {
            let known = before.iter().find(|old| same(old, problem));
            problem.first_seen = known.map_or(at, |old| old.first_seen);
        }
        let differs = |a: &[Problem], b: &[Problem]| -> Vec<Problem> {
            let missing = |one: &&Problem| !b.iter().any(|other| same(one, other));
            a.iter().filter(missing).cloned().collect()
        };
        scan.appeared = differs(&found, &before);
        scan.gone = differs(&before, &found);
        let unchanged = before.len() == found.len() && found.iter().all(|one| before.contains(one));
        if !unchanged {
            self.transact(|tx, _| {
                tx.execute("DELETE FROM problems", [])?;
                let mut add =
                    tx.prepare("INSERT OR REPLACE INTO problems VALUES (?1, ?2, ?3, ?4, ?5)")?;
                for one in &found {
                    let lsn = signed(one.lsn);
                    add.execute(params![one.kind, one.name, lsn, one.reason, one.first_seen])?;
                }
                Ok(())
            })?;
        }
        scan.problems = found;
        Ok(())
    }
}
