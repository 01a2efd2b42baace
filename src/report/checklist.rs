//! `checklist.md`: the record of a recovery test as auditors ask for it, filled from the run.

use std::fmt::Write;

use serde_json::Value;

use super::document::Document;

/// Rows of a table that are filed; all are in report.json.
const MOST_ROWS: usize = 50;

pub fn checklist(document: &Document) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "# Recovery test: {}\n\n{}\n",
        document.drill, document.summary
    );
    let _ = writeln!(out, "| | |\n|---|---|");
    let facts = [
        ("Verdict", document.verdict.to_uppercase()),
        ("Started", document.started.clone()),
        ("Finished", document.finished.clone()),
        (
            "Run",
            format!(
                "{} (seed {}, runtime {})",
                document.run, document.seed, document.runtime
            ),
        ),
        (
            "Recovery time (RTO)",
            document
                .number("rto")
                .map_or("not measured".into(), duration),
        ),
        (
            "Given up (RPO)",
            document
                .rpo()
                .map_or("not measured".into(), |(name, value)| {
                    format!(
                        "{} {}",
                        rounded(value),
                        name.strip_prefix("rpo_").unwrap_or("s")
                    )
                }),
        ),
    ];
    for (name, value) in facts {
        let _ = writeln!(out, "| {name} | {} |", cell(&value));
    }
    preparation(&mut out, document);
    steps(&mut out, document);
    verification(&mut out, document);
    timings(&mut out, document);
    tables(&mut out, document);
    issues(&mut out, document);
    out.push_str("\n## Sign-off\n\n| Role | Name | Date | Signature |\n|---|---|---|---|\n");
    for role in ["Carried out by", "Reviewed by", "Accepted by"] {
        let _ = writeln!(out, "| {role} | | | |");
    }
    out
}

fn preparation(out: &mut String, document: &Document) {
    out.push_str("\n## Preparation\n\n");
    for (name, value) in &document.environment {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_string);
        let _ = writeln!(out, "- [x] {}: {}", name.replace('_', " "), text);
    }
    for recovery in &document.recoveries {
        let _ = writeln!(
            out,
            "- [x] base backup {}, from {} to {}",
            recovery.backup, recovery.backup_start_lsn, recovery.backup_stop_lsn
        );
    }
    for (name, value) in &document.arguments {
        let _ = writeln!(out, "- [x] argument {name} = {value}");
    }
}

fn steps(out: &mut String, document: &Document) {
    out.push_str("\n## Steps\n\n| # | Step | Began | Took | Done |\n|---|---|---|---|---|\n");
    for (number, step) in document.steps.iter().enumerate() {
        let _ = writeln!(
            out,
            "| {} | {} | +{} | {} | {} |",
            number + 1,
            cell(&step.name),
            duration(step.started),
            duration(step.seconds),
            mark(step.ok)
        );
    }
}

fn verification(out: &mut String, document: &Document) {
    out.push_str("\n## Verification\n\n");
    for check in &document.checks {
        let detail = check
            .detail
            .as_deref()
            .map(|detail| format!(": {detail}"))
            .unwrap_or_default();
        let _ = writeln!(out, "- {} {}{detail}", mark(check.ok), check.name);
    }
    for expected in &document.expectations {
        let value = expected
            .value
            .as_ref()
            .map_or("not measured".into(), |value| {
                format!("measured {}", measured(value))
            });
        let _ = writeln!(out, "- {} {} ({value})", mark(expected.ok), expected.text);
    }
    if document.checks.is_empty() && document.expectations.is_empty() {
        out.push_str("- [ ] nothing was verified\n");
    }
}

fn timings(out: &mut String, document: &Document) {
    out.push_str("\n## Timings\n\n| What | Seconds |\n|---|---|\n");
    for (name, value) in document.phases() {
        let _ = writeln!(out, "| {name} | {value:.3} |");
    }
    let _ = writeln!(out, "| whole drill | {:.3} |", document.seconds);
    if let Some(postgres) = &document.postgres {
        let _ = writeln!(
            out,
            "| of it PostgreSQL's own programs | {:.3} |",
            postgres.seconds
        );
    }
}

/// What the drill listed by name: the rows given up, and whose they are.
fn tables(out: &mut String, document: &Document) {
    for table in &document.tables {
        let _ = writeln!(out, "\n## {}\n", table.title.trim_end_matches(':'));
        let row = |cells: Vec<String>| format!("| {} |", cells.join(" | "));
        let head = table.columns.iter().map(|column| cell(column)).collect();
        let _ = writeln!(out, "{}", row(head));
        let _ = writeln!(out, "|{}", "---|".repeat(table.columns.len()));
        for values in table.rows.iter().take(MOST_ROWS) {
            let cells = values.iter().map(|value| cell(&written(value))).collect();
            let _ = writeln!(out, "{}", row(cells));
        }
        if table.rows.len() > MOST_ROWS {
            let _ = writeln!(
                out,
                "\nThe first {MOST_ROWS} of {} rows; all are in report.json.",
                table.rows.len()
            );
        }
    }
}

fn issues(out: &mut String, document: &Document) {
    out.push_str("\n## Issues\n\n");
    let mut found = 0;
    let mut note = |text: String| {
        found += 1;
        let _ = writeln!(out, "- [ ] {text}");
    };
    if let Some(error) = &document.error {
        note(format!("{}: {}", error.kind, error.message));
    }
    for check in document.checks.iter().filter(|check| !check.ok) {
        note(format!("check failed: {}", check.name));
    }
    for expected in document.expectations.iter().filter(|expected| !expected.ok) {
        note(format!("expectation not met: {}", expected.text));
    }
    for failure in &document.cleanup_failures {
        note(format!("cleanup: {failure}"));
    }
    if found == 0 {
        out.push_str("None.\n");
    }
}

fn mark(ok: bool) -> &'static str {
    if ok { "[x]" } else { "[ ]" }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// A value as text: no quotes around strings, nothing for null, floats without noise.
pub fn written(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() => without_zeros(format!("{float:.4}")),
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}

/// What an expectation measured, with the three digits that the terminal shows.
pub fn measured(value: &Value) -> String {
    match value.as_f64() {
        Some(float) if value.is_f64() => rounded(float),
        _ => value.to_string(),
    }
}

fn rounded(value: f64) -> String {
    let before_point = value.abs().max(1e-9).log10().floor();
    without_zeros(format!(
        "{value:.*}",
        (2.0 - before_point).max(0.0) as usize
    ))
}

fn without_zeros(text: String) -> String {
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text,
    }
}

/// Seconds as people write them.
pub fn duration(seconds: f64) -> String {
    if seconds < 1.0 {
        format!("{:.0} ms", seconds * 1000.0)
    } else if seconds < 100.0 {
        format!("{seconds:.2} s")
    } else {
        format!("{} min {:02.0} s", (seconds / 60.0) as u64, seconds % 60.0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::document::{Expectation, Table};
    use super::*;

    #[test]
    fn numbers_have_the_digits_of_the_terminal() {
        for (value, shown) in [
            (json!(1.455_148_465_999_999_8), "1.46"),
            (json!(0.030_04), "0.03"),
            (json!(100.4), "100"),
            (json!(123_456.7), "123457"),
            (json!(0.0), "0"),
            (json!(1200), "1200"),
        ] {
            assert_eq!(measured(&value), shown);
        }
    }

    #[test]
    fn the_rows_a_drill_lists_are_filed_up_to_a_limit() {
        let table = |count: i64| Table {
            title: "Given up:".into(),
            columns: vec!["order".into(), "customer".into()],
            rows: (1..=count).map(|n| vec![json!(n), json!("a|b")]).collect(),
        };
        let document = |count| Document {
            tables: vec![table(count)],
            expectations: vec![Expectation {
                text: "rto < 5m".into(),
                value: Some(json!(1.455_148_465_999_999_8)),
                ok: true,
            }],
            ..Document::default()
        };
        let short = checklist(&document(50));
        assert!(short.contains("- [x] rto < 5m (measured 1.46)"), "{short}");
        assert!(
            short.contains("\n## Given up\n\n| order | customer |\n|---|---|\n| 1 | a\\|b |\n"),
            "{short}"
        );
        assert!(
            short.contains("| 50 | a") && !short.contains("The first"),
            "{short}"
        );
        let long = checklist(&document(51));
        assert!(!long.contains("| 51 | a"), "{long}");
        assert!(
            long.contains("The first 50 of 51 rows; all are in report.json."),
            "{long}"
        );
    }
}
