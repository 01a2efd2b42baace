//! `require "rpitr.x"`: modules that do not exist, and modules asked for and never used.

use crate::check::finding::Rule;
use crate::check::known::Known;
use crate::check::report::{Report, suggest};
use crate::check::syntax::{Expression, Name};
use crate::check::types::Type;

/// What `require(argument)` returns; a library module that does not exist is reported.
pub fn required(report: &mut Report, known: &Known, argument: &Expression) -> Type {
    let Some(short) = argument
        .literal()
        .and_then(|name| name.strip_prefix("rpitr."))
    else {
        return Type::Unknown;
    };
    if known.modules.contains(short) {
        return Type::Named(format!("rpitr.{short}").into());
    }
    if !known.parts.contains(short) {
        let names = known.modules.iter().map(String::as_str);
        let near = suggest(short, names, |near| format!("rpitr.{near}"));
        let message = format!("there is no module rpitr.{short}");
        report.add(Rule::NoModule, &argument.span, message, near);
    }
    Type::Unknown
}

/// A local that holds a library module and is never read.
pub fn unused(report: &mut Report, name: &Name, module: &str) {
    let message = format!("'{}' is required and never used", name.text);
    let hint = Some(format!(
        "{module} is there without require; remove the line"
    ));
    report.add(Rule::UnusedRequire, &name.span, message, hint);
}
