//! Literals where a certain kind of value is asked for: durations, sizes, LSNs, times, one of a few
//! words, and plain types. What is computed is left to run time.

use crate::check::finding::Rule;
use crate::check::known::Known;
use crate::check::report::{Report, suggest};
use crate::check::syntax::{Expression, Kind};
use crate::check::types::Type;
use crate::moment::parse_time;
use crate::wal::Lsn;

/// Units with what they stand for, as `stdlib/rpitr/core/args.lua` has them.
pub const SECONDS: &[(&str, f64)] = &[
    ("", 1.0),
    ("ms", 0.001),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
    ("d", 86400.0),
];
pub const BYTES: &[(&str, f64)] = &[
    ("", 1.0),
    ("B", 1.0),
    ("kB", 1024.0),
    ("MB", 1_048_576.0),
    ("GB", 1_073_741_824.0),
    ("TB", 1_099_511_627_776.0),
];

/// Recovery targets that are a word.
const TARGETS: [&str; 2] = ["latest", "immediate"];
/// Those below are PostgreSQL's own.
const FIRST_XID: u64 = 3;

/// What a number and a unit come to: `250ms`, `5 s`.
pub fn measure(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let split = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = unit.trim_start();
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    Some(number.parse::<f64>().ok()? * factor)
}

/// Whether a text is a duration, or two as `5..20s`, the unit of the second for both.
fn is_range(text: &str) -> bool {
    let Some((low, high)) = text.split_once("..") else {
        return measure(text.trim(), SECONDS).is_some();
    };
    let (low, high) = (low.trim(), high.trim());
    let unit = high.trim_start_matches(|c: char| !c.is_ascii_alphabetic());
    let low = match low.contains(|c: char| c.is_ascii_alphabetic()) {
        true => low.to_string(),
        false => format!("{low}{unit}"),
    };
    match (measure(&low, SECONDS), measure(high, SECONDS)) {
        (Some(low), Some(high)) => low <= high,
        _ => false,
    }
}

/// Whether a text is a recovery target, as `stdlib/rpitr/pitr/target.lua` reads it.
fn is_target(text: &str) -> bool {
    if TARGETS.contains(&text) || text.parse::<Lsn>().is_ok() {
        return true;
    }
    match text.split_once(':') {
        Some(("lsn" | "before", lsn)) => lsn.parse::<Lsn>().is_ok(),
        Some(("xid", id)) => {
            !id.starts_with(['0', '+']) && id.parse::<u64>().is_ok_and(|id| id >= FIRST_XID)
        }
        Some(("name", name)) => (1..=63).contains(&name.len()),
        Some(("time", time)) => parse_time(time).is_ok(),
        _ => parse_time(text).is_ok(),
    }
}

/// Whether a value fits: yes, no, or nobody can tell.
fn fits(known: &Known, part: &Type, value: &Expression) -> Option<bool> {
    let text = value.literal();
    if let Type::Named(name) = part {
        match (&**name, text) {
            ("rpitr.Duration", Some(text)) => return Some(measure(text.trim(), SECONDS).is_some()),
            ("rpitr.Size", Some(text)) => return Some(measure(text.trim(), BYTES).is_some()),
            ("rpitr.chaos.Range", Some(text)) => return Some(is_range(text)),
            ("rpitr.pitr.To", Some(text)) => return Some(is_target(text)),
            ("rpitr.Duration" | "rpitr.Size", None) => {
                return match value.kind {
                    Kind::Integer | Kind::Float => Some(true),
                    Kind::String(_) => None,
                    _ => Some(false),
                };
            }
            _ => {}
        }
        return match known.resolve(part) {
            Type::Named(class) => {
                let table = known.table(&class)?;
                let writable = !table.module && !known.is_handle(table);
                Some(matches!(value.kind, Kind::Table(_)) && writable || table.call.is_some())
            }
            resolved => Some(any_fits(known, &resolved, value)?),
        };
    }
    let matched = match (part, &value.kind) {
        (Type::Unknown | Type::Generic(_), _) => return None,
        (Type::String, Kind::String(_)) => true,
        (Type::Literal(one), Kind::String(Some(text))) => **one == **text,
        (Type::Literal(_), Kind::String(None)) => return None,
        (Type::Boolean, Kind::Boolean) => true,
        (Type::Integer | Type::Number, Kind::Integer) | (Type::Number, Kind::Float) => true,
        // 5.0 is an integer to Lua's libraries.
        (Type::Integer, Kind::Float) => return None,
        (Type::Function(_), Kind::Function(_)) => true,
        (Type::List(_) | Type::Map(_) | Type::Table | Type::Record(_), Kind::Table(_)) => true,
        (Type::Nil, Kind::Nil) => true,
        _ => false,
    };
    Some(matched)
}

fn any_fits(known: &Known, ty: &Type, value: &Expression) -> Option<bool> {
    let mut unclear = false;
    for part in ty.parts() {
        match fits(known, part, value) {
            Some(true) => return Some(true),
            Some(false) => {}
            None => unclear = true,
        }
    }
    if unclear { None } else { Some(false) }
}

/// Reports a literal that cannot be right. `owner` and `what` name the place: `timer.sleep`,
/// `duration`.
pub fn check(
    report: &mut Report,
    known: &Known,
    expected: &Type,
    value: &Expression,
    owner: &str,
    what: &str,
) {
    let value = value.bare();
    let is_literal = matches!(
        value.kind,
        Kind::Boolean
            | Kind::Integer
            | Kind::Float
            | Kind::String(_)
            | Kind::Table(_)
            | Kind::Function(_)
    );
    if !is_literal || !expected.is_known() {
        return;
    }
    if any_fits(known, expected, value) == Some(false) {
        let (wanted, hint) = wanted(known, expected, value);
        let message = format!("{owner}: {what} must be {wanted}, got {}", shown(value));
        report.add(Rule::BadValue, &value.span, message, hint);
    } else if let Some(text) = value.literal() {
        formatted(report, expected, text, value, owner, what);
    }
}

/// Texts that stand for something else are read as they will be at run time.
fn formatted(
    report: &mut Report,
    expected: &Type,
    text: &str,
    value: &Expression,
    owner: &str,
    what: &str,
) {
    let has = |name: &str| {
        let named = |part: &Type| matches!(part, Type::Named(found) if **found == *name);
        expected.parts().iter().any(named)
    };
    // With more than one way to read a text nobody can say that it is wrong.
    let others = |part: &Type| {
        !matches!(part, Type::String | Type::Nil)
            && !matches!(part, Type::Named(name) if matches!(&**name, "rpitr.Lsn" | "rpitr.Time"))
    };
    if expected.parts().iter().any(others) {
        return;
    }
    let wanted = match (has("rpitr.Lsn"), has("rpitr.Time")) {
        (true, false) if text.parse::<Lsn>().is_err() => "an LSN such as \"0/16B3748\"",
        (false, true) if parse_time(text).is_err() => {
            "a time with a UTC offset such as \"2026-11-21 03:16:27+00\""
        }
        _ => return,
    };
    let message = format!("{owner}: {what} must be {wanted}, got {}", shown(value));
    report.add(Rule::BadValue, &value.span, message, None);
}

/// What was asked for in words, and the nearest of a choice.
fn wanted(known: &Known, expected: &Type, value: &Expression) -> (String, Option<String>) {
    let named = |name: &str| {
        let is = |part: &Type| matches!(part, Type::Named(found) if **found == *name);
        expected.parts().iter().any(is)
    };
    if named("rpitr.Duration") {
        return ("a duration such as 5, \"5s\" or \"250ms\"".into(), None);
    }
    if named("rpitr.chaos.Range") {
        return ("a duration or a range such as \"5..20s\"".into(), None);
    }
    if named("rpitr.pitr.To") {
        let words = "a recovery target: latest, immediate, lsn:, before:, xid:, name:, or a time with a UTC offset";
        let near = |text| suggest(text, TARGETS.into_iter(), |near| format!("\"{near}\""));
        return (words.into(), value.literal().and_then(near));
    }
    if named("rpitr.Size") {
        return ("a size such as \"16MB\"".into(), None);
    }
    let resolved = known.resolve(expected);
    let mut words: Vec<String> = Vec::new();
    let mut choices: Vec<&str> = Vec::new();
    for part in resolved.parts() {
        match part {
            Type::Literal(text) => choices.push(text),
            Type::Nil => {}
            other => words.push(in_words(other)),
        }
    }
    if !choices.is_empty() {
        words.insert(0, format!("one of {}", choices.join(", ")));
    }
    let hint = value
        .literal()
        .and_then(|text| suggest(text, choices.iter().copied(), |near| format!("\"{near}\"")));
    (words.join(" or "), hint)
}

fn in_words(ty: &Type) -> String {
    match ty {
        Type::Boolean => "a boolean".into(),
        Type::Integer => "an integer".into(),
        Type::Number => "a number".into(),
        Type::String => "a string".into(),
        Type::Function(_) => "a function".into(),
        Type::Named(name) => {
            let short = name.strip_prefix("rpitr.").unwrap_or(name);
            let article = if short.starts_with(['A', 'E', 'I', 'O', 'U']) {
                "an"
            } else {
                "a"
            };
            format!("{article} {short}")
        }
        _ => "a table".into(),
    }
}

fn shown(value: &Expression) -> String {
    match &value.kind {
        Kind::String(Some(text)) => format!("the string \"{text}\""),
        Kind::String(None) => "a string".into(),
        Kind::Integer | Kind::Float => "a number".into(),
        Kind::Boolean => "a boolean".into(),
        Kind::Function(_) => "a function".into(),
        _ => "a table".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_those_of_the_library() {
        for text in [
            "latest",
            "immediate",
            "0/3000148",
            "lsn:0/3000148",
            "before:0/3000148",
            "xid:1234",
            "name:before-deploy",
            "2026-11-21 03:16:27+00",
            "time:2026-11-21 03:16:27+00",
        ] {
            assert!(is_target(text), "{text}");
        }
        for text in [
            "lastest",
            "",
            "lsn:12",
            "xid:2",
            "xid:012",
            "name:",
            "2026-11-21 03:16:27",
            "nmae:x",
        ] {
            assert!(!is_target(text), "{text}");
        }
    }

    #[test]
    fn units_are_those_of_the_library() {
        for text in ["5", "5s", " 250 ms ", "1.5h", "2d"] {
            assert!(measure(text.trim(), SECONDS).is_some(), "{text}");
        }
        for text in ["", "10x", "s", "1.2.3s", "-5s", "5 s s", "20..5s"] {
            assert!(measure(text.trim(), SECONDS).is_none(), "{text}");
        }
        assert_eq!(measure("2 kB", BYTES), Some(2048.0));
        assert_eq!(measure("16mb", BYTES), None);
    }
}
