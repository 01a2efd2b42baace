//! The header of a drill: its arguments, its expectations, and the metrics these are about.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::expectation::{Wrong, read};
use crate::check::finding::Rule;
use crate::check::report::{Report, suggest};
use crate::check::syntax::{Call, Expression, Item, Kind, Name, Span};
use crate::check::types::{Record, Type};

/// The metrics a script records under names it writes down.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics {
    pub names: BTreeSet<String>,
    /// Some are recorded under names that are computed, or out of sight.
    pub computed: bool,
}

/// The name and the header in `drill "name" { ... }`.
pub fn header(call: &Call) -> Option<(&str, &[Item])> {
    let Kind::Call(inner) = &call.callee.kind else {
        return None;
    };
    let Kind::Name(drill) = &inner.callee.kind else {
        return None;
    };
    let name = inner.arguments.first()?.literal()?;
    match &call.arguments.first()?.kind {
        Kind::Table(items) if drill == "drill" && call.method.is_none() => Some((name, items)),
        _ => None,
    }
}

fn named<'a>(items: &'a [Item], wanted: &str) -> Option<&'a Expression> {
    items
        .iter()
        .find(|item| item.key().is_some_and(|key| key.text == wanted))
        .map(Item::value)
}

/// Checks the expectations and the declared arguments; returns what `run` gets as its second
/// argument.
pub fn check(report: &mut Report, name: &str, items: &[Item], metrics: &Metrics) -> Type {
    if let Some(Kind::Table(list)) = named(items, "expect").map(|value| &value.kind) {
        for item in list {
            expectation(report, name, item.value(), metrics);
        }
    }
    let Some(args) = named(items, "args") else {
        return closed(BTreeMap::new());
    };
    let Kind::Table(declared) = &args.kind else {
        return Type::Unknown;
    };
    let mut fields = BTreeMap::new();
    let mut complete = true;
    for item in declared {
        match item.key() {
            Some(key) => {
                declaration(report, name, &key, item.value());
                fields.insert(key.text, (default_type(item.value()), true));
            }
            None => complete = false,
        }
    }
    if complete {
        closed(fields)
    } else {
        Type::Unknown
    }
}

fn closed(fields: BTreeMap<String, (Type, bool)>) -> Type {
    Type::Record(Rc::new(Record {
        fields,
        closed: Some("arg".into()),
    }))
}

/// `rows = { 100, "rows to load" }`.
fn declaration(report: &mut Report, drill: &str, key: &Name, value: &Expression) {
    let fine = match &value.kind {
        Kind::Table(items) => {
            let listed: Vec<&Item> = items
                .iter()
                .filter(|item| matches!(item, Item::Listed(_)))
                .collect();
            let keyed = items.iter().any(|item| matches!(item, Item::Keyed(..)));
            match listed.get(1).map(|item| &item.value().bare().kind) {
                Some(Kind::Boolean | Kind::Integer | Kind::Float | Kind::Nil | Kind::Table(_)) => {
                    false
                }
                Some(_) => true,
                None => keyed || listed.iter().any(|item| item.value().is_multiple()),
            }
        }
        Kind::Boolean | Kind::Integer | Kind::Float | Kind::String(_) | Kind::Nil => false,
        _ => true,
    };
    if !fine {
        let message = format!(
            "drill \"{drill}\": argument \"{}\" must be declared as {{ default, \"help\" }}",
            key.text
        );
        report.add(Rule::BadHeader, &value.span, message, None);
    }
}

fn default_type(value: &Expression) -> Type {
    let Kind::Table(items) = &value.kind else {
        return Type::Unknown;
    };
    match items.first() {
        Some(Item::Listed(default)) => match default.kind {
            Kind::String(_) => Type::String,
            Kind::Boolean => Type::Boolean,
            Kind::Integer => Type::Integer,
            Kind::Float => Type::Number,
            _ => Type::Unknown,
        },
        _ => Type::Unknown,
    }
}

fn expectation(report: &mut Report, drill: &str, value: &Expression, metrics: &Metrics) {
    let Some(text) = value.literal() else {
        return;
    };
    let (message, hint) = match read(text) {
        Ok(metric) => return recorded(report, metric, value, metrics),
        Err(Wrong::Grammar) => (
            format!("drill \"{drill}\": cannot read the expectation \"{text}\""),
            "write a metric, an operator and a value: \"rto < 90s\", \"rows_lost == 0\", \"failover.p95 < 15s\""
                .to_string(),
        ),
        Err(Wrong::Operator(operator)) => (
            format!("\"{operator}\" is no operator of an expectation"),
            "use <, <=, >, >=, == or ~=".to_string(),
        ),
        Err(Wrong::Aggregate(aggregate)) => (
            format!("\"{aggregate}\" is no aggregate of an expectation"),
            "use count, sum, min, max or a percentile such as p95".to_string(),
        ),
    };
    report.add(Rule::BadExpectation, &value.span, message, Some(hint));
}

/// A metric that nothing records is only reported when it looks like one that is: drills record in
/// libraries, too.
fn recorded(report: &mut Report, metric: &str, value: &Expression, metrics: &Metrics) {
    if metrics.computed || metrics.names.contains(metric) {
        return;
    }
    let names = metrics.names.iter().map(String::as_str);
    if let Some(hint) = suggest(metric, names, |near| format!("\"{near}\"")) {
        let start = value.span.start + 1;
        let span: Span = start..start + metric.len();
        let message = format!("nothing records the metric \"{metric}\"");
        report.add(Rule::BadExpectation, &span, message, Some(hint));
    }
}

impl Metrics {
    /// Notes what a call of the drill's run records.
    pub fn note(&mut self, method: &str, arguments: &[Expression]) {
        match (method, arguments.first().map(|first| &first.kind)) {
            ("measure", Some(Kind::String(Some(name)))) => {
                self.names.insert(name.clone());
            }
            ("record", Some(Kind::Table(items))) => {
                for item in items {
                    match item.key() {
                        Some(key) => {
                            self.names.insert(key.text);
                        }
                        None => self.computed = true,
                    }
                }
            }
            ("measure" | "record", _) => self.computed = true,
            _ => {}
        }
    }
}
