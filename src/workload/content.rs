//! What a writer does: invented from the seed, the same every time.

use std::fmt::Write as _;
use std::time::Duration;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// How a crew works.
#[derive(Debug, Clone)]
pub struct Spec {
    pub seed: u64,
    pub writers: u32,
    /// Seconds a writer waits between two operations, drawn evenly.
    pub think: (f64, f64),
    /// Rows in the second table for each one in the first.
    pub rows: (u32, u32),
    /// Bytes of text in a row.
    pub payload: (u32, u32),
    /// How long an operation, or a connection attempt, may take.
    pub deadline: Duration,
    /// The share of transactions that end with ROLLBACK on purpose.
    pub rollback: f64,
    /// The share that works in a subtransaction.
    pub savepoint: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Commit,
    Rollback,
}

/// One transaction over two tables, in one round trip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    pub op: i64,
    pub seq: u64,
    pub items: u32,
    pub hash: String,
    pub ending: Ending,
    pub sql: String,
    /// How many commands have completed when the COMMIT has.
    pub commit_at: usize,
}

/// A writer's stream of operations. Each writer draws from a stream of its own: one more writer
/// changes nothing for the others.
#[derive(Debug)]
pub struct Content {
    spec: Spec,
    writer: u32,
    seq: u64,
    what: ChaCha8Rng,
    when: ChaCha8Rng,
}

/// Operations are numbered writer by writer.
const WRITER: i64 = 1_000_000_000;

pub(super) fn stream(seed: u64, name: &str) -> ChaCha8Rng {
    ChaCha8Rng::from_seed(Sha256::digest(format!("{seed}/{name}")).into())
}

impl Content {
    pub fn new(spec: &Spec, writer: u32) -> Content {
        Content {
            spec: spec.clone(),
            writer,
            seq: 0,
            what: stream(spec.seed, &format!("content/{writer}")),
            when: stream(spec.seed, &format!("think/{writer}")),
        }
    }

    /// Goes on behind operation `seq`: what comes next is what would have come next.
    pub fn forward(&mut self, seq: u64) {
        while self.seq < seq {
            self.invent();
        }
    }

    /// How long to wait before the next operation.
    pub fn think(&mut self) -> Duration {
        let (low, high) = self.spec.think;
        let drawn: f64 = self.when.random();
        Duration::from_secs_f64((low + (high - low) * drawn).max(0.0))
    }

    /// The next operation; its number was never used before.
    pub fn invent(&mut self) -> Operation {
        self.seq += 1;
        let op = i64::from(self.writer) * WRITER + self.seq as i64;
        let (low, high) = self.spec.rows;
        let items = self.what.random_range(low.max(1)..=high.max(low).max(1));
        let ending = match self.what.random_bool(self.spec.rollback.clamp(0.0, 1.0)) {
            true => Ending::Rollback,
            false => Ending::Commit,
        };
        let nested = self.what.random_bool(self.spec.savepoint.clamp(0.0, 1.0));
        let note = self.text();
        let mut canonical = format!("{op}|{note}");
        let (open, close) = match nested {
            true => ("BEGIN; SAVEPOINT one; ", "; RELEASE SAVEPOINT one; "),
            false => ("BEGIN; ", "; "),
        };
        let mut sql = format!(
            "{open}INSERT INTO operations (op, items, note) VALUES ({op}, {items}, '{note}'); \
             INSERT INTO entries (op, n, payload) VALUES "
        );
        for n in 1..=items {
            let payload = self.text();
            let comma = if n > 1 { ", " } else { "" };
            // Writing to a String cannot fail.
            let _ = write!(sql, "{comma}({op}, {n}, '{payload}')");
            let _ = write!(canonical, "|{n}:{payload}");
        }
        sql.push_str(RETURNING);
        sql.push_str(close);
        sql.push_str(match ending {
            Ending::Commit => "COMMIT; ",
            Ending::Rollback => "ROLLBACK",
        });
        if ending == Ending::Commit {
            sql.push_str(AFTER);
        }
        Operation {
            op,
            seq: self.seq,
            items,
            hash: short_hash(&canonical),
            ending,
            sql,
            commit_at: if nested { 6 } else { 4 },
        }
    }

    /// Hexadecimal digits: they need no quoting.
    fn text(&mut self) -> String {
        let (low, high) = self.spec.payload;
        let length = self.what.random_range(low..=high.max(low)) as usize;
        let mut bytes = vec![0; length.div_ceil(2)];
        self.what.fill_bytes(&mut bytes);
        let mut text = hex(&bytes);
        text.truncate(length);
        text
    }
}

/// The lower bounds, read inside the transaction.
const RETURNING: &str = " RETURNING pg_current_xact_id(), pg_current_wal_insert_lsn(), \
     (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

/// The upper bounds, read behind it.
const AFTER: &str = "SELECT pg_current_wal_insert_lsn(), \
     (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

fn short_hash(text: &str) -> String {
    hex(&Sha256::digest(text)[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Spec {
        Spec {
            seed: 42,
            writers: 2,
            think: (0.0, 0.01),
            rows: (1, 3),
            payload: (10, 20),
            deadline: Duration::from_secs(5),
            rollback: 0.1,
            savepoint: 0.1,
        }
    }

    #[test]
    fn the_same_seed_writes_the_same() {
        let list = |writers, writer| {
            let spec = Spec { writers, ..spec() };
            let mut content = Content::new(&spec, writer);
            (0..200).map(|_| content.invent()).collect::<Vec<_>>()
        };
        assert_eq!(list(2, 1), list(2, 1));
        assert_eq!(
            list(2, 1),
            list(9, 1),
            "more writers change nothing for the first"
        );
        assert_ne!(list(2, 1)[0].sql, list(2, 2)[0].sql);
    }

    #[test]
    fn whoever_goes_on_writes_what_would_have_come_next() {
        let mut whole = Content::new(&spec(), 1);
        let all: Vec<_> = (0..50).map(|_| whole.invent()).collect();
        let mut resumed = Content::new(&spec(), 1);
        resumed.forward(30);
        assert_eq!(resumed.invent(), all[30]);
    }

    #[test]
    fn rollbacks_and_savepoints_come_up() {
        let mut content = Content::new(&spec(), 1);
        let list: Vec<_> = (0..300).map(|_| content.invent()).collect();
        assert!(list.iter().any(|o| o.ending == Ending::Rollback));
        assert!(list.iter().any(|o| o.commit_at == 6));
        assert!(list.iter().all(|o| (1..=3).contains(&o.items)));
        assert_eq!(list[299].op, 1_000_000_300);
    }

    #[test]
    fn the_hash_covers_every_row() {
        // What `verify` computes in SQL: op|note|1:payload|2:payload...
        assert_eq!(short_hash("1|a|1:b").len(), 32);
        assert_ne!(short_hash("1|a|1:b"), short_hash("1|a|1:c"));
    }
}
