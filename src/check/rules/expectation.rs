//! The grammar of expectations: `metric[.aggregate] operator value[unit]`.

use super::values::{BYTES, SECONDS, measure};

const OPERATORS: [&str; 6] = ["<=", ">=", "==", "~=", "<", ">"];
const AGGREGATES: [&str; 4] = ["count", "sum", "min", "max"];

/// Why an expectation cannot be read or met.
#[derive(Debug, PartialEq, Eq)]
pub enum Wrong {
    Grammar,
    /// Read, but there is no such operator or aggregate, so that it is never met.
    Operator(String),
    Aggregate(String),
}

/// The metric an expectation is about.
pub fn read(text: &str) -> Result<&str, Wrong> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let end = text.find(|c| !word(c)).unwrap_or(text.len());
    let (metric, rest) = text.split_at(end);
    let rest = rest.strip_prefix('.').unwrap_or(rest);
    let end = rest
        .find(|c: char| !c.is_ascii_alphanumeric())
        .unwrap_or(rest.len());
    let (aggregate, rest) = rest.split_at(end);
    let rest = rest.trim_start();
    let end = rest.find(|c| !"<>=~".contains(c)).unwrap_or(rest.len());
    let (operator, value) = rest.split_at(end);
    let value = value.trim_start();
    let measured = measure(value, SECONDS).or_else(|| measure(value, BYTES));
    if metric.is_empty() || operator.is_empty() || operator.len() > 2 || measured.is_none() {
        return Err(Wrong::Grammar);
    }
    if !OPERATORS.contains(&operator) {
        return Err(Wrong::Operator(operator.to_string()));
    }
    let percentile = aggregate
        .strip_prefix('p')
        .is_some_and(|share| !share.is_empty() && share.chars().all(|c| c.is_ascii_digit()));
    if aggregate.is_empty() || percentile || AGGREGATES.contains(&aggregate) {
        Ok(metric)
    } else {
        Err(Wrong::Aggregate(aggregate.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_library_accepts_is_accepted() {
        for (text, metric) in [
            ("rto < 90s", "rto"),
            ("rows_lost == 0", "rows_lost"),
            ("failover.p95<15s", "failover"),
            ("size.max <= 1.5GB", "size"),
            ("x ~= 3", "x"),
        ] {
            assert_eq!(read(text), Ok(metric), "{text}");
        }
    }

    #[test]
    fn what_can_never_hold_is_not() {
        assert_eq!(read("rto = 5"), Err(Wrong::Operator("=".into())));
        assert_eq!(read("rto.avg < 5s"), Err(Wrong::Aggregate("avg".into())));
        for text in [
            "rto",
            "rto <",
            "rto < fast",
            "rto < 5x",
            "< 5s",
            "rto < 5 s s",
            "rto <<< 5",
        ] {
            assert_eq!(read(text), Err(Wrong::Grammar), "{text}");
        }
    }
}
