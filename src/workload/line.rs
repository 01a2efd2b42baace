//! One line of the verification log. An operation has two: what is about to be sent, and how it
//! ended. A `send` without an end was in flight when the writer died: indeterminate.

use serde::{Deserialize, Serialize};

use crate::wal::Lsn;

/// Times are Unix microseconds: `at` by the writer's clock, which never steps; `clock` and `after`
/// by the server's, before COMMIT was begun and after it was over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "e", rename_all = "lowercase")]
pub enum Line {
    /// The first line of a crew.
    Begin {
        schema: u32,
        seed: u64,
        writers: u32,
        /// Counts the crews of a run from 1: one more each time rpitr was killed and the run resumed.
        #[serde(default = "first")]
        epoch: u32,
        at: i64,
    },
    Send {
        op: i64,
        writer: u32,
        /// Counts a writer's operations from 1.
        seq: u64,
        /// Rows in the second table.
        items: u32,
        hash: String,
        at: i64,
        /// Counts a writer's connections from 1.
        session: u32,
    },
    /// The server said COMMIT, without a warning.
    Ok {
        op: i64,
        xid: u64,
        /// The WAL position somewhere before the commit record, and somewhere behind it.
        #[serde(with = "lsn")]
        low: Lsn,
        #[serde(with = "lsn_or_none", default, skip_serializing_if = "Option::is_none")]
        high: Option<Lsn>,
        clock: i64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<i64>,
        at: i64,
    },
    /// Refused before COMMIT, or rolled back on purpose: it never happened.
    Fail { op: i64, code: String, at: i64 },
    /// Nobody knows: no answer, or a COMMIT with a warning.
    Info {
        op: i64,
        reason: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        warnings: Vec<String>,
        at: i64,
    },
    /// The crew was stopped, not killed.
    End { at: i64 },
}

fn first() -> u32 {
    1
}

mod lsn {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::wal::Lsn;

    pub fn serialize<S: Serializer>(lsn: &Lsn, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(lsn)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Lsn, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(D::Error::custom)
    }
}

mod lsn_or_none {
    use serde::{Deserializer, Serializer};

    use crate::wal::Lsn;

    pub fn serialize<S: Serializer>(lsn: &Option<Lsn>, to: S) -> Result<S::Ok, S::Error> {
        match lsn {
            Some(lsn) => super::lsn::serialize(lsn, to),
            None => to.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Lsn>, D::Error> {
        super::lsn::deserialize(from).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_read_back_as_they_were() {
        let ok = Line::Ok {
            op: 1_000_000_001,
            xid: 760,
            low: Lsn(0x16B_3748),
            high: Some(Lsn(0x16B_3900)),
            clock: 1,
            after: Some(2),
            at: 3,
        };
        let bare = Line::Info {
            op: 5,
            reason: "timeout".into(),
            warnings: Vec::new(),
            at: 9,
        };
        for line in [ok, bare] {
            let text = serde_json::to_string(&line).unwrap();
            assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), line, "{text}");
        }
    }
}
