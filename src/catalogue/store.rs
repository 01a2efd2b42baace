//! The catalogue's file: its tables, reading and writing rows.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Error, Problem};
use crate::wal::Lsn;

/// The catalogue of a directory when no other file is named: inside it, under a name that readers of
/// WAL directories leave alone.
pub const DEFAULT_FILE: &str = ".rpitr-catalogue.sqlite";

const SCHEMA_VERSION: i64 = 1;

/// Positions are stored as SQLite integers, which are signed: the order of positions beyond 2^63 bytes
/// would be wrong, and no server will write that many.
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value ANY NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS segments (
  name TEXT PRIMARY KEY,
  timeline INTEGER NOT NULL,
  number INTEGER NOT NULL,
  start_lsn INTEGER NOT NULL,
  end_lsn INTEGER NOT NULL,
  size INTEGER NOT NULL,
  sha256 TEXT,
  state TEXT NOT NULL CHECK (state IN ('partial', 'complete', 'verified', 'damaged', 'removed')),
  code TEXT,
  reason TEXT,
  valid_to INTEGER,
  stamp TEXT NOT NULL,
  first_seen INTEGER NOT NULL,
  completed_at INTEGER,
  verified_at INTEGER,
  revision INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS segments_by_revision ON segments (revision);
CREATE TABLE IF NOT EXISTS problems (
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  lsn INTEGER,
  reason TEXT NOT NULL,
  first_seen INTEGER NOT NULL,
  PRIMARY KEY (kind, name)
) STRICT;
CREATE TABLE IF NOT EXISTS samples (
  at INTEGER PRIMARY KEY,
  segments INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  received INTEGER,
  written INTEGER,
  flushed INTEGER,
  primary_lsn INTEGER,
  lag INTEGER
) STRICT;
";

/// How many samples are kept: a day at one a second.
const SAMPLES: i64 = 86_400;

/// What is known about a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is being received.
    Partial,
    /// It has its final name and was not read yet.
    Complete,
    /// Every record in it was read and is right.
    Verified,
    Damaged,
    /// It was here and is gone.
    Removed,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            State::Partial => "partial",
            State::Complete => "complete",
            State::Verified => "verified",
            State::Damaged => "damaged",
            State::Removed => "removed",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl ToSql for State {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.name()))
    }
}

impl FromSql for State {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Ok(match value.as_str()? {
            "partial" => State::Partial,
            "complete" => State::Complete,
            "verified" => State::Verified,
            "damaged" => State::Damaged,
            "removed" => State::Removed,
            _ => return Err(FromSqlError::InvalidType),
        })
    }
}

/// A segment. A segment that is being received and the same segment when it is complete are one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Without `.partial`.
    pub name: String,
    pub timeline: u32,
    pub number: u64,
    pub start: Lsn,
    pub end: Lsn,
    pub size: u64,
    pub sha256: Option<String>,
    pub state: State,
    /// Why it is damaged: a stable word, and a sentence.
    pub code: Option<String>,
    pub reason: Option<String>,
    /// The end of the last good record of a partial segment.
    pub valid_to: Option<Lsn>,
    /// Changes when the file does.
    pub(super) stamp: String,
    /// Unix microseconds, as the others.
    pub first_seen: i64,
    pub completed_at: Option<i64>,
    pub verified_at: Option<i64>,
}

/// Sums over what is there now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Complete segments, verified or not, damaged ones too.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    pub verified: u64,
    pub damaged: u64,
    pub partial: u64,
    /// How far the WAL goes on the newest timeline, the partial segment included.
    pub received: Option<Lsn>,
}

/// Growth and lag at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Unix microseconds.
    pub at: i64,
    pub totals: Totals,
    pub written: Option<Lsn>,
    pub flushed: Option<Lsn>,
    pub primary: Option<Lsn>,
    pub lag: Option<u64>,
}

/// A catalogue, open. Several processes may have the same one open.
#[derive(Debug)]
pub struct Catalogue {
    pub(super) db: Connection,
    path: PathBuf,
}

const COLUMNS: &str = "name, timeline, number, start_lsn, end_lsn, size, sha256, state, code, reason, \
                       valid_to, stamp, first_seen, completed_at, verified_at";

fn lsn(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Lsn>> {
    Ok(row
        .get::<_, Option<i64>>(at)?
        .map(|value| Lsn(value as u64)))
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        name: row.get(0)?,
        timeline: row.get(1)?,
        number: row.get::<_, i64>(2)? as u64,
        start: lsn(row, 3)?.unwrap_or_default(),
        end: lsn(row, 4)?.unwrap_or_default(),
        size: row.get::<_, i64>(5)? as u64,
        sha256: row.get(6)?,
        state: row.get(7)?,
        code: row.get(8)?,
        reason: row.get(9)?,
        valid_to: lsn(row, 10)?,
        stamp: row.get(11)?,
        first_seen: row.get(12)?,
        completed_at: row.get(13)?,
        verified_at: row.get(14)?,
    })
}

pub(super) fn signed(lsn: Option<Lsn>) -> Option<i64> {
    lsn.map(|lsn| lsn.0 as i64)
}

/// Now, as the catalogue stores times.
pub(super) fn now() -> i64 {
    chrono::Utc::now().timestamp_micros()
}

impl Catalogue {
    /// Opens or makes a catalogue.
    pub fn open(path: &Path) -> Result<Catalogue, Error> {
        let fail = Error::sqlite(path);
        let db = Connection::open(path).map_err(&fail)?;
        let set_up = || -> rusqlite::Result<i64> {
            db.busy_timeout(Duration::from_secs(30))?;
            // Readers never wait for a scan, and a killed writer leaves nothing to repair by hand.
            db.pragma_update(None, "journal_mode", "WAL")?;
            db.pragma_update(None, "synchronous", "FULL")?;
            let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
            if version == 0 {
                db.execute_batch(&format!(
                    "BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
                ))?;
            }
            Ok(version)
        };
        match set_up().map_err(&fail)? {
            version if version > SCHEMA_VERSION => Err(Error::Newer { path: path.into() }),
            _ => Ok(Catalogue {
                db,
                path: path.to_path_buf(),
            }),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn fail(&self) -> impl Fn(rusqlite::Error) -> Error + '_ {
        Error::sqlite(&self.path)
    }

    /// A fact about the catalogue as a whole.
    pub(super) fn about(&self, key: &str) -> Result<Option<String>, Error> {
        let found = self.db.query_row(
            "SELECT CAST(value AS TEXT) FROM about WHERE key = ?1",
            [key],
            |row| row.get(0),
        );
        found.optional().map_err(self.fail())
    }

    pub(super) fn set_about(&self, key: &str, value: &str) -> Result<(), Error> {
        let set = self.db.execute(
            "INSERT INTO about VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            [key, value],
        );
        set.map(|_| ()).map_err(self.fail())
    }

    /// All segments by timeline and position, removed ones too.
    pub fn entries(&self) -> Result<Vec<Entry>, Error> {
        self.select("ORDER BY timeline, number")
    }

    /// The segments that changed after `revision`.
    pub(super) fn changed_since(&self, revision: i64) -> Result<Vec<Entry>, Error> {
        self.select(&format!(
            "WHERE revision > {revision} ORDER BY timeline, number"
        ))
    }

    fn select(&self, rest: &str) -> Result<Vec<Entry>, Error> {
        let read = || -> rusqlite::Result<Vec<Entry>> {
            let mut statement = self
                .db
                .prepare(&format!("SELECT {COLUMNS} FROM segments {rest}"))?;
            statement.query_map([], entry)?.collect()
        };
        read().map_err(self.fail())
    }

    /// What is wrong now.
    pub fn problems(&self) -> Result<Vec<Problem>, Error> {
        let read = || -> rusqlite::Result<Vec<Problem>> {
            let mut statement = self.db.prepare(
                "SELECT kind, name, lsn, reason, first_seen FROM problems ORDER BY kind, name",
            )?;
            statement
                .query_map([], |row| {
                    Ok(Problem {
                        kind: row.get(0)?,
                        name: row.get(1)?,
                        lsn: lsn(row, 2)?,
                        reason: row.get(3)?,
                        first_seen: row.get(4)?,
                    })
                })?
                .collect()
        };
        read().map_err(self.fail())
    }

    pub fn totals(&self) -> Result<Totals, Error> {
        let read = || {
            self.db.query_row(
                "SELECT count(*) FILTER (WHERE state IN ('complete', 'verified', 'damaged')),
                        coalesce(sum(size) FILTER (WHERE state IN ('complete', 'verified', 'damaged')), 0),
                        count(*) FILTER (WHERE state = 'verified'),
                        count(*) FILTER (WHERE state = 'damaged'),
                        count(*) FILTER (WHERE state = 'partial'),
                        max(CASE WHEN state = 'partial' THEN valid_to ELSE end_lsn END)
                          FILTER (WHERE state IN ('partial', 'verified') AND timeline = (
                            SELECT max(timeline) FROM segments WHERE state IN ('partial', 'verified')))
                 FROM segments",
                [],
                |row| {
                    Ok(Totals {
                        segments: row.get::<_, i64>(0)? as u64,
                        bytes: row.get::<_, i64>(1)? as u64,
                        verified: row.get::<_, i64>(2)? as u64,
                        damaged: row.get::<_, i64>(3)? as u64,
                        partial: row.get::<_, i64>(4)? as u64,
                        received: lsn(row, 5)?,
                    })
                },
            )
        };
        read().map_err(self.fail())
    }

    /// Remembers growth and lag; old samples are forgotten.
    pub fn add_sample(&self, sample: &Sample) -> Result<(), Error> {
        let add = || {
            self.db.execute(
                "INSERT OR REPLACE INTO samples VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    sample.at,
                    sample.totals.segments as i64,
                    sample.totals.bytes as i64,
                    signed(sample.totals.received),
                    signed(sample.written),
                    signed(sample.flushed),
                    signed(sample.primary),
                    sample.lag.map(|bytes| bytes as i64),
                ],
            )?;
            self.db.execute(
                "DELETE FROM samples WHERE at < (SELECT at FROM samples ORDER BY at DESC LIMIT 1 OFFSET ?1)",
                [SAMPLES],
            )
        };
        add().map(|_| ()).map_err(self.fail())
    }
}

/// Writes a row; `revision` only for what is worth telling others about.
pub(super) fn put(db: &Connection, entry: &Entry, revision: Option<i64>) -> rusqlite::Result<()> {
    let mut statement = db.prepare(
        "INSERT INTO segments VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, coalesce(?16, 0))
         ON CONFLICT (name) DO UPDATE SET
           timeline = excluded.timeline, number = excluded.number, start_lsn = excluded.start_lsn,
           end_lsn = excluded.end_lsn, size = excluded.size, sha256 = excluded.sha256, state = excluded.state,
           code = excluded.code, reason = excluded.reason, valid_to = excluded.valid_to, stamp = excluded.stamp,
           first_seen = excluded.first_seen, completed_at = excluded.completed_at,
           verified_at = excluded.verified_at, revision = coalesce(?16, revision)",
    )?;
    statement.execute(params![
        entry.name,
        entry.timeline,
        entry.number as i64,
        entry.start.0 as i64,
        entry.end.0 as i64,
        entry.size as i64,
        entry.sha256,
        entry.state,
        entry.code,
        entry.reason,
        signed(entry.valid_to),
        entry.stamp,
        entry.first_seen,
        entry.completed_at,
        entry.verified_at,
        revision,
    ])?;
    Ok(())
}
