//! Which part of the WAL is asked for.

use std::str::FromStr;

use super::args::Place;
use crate::failure::Failure;
use crate::moment::parse_time;
use crate::wal::{Lsn, Wal};

/// A bound of a range: a position or a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    Lsn(Lsn),
    /// Unix microseconds.
    Time(i64),
}

impl FromStr for Bound {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(lsn) = text.parse() {
            return Ok(Bound::Lsn(lsn));
        }
        parse_time(text)
            .map(Bound::Time)
            .map_err(|failure: Failure| {
                let hint = failure.hint.map(|hint| format!("; {hint}"));
                format!("{}{}", failure.message, hint.unwrap_or_default())
            })
    }
}

/// A range of WAL: positions bound what is read, times what is shown of it. Times are those of
/// the ends of transactions, which do not grow strictly with the position.
#[derive(Debug, Clone, Copy, Default)]
pub struct Range {
    pub from: Option<Lsn>,
    pub to: Option<Lsn>,
    pub from_time: Option<i64>,
    pub to_time: Option<i64>,
}

impl Range {
    pub fn of(place: &Place) -> Range {
        let mut range = Range::default();
        match place.from {
            Some(Bound::Lsn(lsn)) => range.from = Some(lsn),
            Some(Bound::Time(time)) => range.from_time = Some(time),
            None => {}
        }
        match place.to {
            Some(Bound::Lsn(lsn)) => range.to = Some(lsn),
            Some(Bound::Time(time)) => range.to_time = Some(time),
            None => {}
        }
        range
    }

    /// Where to begin reading: not before the first segment there is.
    pub fn start(&self, wal: &Wal) -> Lsn {
        let first = wal.first().unwrap_or_default();
        self.from.map_or(first, |from| from.max(first))
    }

    /// Whether a moment lies in the range; both ends count.
    pub fn has_time(&self, unix_us: i64) -> bool {
        self.from_time.is_none_or(|from| from <= unix_us)
            && self.to_time.is_none_or(|to| unix_us <= to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_a_position_or_a_time_with_an_offset() {
        assert_eq!("0/10".parse(), Ok(Bound::Lsn(Lsn(16))));
        assert!(matches!(
            "2026-11-21 03:16:27+00".parse(),
            Ok(Bound::Time(_))
        ));
        let refused = "2026-11-21 03:16:27".parse::<Bound>().unwrap_err();
        assert!(refused.contains("offset"), "{refused}");
    }
}
