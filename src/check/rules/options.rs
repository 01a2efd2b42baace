//! Tables written where a function takes options: unknown keys, keys that are missing.

use std::collections::BTreeSet;

use crate::check::finding::Rule;
use crate::check::options::Options;
use crate::check::report::{Report, suggest};
use crate::check::syntax::{Item, Span};

/// `owner` is what errors name first: the function, or the class of the table.
pub fn check(report: &mut Report, owner: &str, options: &Options, items: &[Item], span: &Span) {
    if options.closed {
        unknown(report, owner, options, items);
    }
    if options.is_strict() {
        missing(report, owner, options, items, span);
    }
}

fn unknown(report: &mut Report, owner: &str, options: &Options, items: &[Item]) {
    let known = || {
        let names = options.fields.keys().map(String::as_str);
        names.filter(|name| !name.starts_with('['))
    };
    let mut position = 0;
    for item in items {
        position += usize::from(matches!(item, Item::Listed(_)));
        let Some(key) = item.key() else {
            if let Item::Listed(value) = item
                && options.entries.is_none()
                && !value.is_multiple()
                && !options.fields.contains_key(&format!("[{position}]"))
            {
                let message = format!("{owner}: a list entry is no option");
                let hint = format!("known options: {}", known().collect::<Vec<_>>().join(", "));
                report.add(Rule::UnknownOption, &value.span, message, Some(hint));
            }
            continue;
        };
        if options.fields.contains_key(&key.text) {
            continue;
        }
        let near = suggest(&key.text, known(), |near| format!("\"{near}\""));
        let hint = near.unwrap_or_else(|| {
            format!("known options: {}", known().collect::<Vec<_>>().join(", "))
        });
        let message = format!("{owner}: unknown option \"{}\"", key.text);
        report.add(Rule::UnknownOption, &key.span, message, Some(hint));
    }
}

fn missing(report: &mut Report, owner: &str, options: &Options, items: &[Item], span: &Span) {
    let listed = items.iter().filter(|item| matches!(item, Item::Listed(_)));
    let given: BTreeSet<String> = items
        .iter()
        .filter_map(|item| item.key().map(|key| key.text))
        .chain((1..=listed.count()).map(|position| format!("[{position}]")))
        .collect();
    // What a computed key or a spread list sets cannot be told.
    let computed = items.iter().any(|item| match item {
        Item::Keyed(key, _) => key.literal().is_none(),
        Item::Listed(value) => value.is_multiple(),
        Item::Named(..) => false,
    });
    if computed {
        return;
    }
    for (name, (_, optional)) in &options.fields {
        if !optional && !given.contains(name) {
            let message = format!("{owner}: option \"{name}\" is required");
            report.add(
                Rule::MissingOption,
                &(span.start..span.start + 1),
                message,
                None,
            );
        }
    }
}
