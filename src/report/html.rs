//! `report.html`: one file, no network, light and dark, readable on a phone and on paper.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Value as Shown, context};

use super::Error;
use super::checklist::{duration, written};
use super::document::Document;
use super::picture::{caption, picture};
use super::plot::{heading_unit, plot};

const TEMPLATE: &str = include_str!("report.html.j2");
const STYLE: &str = include_str!("report.css");
/// Rows of a table that are shown; all are in report.json.
const MOST_ROWS: usize = 40;
/// Restores that are drawn; a chaos run has dozens.
const MOST_PICTURES: usize = 3;

pub fn html(document: &Document) -> Result<String, Error> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::Html);
    environment.add_filter("duration", duration);
    environment.add_filter("plain", plain);
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build();
    environment.set_syntax(syntax.map_err(render)?);
    environment
        .add_template("report", TEMPLATE)
        .map_err(render)?;
    let pictures: Vec<_> = document
        .recoveries
        .iter()
        .map(|recovery| context! { svg => picture(recovery), caption => caption(recovery), recovery => Shown::from(Serde(recovery)) })
        .collect();
    let plots: Vec<_> = document
        .series
        .iter()
        .map(|(name, series)| context! { name, unit => heading_unit(series), svg => plot(name, series, &document.bands, document.seconds) })
        .collect();
    let (word, note) = verdict(document);
    environment
        .get_template("report")
        .and_then(|template| {
            template.render(context! {
                style => STYLE,
                run => Shown::from(Serde(document)),
                word,
                note,
                phases => phases(document),
                rpo => document.rpo().map(|(name, value)| context! { name, value }),
                pictures,
                plots,
                rows_shown => MOST_ROWS,
                pictures_shown => MOST_PICTURES,
                log => log(document),
                held => document.checks.iter().filter(|check| check.ok).count(),
                version => env!("CARGO_PKG_VERSION"),
            })
        })
        .map_err(render)
}

fn render(error: minijinja::Error) -> Error {
    Error::Render(format!("{error:#}"))
}

/// The verdict in a word and in a sentence.
fn verdict(document: &Document) -> (&'static str, &'static str) {
    match document.verdict.as_str() {
        "pass" => (
            "Proved",
            "Every step ran, every check held, every expectation was met.",
        ),
        "fail" => (
            "Not proved",
            "The drill ran to its end, but a check or an expectation did not hold.",
        ),
        "timeout" => (
            "Timed out",
            "The deadline passed before the drill was done.",
        ),
        "interrupted" => ("Interrupted", "The drill was ended before it was done."),
        _ => ("Failed", "The drill broke off."),
    }
}

/// Name, seconds and the share of the recovery time in percent.
fn phases(document: &Document) -> Vec<(String, f64, f64)> {
    let phases = document.phases();
    let measured: f64 = phases.iter().map(|(_, seconds)| seconds).sum();
    let whole = document
        .number("rto")
        .unwrap_or(measured)
        .max(measured)
        .max(1e-9);
    let mut shown: Vec<_> = phases
        .into_iter()
        .map(|(name, seconds)| (name.to_string(), seconds, 100.0 * seconds / whole))
        .collect();
    if !shown.is_empty() && whole - measured > 0.001 {
        shown.push((
            "other".into(),
            whole - measured,
            100.0 * (whole - measured) / whole,
        ));
    }
    shown
}

/// Steps and narration in the order they happened: seconds, whether it is a step, text.
fn log(document: &Document) -> Vec<(f64, bool, String)> {
    let steps = document
        .steps
        .iter()
        .map(|step| (step.started, true, step.name.clone()));
    let lines = document
        .narration
        .iter()
        .map(|line| (line.at, false, line.text.clone()));
    let mut all: Vec<_> = steps.chain(lines).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    all
}

/// The filter of the template.
fn plain(value: Shown) -> String {
    serde_json::to_value(&value).map_or_else(|_| String::new(), |value| written(&value))
}
