//! Two runs side by side: what got slower, what broke.

use super::document::Document;

/// One thing that is not the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    pub what: String,
    pub before: String,
    pub after: String,
    pub change: Change,
}

/// Whether a difference is good news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Better,
    Worse,
    /// Different, without a judgement.
    Other,
}

/// Times this close are the same: two runs never take exactly as long.
const NOISE: f64 = 0.1;
const NOISE_SECONDS: f64 = 0.05;

/// What differs from `a` to `b`.
pub fn diff(a: &Document, b: &Document) -> Vec<Difference> {
    let mut found = Vec::new();
    verdicts(&mut found, a, b);
    checks(&mut found, a, b);
    metrics(&mut found, a, b);
    steps(&mut found, a, b);
    for (name, before) in &a.environment {
        let after = b.environment.get(name);
        if after != Some(before) {
            other(
                &mut found,
                name.replace('_', " "),
                show(before),
                after.map_or("-".into(), show),
            );
        }
    }
    found
}

fn verdicts(found: &mut Vec<Difference>, a: &Document, b: &Document) {
    if a.verdict != b.verdict {
        let change = match (a.passed(), b.passed()) {
            (false, true) => Change::Better,
            (true, false) => Change::Worse,
            _ => Change::Other,
        };
        push(
            found,
            "verdict".into(),
            a.verdict.clone(),
            b.verdict.clone(),
            change,
        );
    }
}

fn checks(found: &mut Vec<Difference>, a: &Document, b: &Document) {
    let word = |ok: bool| if ok { "held" } else { "failed" }.to_string();
    let all = |document: &Document| {
        let checks = document
            .checks
            .iter()
            .map(|check| (check.name.clone(), check.ok));
        let expected = document.expectations.iter().map(|e| (e.text.clone(), e.ok));
        checks.chain(expected).collect::<Vec<_>>()
    };
    let (before, after) = (all(a), all(b));
    for (name, ok) in &before {
        match after.iter().find(|(other, _)| other == name) {
            Some((_, now)) if now != ok => {
                let change = if *now { Change::Better } else { Change::Worse };
                push(found, name.clone(), word(*ok), word(*now), change);
            }
            None => other(found, name.clone(), word(*ok), "not checked".into()),
            Some(_) => {}
        }
    }
    for (name, ok) in &after {
        if !before.iter().any(|(other, _)| other == name) {
            other(found, name.clone(), "not checked".into(), word(*ok));
        }
    }
}

fn metrics(found: &mut Vec<Difference>, a: &Document, b: &Document) {
    for (name, before) in &a.metrics {
        let Some(after) = b.metrics.get(name) else {
            other(
                found,
                name.clone(),
                show(&before.value),
                "not measured".into(),
            );
            continue;
        };
        if before.value == after.value {
            continue;
        }
        match (before.value.as_f64(), after.value.as_f64()) {
            (Some(x), Some(y)) if is_time(name) => times(found, name.clone(), x, y),
            _ => other(found, name.clone(), show(&before.value), show(&after.value)),
        }
    }
}

fn steps(found: &mut Vec<Difference>, a: &Document, b: &Document) {
    for step in &a.steps {
        if let Some(after) = b.steps.iter().find(|other| other.name == step.name) {
            times(
                found,
                format!("step: {}", step.name),
                step.seconds,
                after.seconds,
            );
        }
    }
    times(found, "whole drill".into(), a.seconds, b.seconds);
}

fn is_time(name: &str) -> bool {
    name == "rto" || name.starts_with("rto_") || name.ends_with("_seconds")
}

fn times(found: &mut Vec<Difference>, what: String, before: f64, after: f64) {
    let moved = (after - before).abs();
    if moved > NOISE_SECONDS && moved > before * NOISE {
        let change = if after < before {
            Change::Better
        } else {
            Change::Worse
        };
        push(
            found,
            what,
            format!("{before:.3} s"),
            format!("{after:.3} s"),
            change,
        );
    }
}

fn other(found: &mut Vec<Difference>, what: String, before: String, after: String) {
    push(found, what, before, after, Change::Other);
}

fn push(found: &mut Vec<Difference>, what: String, before: String, after: String, change: Change) {
    found.push(Difference {
        what,
        before,
        after,
        change,
    });
}

fn show(value: &serde_json::Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::document::{Check, Step};

    fn run(verdict: &str, seconds: f64, ok: bool) -> Document {
        Document {
            verdict: verdict.into(),
            seconds,
            checks: vec![Check {
                name: "rows".into(),
                ok,
                detail: None,
            }],
            steps: vec![Step {
                name: "restore".into(),
                started: 0.0,
                seconds,
                depth: 0,
                ok: true,
                error: None,
            }],
            ..Document::default()
        }
    }

    #[test]
    fn the_same_run_does_not_differ() {
        assert_eq!(diff(&run("pass", 5.0, true), &run("pass", 5.1, true)), []);
    }

    #[test]
    fn what_broke_and_what_got_slower() {
        let found = diff(&run("pass", 5.0, true), &run("fail", 9.0, false));
        let worse: Vec<_> = found
            .iter()
            .filter(|d| d.change == Change::Worse)
            .map(|d| d.what.as_str())
            .collect();
        assert_eq!(worse, ["verdict", "rows", "step: restore", "whole drill"]);
    }
}
