//! How far a receiver is behind its server.

use crate::sql::{Connection, Error, Value};
use crate::wal::Lsn;

/// Which receiver: by the name it gives as `application_name`, or by its slot.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    pub application: Option<String>,
    pub slot: Option<String>,
}

/// What the server knows about the receiver.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lag {
    /// The end of what the server has on disk: what a client was promised is before it.
    pub primary: Lsn,
    /// What the receiver has written: safe from the death of its process, not of its machine.
    pub written: Option<Lsn>,
    /// What the receiver has on disk, by its last report; while it is not connected, by its slot.
    pub flushed: Option<Lsn>,
    /// `streaming`, `catchup` ...; `None` while it is not connected.
    pub state: Option<String>,
}

const QUESTION: &str = "
SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_flush_lsn() END,
       r.write_lsn, coalesce(r.flush_lsn, k.restart_lsn), r.state
FROM (VALUES (1)) one
LEFT JOIN pg_replication_slots k ON k.slot_name = $2
LEFT JOIN pg_stat_replication r ON r.pid = k.active_pid OR r.application_name = $1
ORDER BY r.pid LIMIT 1";

impl Lag {
    /// Asks the server.
    pub async fn measure(server: &Connection, who: &Standing) -> Result<Lag, Error> {
        let text = |value: &Option<String>| value.clone().map_or(Value::Null, Value::Text);
        let rows = server
            .query(QUESTION, &[text(&who.application), text(&who.slot)])
            .await?;
        let Some(row) = rows.rows.first() else {
            return Ok(Lag::default());
        };
        let lsn = |at: usize| match row.get(at) {
            Some(Value::Lsn(lsn)) => Some(*lsn),
            _ => None,
        };
        Ok(Lag {
            primary: lsn(0).unwrap_or_default(),
            written: lsn(1),
            flushed: lsn(2),
            state: match row.get(3) {
                Some(Value::Text(state)) => Some(state.clone()),
                _ => None,
            },
        })
    }

    /// What would be lost if the server died now: bytes that it has on disk and the receiver has not.
    pub fn bytes(&self) -> Option<u64> {
        Some(self.primary.0.saturating_sub(self.flushed?.0))
    }
}
