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
    pub entries: Type,
    /// Whether other keys are mistakes.
    pub closed: bool,
    pub listed: bool,
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
        self.single && !self.partial && !self.listed
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
                    found.entries = (**entry).clone();
                    found.listed = true;
                }
                Type::Map(entry) => {
                    found.entries = (**entry).clone();
                    found.closed = false;
                    found.listed = true;
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
        found.listed |= table.entries.is_known();
        if table.entries.is_known() {
            found.entries = table.entries.clone();
        }
        found.title = table.title.clone();
        for (name, member) in self.members(table) {
            let entry = (member.ty.clone(), member.optional);
            found.fields.insert(name.to_string(), entry);
        }
        Some(())
    }
}

fn add_record(found: &mut Options, record: &Record) {
    found.closed &= record.closed.is_some();
    found.fields.extend(record.fields.clone());
}
