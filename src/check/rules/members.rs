//! Names after a dot or a colon: functions of modules, methods and fields of handles and tables.

use crate::check::finding::Rule;
use crate::check::known::{Known, Member, MemberKind, Table};
use crate::check::report::{Report, suggest};
use crate::check::syntax::Name;
use crate::check::types::{Record, Type};

/// How a name is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Field,
    Method,
}

/// What was found under a name.
#[derive(Debug, Clone, Default)]
pub struct Found {
    pub ty: Type,
    pub kind: MemberKind,
    /// What has it, when that is one thing only.
    pub owner: Type,
}

/// Looks a member up. A name that none of the possible types has is reported.
pub fn lookup(
    report: &mut Report,
    known: &Known,
    base: &Type,
    name: &Name,
    access: Access,
    assigned: &dyn Fn(&str) -> Option<Type>,
) -> Found {
    let resolved = known.resolve(base);
    let mut found: Vec<Found> = Vec::new();
    let mut lacking = None;
    for part in resolved.parts() {
        match member(known, part, &name.text, access, assigned) {
            Lookup::Found(member) => found.push(member),
            Lookup::Anything => return Found::default(),
            Lookup::Missing => lacking = Some(part.clone()),
            Lookup::Nothing => {}
        }
    }
    if found.is_empty()
        && let Some(owner) = lacking
    {
        missing(report, known, &owner, name, access);
    }
    match <[Found; 1]>::try_from(found) {
        Ok([only]) => only,
        Err(several) => Found {
            ty: Type::join_all(several.into_iter().map(|one| one.ty)),
            ..Found::default()
        },
    }
}

enum Lookup {
    Found(Found),
    /// It may have any member.
    Anything,
    Missing,
    /// It has no members at all, as nil.
    Nothing,
}

fn member(
    known: &Known,
    part: &Type,
    name: &str,
    access: Access,
    assigned: &dyn Fn(&str) -> Option<Type>,
) -> Lookup {
    match part {
        Type::Named(class) => match known.table(class) {
            Some(table) => table_member(known, table, part, name, assigned),
            None => Lookup::Anything,
        },
        Type::Record(record) => record_member(record, name, assigned),
        Type::String | Type::Literal(_) if access == Access::Method => {
            match known.table("lua.string") {
                Some(table) if known.member(table, name).is_none() && assigned(name).is_none() => {
                    Lookup::Missing
                }
                _ => Lookup::Anything,
            }
        }
        Type::Nil => Lookup::Nothing,
        _ => Lookup::Anything,
    }
}

fn table_member(
    known: &Known,
    table: &Table,
    owner: &Type,
    name: &str,
    assigned: &dyn Fn(&str) -> Option<Type>,
) -> Lookup {
    match known.member(table, name) {
        Some(Member { ty, kind, .. }) => Lookup::Found(Found {
            ty: ty.clone(),
            kind: *kind,
            owner: owner.clone(),
        }),
        None if known.is_open(table) || !table.module && assigned(name).is_some() => {
            Lookup::Anything
        }
        None => Lookup::Missing,
    }
}

fn record_member(record: &Record, name: &str, assigned: &dyn Fn(&str) -> Option<Type>) -> Lookup {
    match (record.fields.get(name), assigned(name)) {
        (Some((ty, _)), None) => Lookup::Found(Found {
            ty: ty.clone(),
            ..Found::default()
        }),
        (Some((ty, _)), Some(other)) => Lookup::Found(Found {
            ty: ty.clone().join(other),
            ..Found::default()
        }),
        (None, None) if record.closed.is_some() => Lookup::Missing,
        _ => Lookup::Anything,
    }
}

fn missing(report: &mut Report, known: &Known, owner: &Type, name: &Name, access: Access) {
    let word = &name.text;
    match owner {
        Type::Named(class) => {
            let Some(table) = known.table(class) else {
                return;
            };
            let members = known.members(table);
            let names = members.iter().filter(|(_, member)| !member.private);
            let title = &table.title;
            if table.module || class.starts_with("lua.") {
                let message = format!("{title}.{word} does not exist");
                let near = suggest(word, names.map(|(name, _)| *name), |near| {
                    format!("{title}.{near}")
                });
                report.add(Rule::UnknownFunction, &name.span, message, near);
                return;
            }
            let near = suggest(word, names.map(|(name, _)| *name), str::to_string);
            match access {
                Access::Method => {
                    let message = format!("{title} has no method '{word}'");
                    report.add(Rule::UnknownMethod, &name.span, message, near);
                }
                Access::Field => {
                    let message = format!("{title} has no field '{word}'");
                    report.add(Rule::UnknownField, &name.span, message, near);
                }
            }
        }
        Type::Record(record) => {
            let title = record.closed.as_deref().unwrap_or("the table");
            let names = record.fields.keys().map(String::as_str);
            if title == "arg" {
                let message = format!("the drill declares no argument '{word}'");
                let near = suggest(word, names, |near| format!("arg.{near}"));
                report.add(Rule::UnknownArgument, &name.span, message, near);
            } else {
                let near = suggest(word, names, str::to_string);
                let message = format!("{title} has no field '{word}'");
                report.add(Rule::UnknownField, &name.span, message, near);
            }
        }
        _ => {
            let strings = known.table("lua.string");
            let names = strings.iter().flat_map(|table| table.members.keys());
            let near = suggest(word, names.map(String::as_str), str::to_string);
            let message = format!("a string has no method '{word}'");
            report.add(Rule::UnknownMethod, &name.span, message, near);
        }
    }
}

/// An assignment to a member of a module, which is sealed.
pub fn assigned_to_module(report: &mut Report, known: &Known, base: &Type, name: &Name) {
    if let Type::Named(class) = base
        && let Some(table) = known.table(class).filter(|table| table.module)
    {
        let message = format!("{} is read-only; {} cannot be set", table.title, name.text);
        report.add(Rule::ReadOnly, &name.span, message, None);
    }
}
