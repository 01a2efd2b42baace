//! Globals are strict at run time: reading one that nobody declared raises, and so does making one
//! inside a function.

use crate::check::finding::Rule;
use crate::check::report::{Report, suggest};
use crate::check::syntax::Span;

/// A name that is neither local nor known.
pub fn undeclared<'a>(
    report: &mut Report,
    name: &str,
    span: &Span,
    in_reach: impl Iterator<Item = &'a str>,
) {
    let hint = suggest(name, in_reach, str::to_string)
        .unwrap_or_else(|| "declare it with local".to_string());
    let message = format!("global '{name}' is not declared");
    report.add(Rule::Undeclared, span, message, Some(hint));
}

/// An assignment inside a function to a global that the script does not declare.
pub fn assigned(report: &mut Report, name: &str, span: &Span) {
    let message = format!("assignment to undeclared global '{name}'");
    let hint = format!("write: local {name}");
    report.add(Rule::Undeclared, span, message, Some(hint));
}

/// An assignment to the name of a module.
pub fn module(report: &mut Report, name: &str, span: &Span) {
    let message = format!("global '{name}' is an rpitr module and read-only");
    let hint = Some("use another name, or a local".to_string());
    report.add(Rule::ReadOnly, span, message, hint);
}
