//! What is known before a script is read: the tables, functions and types of the library and of Lua.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::types::{Signature, Type};

/// A module, a handle's class or a table's class.
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// What errors call it: `lab`, `rpitr.Node`.
    pub title: String,
    pub members: BTreeMap<String, Member>,
    pub(super) parents: Vec<String>,
    /// It has entries besides its named fields, or is not described well enough to say what is missing.
    pub open: bool,
    /// What its entries are.
    pub entries: Option<Type>,
    /// What calling it does.
    pub call: Option<Rc<Signature>>,
    /// A module: sealed at run time, so that nothing can be added to it.
    pub module: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Member {
    pub ty: Type,
    pub optional: bool,
    pub kind: MemberKind,
    /// Not for scripts, and so no suggestion.
    pub private: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MemberKind {
    #[default]
    Field,
    /// Called with a dot.
    Function,
    /// Called with a colon.
    Method,
}

#[derive(Debug, Default)]
pub struct Known {
    pub(super) tables: BTreeMap<String, Table>,
    pub(super) aliases: BTreeMap<String, Type>,
    pub globals: BTreeMap<String, Type>,
    /// What `require "rpitr.x"` finds.
    pub modules: BTreeSet<String>,
    /// What functions return; a script that writes one down need not fill it in.
    pub(super) results: BTreeSet<String>,
    /// Parts of modules, which can be required too.
    pub parts: BTreeSet<String>,
}

impl Known {
    /// Follows aliases to what a type really is; unions come back flat.
    pub fn resolve(&self, ty: &Type) -> Type {
        self.resolve_within(ty, 0)
    }

    fn resolve_within(&self, ty: &Type, depth: usize) -> Type {
        if depth > 8 {
            return Type::Unknown;
        }
        match ty {
            Type::Named(name) => match self.aliases.get(&**name) {
                Some(target) => self.resolve_within(target, depth + 1),
                None if self.tables.contains_key(&**name) => ty.clone(),
                None => Type::Unknown,
            },
            Type::Union(parts) => {
                let flat: Vec<Type> = parts
                    .iter()
                    .flat_map(|part| self.resolve_within(part, depth + 1).parts().to_vec())
                    .collect();
                Type::Union(flat.into())
            }
            other => other.clone(),
        }
    }

    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables.get(name)
    }

    /// A table and those it inherits from, the nearest first.
    fn lineage<'a>(&'a self, table: &'a Table) -> Vec<&'a Table> {
        let mut found = vec![table];
        let mut next = 0;
        while next < found.len() && found.len() < 16 {
            let parents = found[next].parents.iter();
            found.extend(parents.filter_map(|name| self.tables.get(name)));
            next += 1;
        }
        found
    }

    pub fn member<'a>(&'a self, table: &'a Table, name: &str) -> Option<&'a Member> {
        self.lineage(table)
            .into_iter()
            .find_map(|table| table.members.get(name))
    }

    /// All members, inherited ones too.
    pub fn members<'a>(&'a self, table: &'a Table) -> BTreeMap<&'a str, &'a Member> {
        let mut found = BTreeMap::new();
        for table in self.lineage(table) {
            for (name, member) in &table.members {
                found.entry(name.as_str()).or_insert(member);
            }
        }
        found
    }

    /// Whether it may have members nobody described.
    pub fn is_open(&self, table: &Table) -> bool {
        let undescribed = |name: &String| !self.tables.contains_key(name) && name != "userdata";
        self.lineage(table)
            .iter()
            .any(|table| table.open || table.parents.iter().any(undescribed))
    }

    /// Whether it is a handle: something with methods, which no script writes down as a table.
    pub fn is_handle(&self, table: &Table) -> bool {
        self.members(table)
            .values()
            .any(|member| member.kind == MemberKind::Method)
    }
}
