//! The names of WAL files and the arithmetic behind them (`XLogFileName` and friends in
//! PostgreSQL's `access/xlog_internal.h`).
//!
//! A name holds the timeline and the segment number in two parts whose meaning depends on the
//! segment size, so a parsed name keeps the parts and turns into a number only with a size.

use std::fmt;

use super::Lsn;

/// The size of a WAL segment: a power of two from 1 MB to 1 GB (`IsValidWalSegSize`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentSize(u64);

impl SegmentSize {
    /// What `initdb` uses unless told otherwise: 16 MB.
    pub const DEFAULT: SegmentSize = SegmentSize(16 * 1024 * 1024);

    /// `None` unless `bytes` is a size PostgreSQL accepts.
    pub fn new(bytes: u64) -> Option<Self> {
        (bytes.is_power_of_two() && (1 << 20..=1 << 30).contains(&bytes)).then_some(Self(bytes))
    }

    pub fn bytes(self) -> u64 {
        self.0
    }

    /// How many segments share one value of the middle eight digits of a name.
    fn per_id(self) -> u64 {
        0x1_0000_0000 / self.0
    }

    /// The first position of segment `number`.
    pub fn start(self, number: u64) -> Lsn {
        Lsn(number.saturating_mul(self.0))
    }

    /// The number of the segment `lsn` lies in.
    pub fn number(self, lsn: Lsn) -> u64 {
        lsn.0 / self.0
    }

    /// The offset of `lsn` inside its segment.
    pub fn offset(self, lsn: Lsn) -> u64 {
        lsn.0 % self.0
    }

    /// The file name of segment `number` on `timeline`.
    pub fn name(self, timeline: u32, number: u64) -> String {
        let high = number / self.per_id();
        let low = number % self.per_id();
        format!("{timeline:08X}{high:08X}{low:08X}")
    }
}

impl fmt::Display for SegmentSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 1 << 30 {
            f.write_str("1 GB")
        } else {
            write!(f, "{} MB", self.0 >> 20)
        }
    }
}

/// A file name that PostgreSQL gives to something in `pg_wal` or in an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FileName {
    /// A whole segment.
    Segment { timeline: u32, high: u32, low: u32 },
    /// The last, unfinished segment of a timeline. Archive recovery never asks for it.
    Partial { timeline: u32, high: u32, low: u32 },
    /// Where a timeline branched off.
    History { timeline: u32 },
    /// The label of a base backup, written when it ended.
    Backup {
        timeline: u32,
        high: u32,
        low: u32,
        offset: u32,
    },
}

impl FileName {
    /// `None` for a name PostgreSQL would not produce. Lower-case digits are refused as
    /// PostgreSQL refuses them (`IsXLogFileName`).
    pub fn parse(name: &str) -> Option<FileName> {
        let (stem, suffix) = match name.split_once('.') {
            Some((stem, suffix)) => (stem, Some(suffix)),
            None => (name, None),
        };
        if suffix == Some("history") {
            let timeline = hex(stem)?;
            return (timeline > 0).then_some(FileName::History { timeline });
        }
        if stem.len() != 24 || !stem.is_ascii() {
            return None;
        }
        let timeline = hex(&stem[..8]).filter(|t| *t > 0)?;
        let (high, low) = (hex(&stem[8..16])?, hex(&stem[16..])?);
        match suffix {
            None => Some(FileName::Segment {
                timeline,
                high,
                low,
            }),
            Some("partial") => Some(FileName::Partial {
                timeline,
                high,
                low,
            }),
            Some(rest) => {
                let offset = hex(rest.strip_suffix(".backup")?)?;
                Some(FileName::Backup {
                    timeline,
                    high,
                    low,
                    offset,
                })
            }
        }
    }

    pub fn timeline(self) -> u32 {
        match self {
            FileName::Segment { timeline, .. }
            | FileName::Partial { timeline, .. }
            | FileName::History { timeline }
            | FileName::Backup { timeline, .. } => timeline,
        }
    }

    /// The segment number, when the name has one that exists at this segment size.
    pub fn number(self, size: SegmentSize) -> Option<u64> {
        let (high, low) = match self {
            FileName::Segment { high, low, .. }
            | FileName::Partial { high, low, .. }
            | FileName::Backup { high, low, .. } => (u64::from(high), u64::from(low)),
            FileName::History { .. } => return None,
        };
        (low < size.per_id()).then(|| high * size.per_id() + low)
    }
}

/// Exactly eight upper-case hexadecimal digits.
fn hex(digits: &str) -> Option<u32> {
    let upper = |b: u8| b.is_ascii_digit() || (b'A'..=b'F').contains(&b);
    if digits.len() != 8 || !digits.bytes().all(upper) {
        return None;
    }
    u32::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_at_every_size_round_trip_and_roll_over() {
        for shift in 20..=30 {
            let size = SegmentSize::new(1 << shift).unwrap();
            let per_id = 0x1_0000_0000_u64 >> shift;
            for number in [0, 1, per_id - 1, per_id, per_id * 7 + 1] {
                let name = size.name(3, number);
                let parsed = FileName::parse(&name).unwrap();
                assert_eq!(parsed.timeline(), 3);
                assert_eq!(parsed.number(size), Some(number), "{name} at {size}");
                assert_eq!(size.number(size.start(number)), number);
            }
        }
        assert_eq!(
            SegmentSize::DEFAULT.name(1, 256),
            "000000010000000100000000"
        );
        assert!(SegmentSize::new(3 << 20).is_none());
        assert!(SegmentSize::new(1 << 31).is_none());
        assert!(SegmentSize::new(0).is_none());
    }

    #[test]
    fn kinds_of_names() {
        let segment = "00000001000000020000000A";
        assert!(matches!(
            FileName::parse(segment),
            Some(FileName::Segment {
                timeline: 1,
                high: 2,
                low: 10
            })
        ));
        assert!(matches!(
            FileName::parse("00000001000000020000000A.partial"),
            Some(FileName::Partial { .. })
        ));
        assert!(matches!(
            FileName::parse("00000002.history"),
            Some(FileName::History { timeline: 2 })
        ));
        assert!(matches!(
            FileName::parse("00000001000000020000000A.00000028.backup"),
            Some(FileName::Backup { offset: 0x28, .. })
        ));
        for bad in [
            "",
            "x",
            "00000001",
            "00000000.history",
            "00000002.History",
            "00000001000000020000000a",
            "00000001000000020000000A.gz",
            "00000001000000020000000A.00000028",
            "0000000100000002000000é",
            "../000001000000020000000A",
            "00000000000000020000000A",
            ".00000001000000020000000A",
        ] {
            assert_eq!(FileName::parse(bad), None, "{bad:?} was accepted");
        }
        // 16 MB segments roll over at 0xFF: this name exists only at smaller sizes.
        let name = FileName::parse("000000010000000000000100").unwrap();
        assert_eq!(name.number(SegmentSize::DEFAULT), None);
        assert_eq!(name.number(SegmentSize::new(1 << 20).unwrap()), Some(256));
    }
}
