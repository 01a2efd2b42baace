//! Log sequence numbers: a byte position in the WAL, written `0/16B3748`.

use std::fmt;
use std::str::FromStr;

use crate::failure::{Failure, Kind};

/// A byte position in the WAL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub u64);

impl Lsn {
    /// PostgreSQL's `InvalidXLogRecPtr`.
    pub const INVALID: Lsn = Lsn(0);

    /// The number of the segment this position lies in.
    pub fn segment(self, segment_size: u64) -> u64 {
        self.0 / segment_size
    }

    /// The position plus `bytes`, saturating at the end of the address space.
    pub fn plus(self, bytes: u64) -> Lsn {
        Lsn(self.0.saturating_add(bytes))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

/// Text that is not an LSN.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not an LSN")]
pub struct LsnError(pub String);

impl From<LsnError> for Failure {
    fn from(error: LsnError) -> Self {
        Failure::new(Kind::Arg, error.to_string())
            .code("lsn")
            .hint("write an LSN as two hexadecimal numbers: 0/16B3748")
    }
}

impl FromStr for Lsn {
    type Err = LsnError;

    /// Accepts exactly what PostgreSQL's `pg_lsn` input accepts: two groups of 1 to 8 hex digits.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let part = |digits: &str| {
            if digits.is_empty()
                || digits.len() > 8
                || !digits.bytes().all(|b| b.is_ascii_hexdigit())
            {
                return None;
            }
            u64::from_str_radix(digits, 16).ok()
        };
        text.split_once('/')
            .and_then(|(high, low)| Some(Lsn(part(high)? << 32 | part(low)?)))
            .ok_or_else(|| LsnError(text.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trip() {
        for text in ["0/0", "0/16B3748", "1A/FFFFFFFF", "FFFFFFFF/FFFFFFFF"] {
            assert_eq!(text.parse::<Lsn>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn refuses_what_postgresql_refuses() {
        for text in [
            "",
            "0",
            "/0",
            "0/",
            "0x1/0",
            "0/123456789",
            "G/0",
            "-1/0",
            " 0/0",
        ] {
            assert!(text.parse::<Lsn>().is_err(), "{text:?} was accepted");
        }
    }
}
