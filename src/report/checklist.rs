//! `checklist.md`: the record of a recovery test as auditors ask for it, filled from the run.

use std::fmt::Write;

use super::document::Document;

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
                    format!("{value} {}", name.strip_prefix("rpo_").unwrap_or("s"))
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
            .map_or("not measured".into(), |value| format!("measured {value}"));
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
