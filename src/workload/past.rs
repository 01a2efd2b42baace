//! What a log says of the crews before: where the next one goes on when rpitr was killed and its run is resumed.

use std::collections::HashMap;
use std::path::Path;

use super::error::Error;
use super::line::Line;
use super::log::read_log;

/// How far one writer came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reached {
    /// The number of its last operation.
    pub seq: u64,
    pub session: u32,
}

#[derive(Debug, Clone, Default)]
pub struct Past {
    /// Crews that worked before.
    pub epochs: u32,
    pub ok: u64,
    pub failed: u64,
    /// Those that were in flight when a crew was killed, too.
    pub indeterminate: u64,
    /// The latest time on record.
    pub latest: i64,
    reached: HashMap<u32, Reached>,
}

impl Past {
    /// Of a log that may not be there yet.
    pub fn read(path: &Path) -> Result<Past, Error> {
        let mut past = Past::default();
        if !path.exists() {
            return Ok(past);
        }
        let mut sent = 0;
        for line in read_log(path)? {
            let at = match line {
                Line::Begin { at, .. } => {
                    past.epochs += 1;
                    at
                }
                Line::Send {
                    writer,
                    seq,
                    session,
                    at,
                    ..
                } => {
                    sent += 1;
                    let reached = past.reached.entry(writer).or_default();
                    reached.seq = reached.seq.max(seq);
                    reached.session = reached.session.max(session);
                    at
                }
                Line::Ok { at, .. } => {
                    past.ok += 1;
                    at
                }
                Line::Fail { at, .. } => {
                    past.failed += 1;
                    at
                }
                Line::Info { at, .. } | Line::End { at } => at,
            };
            past.latest = past.latest.max(at);
        }
        past.indeterminate = sent - past.ok - past.failed;
        Ok(past)
    }

    pub fn reached(&self, writer: u32) -> Reached {
        self.reached.get(&writer).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::log::Log;
    use super::*;
    use crate::wal::Lsn;

    fn send(writer: u32, seq: u64, session: u32, at: i64) -> Line {
        Line::Send {
            op: i64::from(writer) * 100 + seq as i64,
            writer,
            seq,
            items: 1,
            hash: "ab".into(),
            at,
            session,
        }
    }

    #[test]
    fn a_log_tells_where_to_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        assert_eq!(Past::read(&path).unwrap().epochs, 0);
        let mut log = Log::append(&path).unwrap();
        let lines = [
            Line::Begin {
                schema: 1,
                seed: 1,
                writers: 2,
                epoch: 1,
                at: 10,
            },
            send(1, 1, 1, 11),
            Line::Ok {
                op: 101,
                xid: 7,
                low: Lsn(1),
                high: None,
                clock: 12,
                after: None,
                at: 13,
            },
            send(1, 2, 3, 14),
            send(2, 1, 1, 15),
            Line::Fail {
                op: 201,
                code: "rollback".into(),
                at: 16,
            },
        ];
        for line in &lines {
            log.add(line).unwrap();
        }
        let past = Past::read(&path).unwrap();
        assert_eq!((past.epochs, past.ok, past.failed), (1, 1, 1));
        assert_eq!(
            past.indeterminate, 1,
            "the second of the first writer was in flight"
        );
        assert_eq!(past.latest, 16);
        assert_eq!(past.reached(1), Reached { seq: 2, session: 3 });
        assert_eq!(past.reached(2), Reached { seq: 1, session: 1 });
        assert_eq!(past.reached(3), Reached::default());
    }
}
