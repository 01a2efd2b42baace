//! Points in time as PostgreSQL writes them: microseconds since the Unix epoch, in text always with
//! an offset.

use chrono::{DateTime, FixedOffset, Utc};

use crate::failure::{Failure, Kind};

/// A calendar date and clock time; `None` outside what a calendar can say.
pub fn date_time(micros: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_micros(micros)
}

/// The form PostgreSQL prints and reads back exactly: microseconds, numeric offset.
pub fn format_time(micros: i64) -> String {
    date_time(micros).map_or_else(
        || format!("{micros} microseconds"),
        |time| time.format("%Y-%m-%d %H:%M:%S%.6f+00").to_string(),
    )
}

/// Reads a time with an explicit numeric offset or `Z`. Anything else is refused: PostgreSQL would
/// read it in the server's time zone, and `IST` means three different offsets.
pub fn parse_time(text: &str) -> Result<i64, Failure> {
    let trimmed = text.trim();
    let mut iso = trimmed.replacen(' ', "T", 1);
    let offset_at = iso.rfind(['+', '-']).filter(|at| *at > 10);
    // "+00" and "+0530" become "+00:00" and "+05:30"; a space before the offset is allowed.
    if let Some(at) = offset_at {
        let (clock, offset) = iso.split_at(at);
        let digits: String = offset[1..].chars().filter(|c| *c != ':').collect();
        let sign = &offset[..1];
        let clock = clock.trim_end();
        iso = match digits.len() {
            2 => format!("{clock}{sign}{digits}:00"),
            4 => format!("{clock}{sign}{}:{}", &digits[..2], &digits[2..]),
            _ => iso.clone(),
        };
    }
    match DateTime::<FixedOffset>::parse_from_rfc3339(&iso) {
        Ok(time) => Ok(time.timestamp_micros()),
        Err(_) => {
            let bare = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M"]
                .iter()
                .any(|format| chrono::NaiveDateTime::parse_from_str(&iso, format).is_ok());
            let failure = Failure::new(
                Kind::Arg,
                format!("\"{trimmed}\" is not a time with a UTC offset"),
            )
            .code("time");
            Err(if bare {
                failure.hint(format!(
                    "add the offset, for example \"{trimmed}+00\" for UTC"
                ))
            } else {
                failure.hint("write it like 2026-11-21 03:16:27.828671+00")
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_need_an_offset() {
        for text in [
            "2026-11-21 03:16:27",
            "2026-11-21T03:16:27.5",
            "2026-11-21 03:16",
        ] {
            let failure = parse_time(text).unwrap_err();
            assert!(failure.hint.unwrap().contains("add the offset"), "{text}");
        }
        for text in [
            "2026-11-21 03:16:27 IST",
            "yesterday",
            "",
            "2026-13-01 00:00:00+00",
        ] {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn offsets_in_every_common_form() {
        let expected = parse_time("2026-11-21T03:16:27.828671Z").unwrap();
        for text in [
            "2026-11-21 03:16:27.828671+00",
            "2026-11-21 03:16:27.828671 +00:00",
            "2026-11-21 08:46:27.828671+0530",
            "2026-11-21 08:46:27.828671+05:30",
            "2026-11-20 19:16:27.828671-08",
        ] {
            assert_eq!(parse_time(text).unwrap(), expected, "{text}");
        }
        assert_eq!(format_time(expected), "2026-11-21 03:16:27.828671+00");
    }
}
