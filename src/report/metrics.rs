//! `metrics.prom`: the run for Prometheus' node exporter (textfile collector).

use std::fmt::Write;

use super::document::Document;

/// The text. `last_success`: Unix time of the drill's last passed run before this one, if known.
pub fn metrics(document: &Document, finished: i64, last_success: Option<i64>) -> String {
    let drill = escape(&document.drill);
    let mut out = String::new();
    let mut gauge = |name: &str, help: &str, labels: &str, value: f64| {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge");
        let _ = writeln!(out, "{name}{{drill=\"{drill}\"{labels}}} {value}");
    };
    gauge(
        "rpitr_drill_passed",
        "Whether the last run proved the recovery (1) or not (0).",
        "",
        f64::from(u8::from(document.passed())),
    );
    gauge(
        "rpitr_drill_last_run_timestamp_seconds",
        "When the last run ended.",
        "",
        finished as f64,
    );
    let success = if document.passed() {
        Some(finished)
    } else {
        last_success
    };
    if let Some(at) = success {
        gauge(
            "rpitr_drill_last_success_timestamp_seconds",
            "When the drill last passed.",
            "",
            at as f64,
        );
    }
    gauge(
        "rpitr_drill_duration_seconds",
        "How long the whole drill took.",
        "",
        document.seconds,
    );
    if let Some(rto) = document.number("rto") {
        gauge(
            "rpitr_drill_rto_seconds",
            "From the decision to recover to a proved server in service.",
            "",
            rto,
        );
    }
    if let Some((name, rpo)) = document.rpo() {
        let unit = format!(
            ",unit=\"{}\"",
            escape(name.strip_prefix("rpo_").unwrap_or("seconds"))
        );
        gauge("rpitr_drill_rpo", "What the recovery gave up.", &unit, rpo);
    }
    let numbers: Vec<_> = document
        .metrics
        .iter()
        .filter_map(|(name, metric)| Some((name, metric.value.as_f64()?)))
        .collect();
    if !numbers.is_empty() {
        let name = "rpitr_drill_metric";
        let _ = writeln!(
            out,
            "# HELP {name} Every number the drill recorded.\n# TYPE {name} gauge"
        );
        for (metric, value) in numbers {
            let _ = writeln!(
                out,
                "{name}{{drill=\"{drill}\",metric=\"{}\"}} {value}",
                escape(metric)
            );
        }
    }
    out
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
