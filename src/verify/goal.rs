//! Recovery targets as a bundle stores them: numbers, no text that could be read in two ways.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::wal::Lsn;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// Unix microseconds.
    Time(i64),
    Lsn(Lsn),
    Xid(u32),
    Latest,
}

/// A target and its side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Goal {
    pub target: Target,
    pub inclusive: bool,
}

impl Goal {
    pub fn kind(&self) -> &'static str {
        match self.target {
            Target::Time(_) => "time",
            Target::Lsn(_) => "lsn",
            Target::Xid(_) => "xid",
            Target::Latest => "latest",
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = if self.inclusive {
            "inclusive"
        } else {
            "exclusive"
        };
        match self.target {
            Target::Time(us) => {
                write!(
                    f,
                    "time {}.{:06} {side}",
                    us.div_euclid(1_000_000),
                    us.rem_euclid(1_000_000)
                )
            }
            Target::Lsn(lsn) => write!(f, "lsn {lsn} {side}"),
            Target::Xid(xid) => write!(f, "xid {xid} {side}"),
            Target::Latest => write!(f, "latest"),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Stored {
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    time_us: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lsn: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    xid: Option<u32>,
    inclusive: bool,
}

impl From<Goal> for Stored {
    fn from(goal: Goal) -> Stored {
        let mut stored = Stored {
            kind: goal.kind().into(),
            time_us: None,
            lsn: None,
            xid: None,
            inclusive: goal.inclusive,
        };
        match goal.target {
            Target::Time(us) => stored.time_us = Some(us),
            Target::Lsn(lsn) => stored.lsn = Some(lsn.to_string()),
            Target::Xid(xid) => stored.xid = Some(xid),
            Target::Latest => {}
        }
        stored
    }
}

impl TryFrom<Stored> for Goal {
    type Error = String;

    fn try_from(stored: Stored) -> Result<Goal, String> {
        let missing = || format!("a target of kind {} without its value", stored.kind);
        let target = match stored.kind.as_str() {
            "time" => Target::Time(stored.time_us.ok_or_else(missing)?),
            "lsn" => {
                let text = stored.lsn.as_deref().ok_or_else(missing)?;
                Target::Lsn(text.parse().map_err(|error| format!("{error}"))?)
            }
            "xid" => Target::Xid(stored.xid.ok_or_else(missing)?),
            "latest" => Target::Latest,
            other => return Err(format!("no target is of kind {other}")),
        };
        Ok(Goal {
            target,
            inclusive: stored.inclusive,
        })
    }
}
