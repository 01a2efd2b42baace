//! Classes and aliases as their tags introduce them.

use super::comment;
use super::file::class_name;
use super::model::{Alias, Class, Doc, Span};

/// `rpitr.Node : rpitr.Base  text`.
pub fn class(rest: &str, mut doc: Doc, span: Span) -> Class {
    let name = class_name(rest);
    let after = rest
        .split_once(name)
        .map_or("", |(_, after)| after.trim_start());
    let (parents, text) = match after.strip_prefix(':') {
        Some(after) => comment::split_type(after),
        None => ("", after),
    };
    if doc.is_empty() {
        doc.text = text.trim().to_string();
        doc.file.clone_from(&span.file);
        doc.line = span.line;
    }
    Class {
        name: name.to_string(),
        parents: parents
            .split(',')
            .map(|parent| parent.trim().to_string())
            .filter(|parent| !parent.is_empty())
            .collect(),
        doc,
        span,
        ..Class::default()
    }
}

/// `rpitr.Duration number|string  text`, or members below the name, one a line.
pub fn alias(rest: &str, doc: &Doc, span: Span) -> Alias {
    let mut lines = rest.lines();
    let first = lines.next().unwrap_or_default();
    let (name, after) = first.split_once(' ').unwrap_or((first, ""));
    let (ty, text) = comment::split_type(after);
    let mut types: Vec<String> = Vec::new();
    types.extend((!ty.is_empty()).then(|| ty.to_string()));
    let mut doc = doc.clone();
    let mut note = |text: &str| {
        let text = text.trim().trim_start_matches('#').trim();
        if !text.is_empty() {
            if !doc.text.is_empty() {
                doc.text.push('\n');
            }
            doc.text.push_str(text);
        }
    };
    note(text);
    for line in lines {
        let (ty, text) = comment::split_type(line.trim_start_matches('|'));
        if !text.trim().is_empty() {
            note(&format!(
                "- `{ty}`: {}",
                text.trim().trim_start_matches('#').trim()
            ));
        }
        types.push(ty.to_string());
    }
    Alias {
        name: name.to_string(),
        ty: types.join("|"),
        doc,
        span,
    }
}
