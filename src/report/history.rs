//! The runs of this machine, in an SQLite file: how the recovery time of a drill develops.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::Error;
use super::document::Document;

/// One line of the history.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    pub drill: String,
    pub run: String,
    pub started: String,
    pub verdict: String,
    pub runtime: String,
    pub seconds: f64,
    pub rto: Option<f64>,
    pub rpo: Option<f64>,
}

/// The middle one; of an even number, the mean of the two in the middle. `sorted` is in order.
pub fn median(sorted: &[f64]) -> Option<f64> {
    let upper = sorted.len() / 2;
    let above = sorted.get(upper)?;
    match sorted.len() % 2 {
        0 => Some((sorted.get(upper - 1)? + above) / 2.0),
        _ => Some(*above),
    }
}

/// The open file.
#[derive(Debug)]
pub struct History(Connection);

impl History {
    /// Opens the file, creating it when it is missing.
    pub fn open(path: &Path) -> Result<History, Error> {
        let connection = Connection::open(path)?;
        // Two drills may end at the same moment.
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.execute_batch(
            "PRAGMA journal_mode = WAL;
             CREATE TABLE IF NOT EXISTS run (
               run TEXT NOT NULL, drill TEXT NOT NULL, started TEXT NOT NULL,
               finished INTEGER NOT NULL, verdict TEXT NOT NULL, runtime TEXT NOT NULL,
               seconds REAL NOT NULL, rto REAL, rpo REAL,
               PRIMARY KEY (run, drill, started));
             CREATE INDEX IF NOT EXISTS run_by_drill ON run (drill, finished);",
        )?;
        Ok(History(connection))
    }

    /// Adds a run. `finished`: Unix time.
    pub fn add(&self, document: &Document, finished: i64) -> Result<(), Error> {
        self.0.execute(
            "INSERT OR REPLACE INTO run (run, drill, started, finished, verdict, runtime, seconds, rto, rpo)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                document.run,
                document.drill,
                document.started,
                finished,
                document.verdict,
                document.runtime,
                document.seconds,
                document.number("rto"),
                document.rpo().map(|(_, value)| value),
            ],
        )?;
        Ok(())
    }

    /// When the drill last passed, as Unix time.
    pub fn last_success(&self, drill: &str) -> Result<Option<i64>, Error> {
        let found = self.0.query_row(
            "SELECT max(finished) FROM run WHERE drill = ?1 AND verdict = 'pass'",
            [drill],
            |row| row.get(0),
        );
        Ok(found.optional()?.flatten())
    }

    /// The last `limit` runs of a drill, the oldest first.
    pub fn runs(&self, drill: &str, limit: usize) -> Result<Vec<Run>, Error> {
        let mut statement = self.0.prepare(
            "SELECT drill, run, started, verdict, runtime, seconds, rto, rpo FROM run
             WHERE drill = ?1 ORDER BY finished DESC, started DESC LIMIT ?2",
        )?;
        let rows = statement.query_map(
            params![drill, i64::try_from(limit).unwrap_or(i64::MAX)],
            |row| {
                Ok(Run {
                    drill: row.get(0)?,
                    run: row.get(1)?,
                    started: row.get(2)?,
                    verdict: row.get(3)?,
                    runtime: row.get(4)?,
                    seconds: row.get(5)?,
                    rto: row.get(6)?,
                    rpo: row.get(7)?,
                })
            },
        )?;
        let mut runs = rows.collect::<Result<Vec<_>, _>>()?;
        runs.reverse();
        Ok(runs)
    }

    /// The drills that have runs.
    pub fn drills(&self) -> Result<Vec<String>, Error> {
        let mut statement = self
            .0
            .prepare("SELECT DISTINCT drill FROM run ORDER BY drill")?;
        let names = statement.query_map([], |row| row.get(0))?;
        Ok(names.collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[1.0, 2.0]), Some(1.5));
        assert_eq!(median(&[1.0, 2.0, 9.0]), Some(2.0));
        assert_eq!(median(&[1.0, 2.0, 4.0, 9.0]), Some(3.0));
    }

    #[test]
    fn runs_come_back_in_order_and_the_last_success_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let history = History::open(&folder.path().join("history.db")).unwrap();
        for (n, verdict) in ["pass", "fail", "pass", "error"].iter().enumerate() {
            let document = Document {
                drill: "d".into(),
                run: n.to_string(),
                verdict: (*verdict).into(),
                ..Document::default()
            };
            history.add(&document, 100 + n as i64).unwrap();
        }
        let runs = history.runs("d", 3).unwrap();
        assert_eq!(
            runs.iter().map(|run| run.run.as_str()).collect::<Vec<_>>(),
            ["1", "2", "3"]
        );
        assert_eq!(history.last_success("d").unwrap(), Some(102));
        assert_eq!(history.last_success("other").unwrap(), None);
    }
}
