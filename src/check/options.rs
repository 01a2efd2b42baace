//! What may stand in a table that is written where a certain type is asked for.

use std::collections::BTreeMap;

use super::known::{Known, Table};
use super::types::{Record, Type};

/// The fields a type takes when a table is written in its place.
#[derive(Debug, Default)]
pub struct Options {
    /// Key, type, whether it may be left out.
    pub fields: BTreeMap<String, (Type, bool)>,
    /// What stands at other keys, and at the positions of a list.
    pub entries: Option<Type>,
    /// Whether other keys are mistakes.
    pub closed: bool,
    /// Whether it is one table type and no choice of several.
    single: bool,
    /// Whether parts of it may be missing.
    partial: bool,
    /// What errors call it.
    pub title: String,
}

impl Options {
    /// Whether a key that is missing is a mistake.
    pub fn is_strict(&self) -> bool {
        self.single && !self.partial && self.entries.is_none()
    }

    /// A field takes what it takes in any of the tables.
    fn add_field(&mut self, name: &str, ty: &Type, optional: bool) {
        let entry = match self.fields.remove(name) {
            Some((known, was)) => (known.or(ty), was || optional),
            None => (ty.clone(), optional),
        };
        self.fields.insert(name.to_string(), entry);
    }

    fn add_entries(&mut self, ty: &Type) {
        self.entries = Some(match self.entries.take() {
            Some(known) => known.or(ty),
            None => ty.clone(),
        });
    }
}

impl Known {
    /// What may stand in a table constructor where `expected` is asked for. Nothing when no table
    /// fits, or when it cannot be told.
    pub fn options(&self, expected: &Type) -> Option<Options> {
        let resolved = self.resolve(expected);
        let mut found = Options {
            closed: true,
            ..Options::default()
        };
        let mut count = 0;
        for part in resolved.parts() {
            match part {
                Type::Named(name) => {
                    self.add_class(&mut found, self.table(name)?)?;
                    found.partial |= self.results.contains(&**name);
                }
                Type::Record(record) => add_record(&mut found, record),
                Type::List(entry) => {
                    found.add_entries(entry);
                }
                Type::Map(entry) => {
                    found.add_entries(entry);
                    found.closed = false;
                }
                Type::Unknown | Type::Table | Type::Generic(_) => return None,
                _ => continue,
            }
            count += 1;
        }
        found.single = count == 1;
        (count > 0).then_some(found)
    }

    fn add_class(&self, found: &mut Options, table: &Table) -> Option<()> {
        if table.module || self.is_handle(table) {
            return None;
        }
        found.closed &= !self.is_open(table);
        if let Some(entries) = &table.entries {
            found.add_entries(entries);
        }
        found.title = table.title.clone();
        for (name, member) in self.members(table) {
            found.add_field(name, &member.ty, member.optional);
        }
        Some(())
    }
}

fn add_record(found: &mut Options, record: &Record) {
    found.closed &= record.closed.is_some();
    for (name, (ty, optional)) in &record.fields {
        found.add_field(name, ty, *optional);
    }
}
