//! How a function is called: how many arguments, with a dot or a colon.

use crate::check::finding::Rule;
use crate::check::report::Report;
use crate::check::syntax::{Call, Expression, Kind, Name, Span};
use crate::check::types::Signature;

/// More arguments than the function takes. What stands behind the last one is dropped in silence,
/// which is never what was meant.
pub fn too_many(report: &mut Report, signature: &Signature, arguments: &[Expression]) {
    if signature.name.is_empty() {
        return;
    }
    let Some(most) = signature
        .variants()
        .map(|variant| match variant.variadic {
            Some(_) => None,
            None => Some(variant.parameters.len()),
        })
        .collect::<Option<Vec<_>>>()
        .and_then(|counts| counts.into_iter().max())
    else {
        return;
    };
    // A call at the end may return nothing at all.
    let sure = match arguments.last() {
        Some(last) if last.is_multiple() => arguments.len() - 1,
        _ => arguments.len(),
    };
    if sure > most {
        let message = format!(
            "{} takes {}, got {}",
            signature.name,
            match most {
                0 => "no arguments".to_string(),
                1 => "1 argument".to_string(),
                most => format!("{most} arguments"),
            },
            arguments.len()
        );
        report.add(Rule::TooManyArguments, &arguments[most].span, message, None);
    }
}

/// Fewer arguments than the function needs. Functions that may be called in several ways are left
/// to run time.
pub fn too_few(report: &mut Report, signature: &Signature, arguments: &[Expression], call: &Span) {
    let open = arguments.last().is_some_and(Expression::is_multiple);
    if signature.name.is_empty() || open || !signature.overloads.is_empty() {
        return;
    }
    let behind = signature.parameters.iter().skip(arguments.len());
    for parameter in behind.filter(|parameter| parameter.required) {
        let message = format!("{}: {} is required", signature.name, parameter.name);
        report.add(Rule::MissingArgument, call, message, None);
    }
}

/// `pg.stop()` where `pg:stop()` is meant.
pub fn dot_for_colon(report: &mut Report, call: &Call, name: &Name) {
    let owner = shown(&call.callee);
    let message = format!("'{}' is a method: it is called with a colon", name.text);
    let hint = Some(format!("write {owner}:{}(...)", name.text));
    report.add(Rule::WrongCall, &name.span, message, hint);
}

/// `lab:postgres()` where `lab.postgres()` is meant.
pub fn colon_for_dot(report: &mut Report, module: &str, name: &Name) {
    let message = format!(
        "'{}' is a function of {module}: it is called with a dot",
        name.text
    );
    let hint = Some(format!("write {module}.{}(...)", name.text));
    report.add(Rule::WrongCall, &name.span, message, hint);
}

/// What stands before the dot, when it is a plain name.
fn shown(callee: &Expression) -> String {
    match &callee.kind {
        Kind::Field(base, _) => match &base.kind {
            Kind::Name(name) => name.clone(),
            _ => "it".to_string(),
        },
        _ => "it".to_string(),
    }
}
