//! A copy of the catalogue in a table of the server it captures, for those who look there.

use serde_json::json;

use super::store::Entry;
use super::{Catalogue, Error};
use crate::failure::Failure;
use crate::sql::{Connection, Value};
use crate::wal::Lsn;

/// The commit must not wait for a synchronous standby: that may be the receiver this is about.
const SET_UP: &str = "
SET synchronous_commit = local;
SET statement_timeout = '30s';
SET lock_timeout = '10s'";

const TABLE: &str = "
CREATE SCHEMA IF NOT EXISTS rpitr;
CREATE TABLE IF NOT EXISTS rpitr.wal_segments (
  catalogue uuid,
  name text,
  timeline int NOT NULL,
  start_lsn pg_lsn NOT NULL,
  end_lsn pg_lsn NOT NULL,
  size bigint NOT NULL,
  sha256 text,
  state text NOT NULL,
  reason text,
  valid_to pg_lsn,
  first_seen timestamptz NOT NULL,
  completed_at timestamptz,
  verified_at timestamptz,
  PRIMARY KEY (catalogue, name)
);
COMMENT ON TABLE rpitr.wal_segments IS 'WAL captured by rpitr wal watch; a copy of its catalogue'";

const UPSERT: &str = "
INSERT INTO rpitr.wal_segments
SELECT $1::text::uuid, r.* FROM jsonb_to_recordset($2::text::jsonb) AS r (
  name text, timeline int, start_lsn pg_lsn, end_lsn pg_lsn, size bigint, sha256 text, state text, reason text,
  valid_to pg_lsn, first_seen timestamptz, completed_at timestamptz, verified_at timestamptz)
ON CONFLICT (catalogue, name) DO UPDATE SET
  size = excluded.size, sha256 = excluded.sha256, state = excluded.state, reason = excluded.reason,
  valid_to = excluded.valid_to, completed_at = excluded.completed_at, verified_at = excluded.verified_at";

/// How many rows one statement carries.
const BATCH: usize = 1000;

/// A catalogue's news, taken out of it so that nothing is locked while the server is asked.
#[derive(Debug)]
pub struct News {
    id: String,
    revision: String,
    rows: Vec<Entry>,
}

impl Catalogue {
    /// What the mirror does not know yet.
    pub fn news(&self) -> Result<News, Error> {
        let told = self.about("mirrored")?;
        let since = told.and_then(|text| text.parse().ok()).unwrap_or(0);
        // Read before the rows: what is written in between is told again.
        let revision = self.about("revision")?.unwrap_or_default();
        Ok(News {
            id: self.about("id")?.unwrap_or_default(),
            revision,
            rows: self.changed_since(since)?,
        })
    }

    /// Notes that the mirror has it. A kill in between repeats an upsert, which changes nothing.
    pub fn told(&self, news: &News) -> Result<(), Error> {
        self.set_about("mirrored", &news.revision)
    }
}

/// Writes the news into the table `rpitr.wal_segments`, which is made if it is missing. Without news
/// nothing is written: each write makes WAL, and WAL makes segments. Returns the number of rows.
pub async fn push(server: &Connection, news: &News) -> Result<usize, Failure> {
    if news.rows.is_empty() {
        return Ok(0);
    }
    server.simple_query(SET_UP).await?;
    server.simple_query(TABLE).await?;
    for batch in news.rows.chunks(BATCH) {
        let rows: Vec<_> = batch.iter().map(row).collect();
        let rows = serde_json::Value::Array(rows).to_string();
        let parameters = [Value::Text(news.id.clone()), Value::Text(rows)];
        server.query(UPSERT, &parameters).await?;
    }
    Ok(news.rows.len())
}

fn row(entry: &Entry) -> serde_json::Value {
    let time =
        |micros: i64| chrono::DateTime::from_timestamp_micros(micros).map(|t| t.to_rfc3339());
    let lsn = |lsn: Lsn| lsn.to_string();
    json!({
        "name": entry.name,
        "timeline": entry.timeline,
        "start_lsn": lsn(entry.start),
        "end_lsn": lsn(entry.end),
        "size": entry.size,
        "sha256": entry.sha256,
        "state": entry.state.name(),
        "reason": entry.reason,
        "valid_to": entry.valid_to.map(lsn),
        "first_seen": time(entry.first_seen),
        "completed_at": entry.completed_at.and_then(time),
        "verified_at": entry.verified_at.and_then(time),
    })
}
