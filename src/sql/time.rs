//! Dates and times as the server stores them: exact microseconds, `infinity`, years before
//! Christ. `Display` is PostgreSQL's ISO output.

use std::fmt;

const DAY: i64 = 86_400_000_000;
/// Days from 1970-01-01 to PostgreSQL's epoch, 2000-01-01.
const EPOCH_DAYS: i64 = 10_957;

/// Microseconds since 2000-01-01 00:00:00 (UTC for `timestamptz`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

/// Days since 2000-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(pub i32);

/// Microseconds since midnight; `24:00:00` is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub i64);

/// A time of day with its offset, in seconds *west* of UTC as the server stores it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimeTz {
    pub time: Time,
    pub west: i32,
}

/// Months, days and microseconds, which do not convert into each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Interval {
    pub months: i32,
    pub days: i32,
    pub micros: i64,
}

impl Timestamp {
    pub const INFINITY: Timestamp = Timestamp(i64::MAX);
    pub const NEG_INFINITY: Timestamp = Timestamp(i64::MIN);

    pub fn is_finite(self) -> bool {
        self != Timestamp::INFINITY && self != Timestamp::NEG_INFINITY
    }

    /// From microseconds since 1970; `None` out of range.
    pub fn from_unix_micros(micros: i64) -> Option<Timestamp> {
        micros.checked_sub(EPOCH_DAYS * DAY).map(Timestamp)
    }

    /// Microseconds since 1970; `None` for infinity and out of range.
    pub fn unix_micros(self) -> Option<i64> {
        self.is_finite()
            .then(|| self.0.checked_add(EPOCH_DAYS * DAY))?
    }

    /// Writes with `zone` between the time and `BC`.
    pub(crate) fn write(self, f: &mut fmt::Formatter<'_>, zone: &str) -> fmt::Result {
        match self {
            Timestamp::INFINITY => return f.write_str("infinity"),
            Timestamp::NEG_INFINITY => return f.write_str("-infinity"),
            _ => {}
        }
        let (days, micros) = (self.0.div_euclid(DAY), self.0.rem_euclid(DAY));
        let bc = write_day(f, days)?;
        write!(f, " {}{zone}{bc}", Time(micros))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, "")
    }
}

impl Date {
    pub const INFINITY: Date = Date(i32::MAX);
    pub const NEG_INFINITY: Date = Date(i32::MIN);
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Date::INFINITY => f.write_str("infinity"),
            Date::NEG_INFINITY => f.write_str("-infinity"),
            Date(days) => {
                let bc = write_day(f, i64::from(days))?;
                f.write_str(bc)
            }
        }
    }
}

/// Writes year, month and day; gives the era's suffix, which comes after the time.
fn write_day(f: &mut fmt::Formatter<'_>, days: i64) -> Result<&'static str, fmt::Error> {
    let (year, month, day) = civil(days + EPOCH_DAYS);
    // There is no year 0: astronomical 0 is 1 BC.
    let (year, bc) = if year > 0 {
        (year, "")
    } else {
        (1 - year, " BC")
    };
    write!(f, "{year:04}-{month:02}-{day:02}")?;
    Ok(bc)
}

/// Days since 1970-01-01 to the proleptic Gregorian year, month and day. Counts in eras of 400
/// years that start on 1 March, so that the leap day comes last.
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / 1_000_000;
        write!(
            f,
            "{:02}:{:02}:{:02}",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        )?;
        write_fraction(f, self.0 % 1_000_000)
    }
}

/// `.5`, `.000001` or nothing.
fn write_fraction(f: &mut fmt::Formatter<'_>, micros: i64) -> fmt::Result {
    if micros == 0 {
        return Ok(());
    }
    let digits = format!("{micros:06}");
    write!(f, ".{}", digits.trim_end_matches('0'))
}

impl fmt::Display for TimeTz {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.west <= 0 { '+' } else { '-' };
        let offset = self.west.unsigned_abs();
        write!(f, "{}{sign}{:02}", self.time, offset / 3600)?;
        if !offset.is_multiple_of(3600) {
            write!(f, ":{:02}", offset / 60 % 60)?;
        }
        if !offset.is_multiple_of(60) {
            write!(f, ":{:02}", offset % 60)?;
        }
        Ok(())
    }
}

impl fmt::Display for Interval {
    /// `intervalstyle = postgres`: `1 year -2 mons +3 days 04:05:06.5`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if (self.months, self.days, self.micros) == (i32::MAX, i32::MAX, i64::MAX) {
            return f.write_str("infinity");
        }
        if (self.months, self.days, self.micros) == (i32::MIN, i32::MIN, i64::MIN) {
            return f.write_str("-infinity");
        }
        let mut first = true;
        let mut negative_before = false;
        let parts = [
            (self.months / 12, "year"),
            (self.months % 12, "mon"),
            (self.days, "day"),
        ];
        for (count, unit) in parts {
            if count == 0 {
                continue;
            }
            let space = if first { "" } else { " " };
            // After a negative part a positive one shows its sign.
            let plus = if negative_before && count > 0 {
                "+"
            } else {
                ""
            };
            let plural = if count == 1 { "" } else { "s" };
            write!(f, "{space}{plus}{count} {unit}{plural}")?;
            first = false;
            negative_before = count < 0;
        }
        if self.micros == 0 && !first {
            return Ok(());
        }
        let space = if first { "" } else { " " };
        let sign = match self.micros < 0 {
            true => "-",
            false if negative_before => "+",
            false => "",
        };
        let micros = self.micros.unsigned_abs();
        let seconds = micros / 1_000_000;
        write!(
            f,
            "{space}{sign}{:02}:{:02}:{:02}",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        )?;
        write_fraction(f, (micros % 1_000_000) as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{DateTime, Datelike};
    use proptest::prelude::*;

    #[test]
    fn edges() {
        assert_eq!(Timestamp(0).to_string(), "2000-01-01 00:00:00");
        assert_eq!(Timestamp(-1).to_string(), "1999-12-31 23:59:59.999999");
        assert_eq!(Timestamp::NEG_INFINITY.to_string(), "-infinity");
        assert_eq!(Date(-730_119).to_string(), "0001-01-01");
        assert_eq!(Date(-730_120).to_string(), "0001-12-31 BC");
        assert_eq!(Date(i32::MAX).to_string(), "infinity");
        assert_eq!(Time(DAY).to_string(), "24:00:00");
        assert_eq!(
            TimeTz {
                time: Time(500_000),
                west: -20_700
            }
            .to_string(),
            "00:00:00.5+05:45"
        );
        assert_eq!(
            Timestamp::from_unix_micros(0).unwrap().to_string(),
            "1970-01-01 00:00:00"
        );
        assert_eq!(Timestamp::INFINITY.unix_micros(), None);
    }

    #[test]
    fn intervals() {
        let show = |months, days, micros| {
            Interval {
                months,
                days,
                micros,
            }
            .to_string()
        };
        assert_eq!(show(0, 0, 0), "00:00:00");
        assert_eq!(
            show(14, 3, 14_706_789_000),
            "1 year 2 mons 3 days 04:05:06.789"
        );
        assert_eq!(show(-14, 3, 1), "-1 years -2 mons +3 days 00:00:00.000001");
        assert_eq!(show(0, -1, 1_000_000), "-1 days +00:00:01");
        assert_eq!(show(0, 0, -1_500_000), "-00:00:01.5");
    }

    proptest! {
        #[test]
        fn timestamps_agree_with_chrono(micros in -6_000_000_000_000_000i64..200_000_000_000_000_000) {
            let unix = Timestamp(micros).unix_micros().unwrap();
            let chrono = DateTime::from_timestamp_micros(unix).unwrap();
            prop_assume!((1..=9999).contains(&chrono.year()));
            let text = chrono.format("%Y-%m-%d %H:%M:%S%.6f").to_string();
            let text = text.trim_end_matches('0').trim_end_matches('.').to_string();
            let whole = chrono.format("%Y-%m-%d %H:%M:%S").to_string();
            let expected = if text.len() > whole.len() { text } else { whole };
            prop_assert_eq!(Timestamp(micros).to_string(), expected);
            prop_assert_eq!(Timestamp::from_unix_micros(unix), Some(Timestamp(micros)));
        }
    }
}
