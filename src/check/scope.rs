//! Which name means what: locals in their blocks, and what a first reading of the script tells the
//! next one about them.
//!
//! A script is read several times in the same order, so that the n-th local declared is the same
//! local each time. What is learnt late (a local assigned again further down, the types a local
//! function is called with) is known early in the next reading.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::rules::drill::Metrics;
use super::syntax::Name;
use super::types::Type;

/// The n-th local of the script.
pub type Local = usize;

#[derive(Debug, Clone)]
pub struct Binding {
    pub name: Name,
    pub ty: Type,
    pub read: bool,
    /// The library module it was required from.
    pub required: Option<String>,
    /// Where the local function it holds begins.
    pub function: Option<usize>,
}

/// What one reading learnt.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// What locals are assigned after their declaration.
    pub assigned: HashMap<Local, Type>,
    /// What local functions, by where they begin, are called with. Nothing when they are used as a
    /// value too: then somebody else may call them.
    pub arguments: HashMap<usize, Option<Vec<Type>>>,
    /// What is assigned to fields of this name, of whatever table.
    pub fields: HashMap<String, Type>,
    /// Fields under computed names are assigned to something with known fields.
    pub fields_computed: bool,
    /// Globals the script declares.
    pub globals: BTreeMap<String, Type>,
    /// Globals may come from where nobody can look: code that is loaded, another environment.
    pub globals_out_of_sight: bool,
    pub metrics: Metrics,
    /// The script's own modules.
    pub requires: BTreeSet<String>,
}

#[derive(Debug, Default)]
pub struct Scopes {
    blocks: Vec<HashMap<String, Local>>,
    pub bindings: Vec<Binding>,
}

impl Scopes {
    pub fn open(&mut self) {
        self.blocks.push(HashMap::new());
    }

    pub fn close(&mut self) {
        self.blocks.pop();
    }

    pub fn declare(&mut self, name: &Name, ty: Type) -> Local {
        let local = self.bindings.len();
        self.bindings.push(Binding {
            name: name.clone(),
            ty,
            read: false,
            required: None,
            function: None,
        });
        if let Some(block) = self.blocks.last_mut() {
            block.insert(name.text.clone(), local);
        }
        local
    }

    pub fn find(&self, name: &str) -> Option<Local> {
        self.blocks
            .iter()
            .rev()
            .find_map(|block| block.get(name))
            .copied()
    }

    /// The names in reach, each once.
    pub fn names(&self) -> HashSet<&str> {
        self.blocks
            .iter()
            .flat_map(|block| block.keys())
            .map(String::as_str)
            .collect()
    }
}

impl Facts {
    pub fn assign(&mut self, local: Local, ty: Type) {
        merge(self.assigned.entry(local), ty);
    }

    pub fn assign_field(&mut self, name: &str, ty: Type) {
        merge(self.fields.entry(name.to_string()), ty);
    }

    /// A field is assigned whose name is computed. Lists and tables made by the script do not matter:
    /// nothing is said about what they lack.
    pub fn note_computed_field(&mut self, owner: &Type) {
        self.fields_computed |= match owner {
            Type::Named(_) => true,
            Type::Record(record) => record.closed.is_some(),
            _ => false,
        };
    }

    /// A local function is called.
    pub fn call(&mut self, function: usize, types: &[Type], more: bool) {
        let known = self
            .arguments
            .entry(function)
            .or_insert_with(|| Some(Vec::new()));
        let Some(known) = known else {
            return;
        };
        let first = known.is_empty();
        for position in 0..types.len().max(known.len()).max(8) {
            // Beyond the last argument is nil, or whatever a call at the end returns.
            let beyond = if more { Type::Unknown } else { Type::Nil };
            let ty = types.get(position).cloned().unwrap_or(beyond);
            match known.get_mut(position) {
                Some(slot) => *slot = std::mem::take(slot).join(ty),
                None if first => known.push(ty),
                None => known.push(Type::Unknown),
            }
        }
    }

    /// A local function is used as a value.
    pub fn escape(&mut self, function: usize) {
        self.arguments.insert(function, None);
    }
}

fn merge<K>(entry: std::collections::hash_map::Entry<'_, K, Type>, ty: Type) {
    match entry {
        std::collections::hash_map::Entry::Occupied(mut known) => {
            let joined = std::mem::take(known.get_mut()).join(ty);
            known.insert(joined);
        }
        std::collections::hash_map::Entry::Vacant(slot) => {
            slot.insert(ty);
        }
    }
}
