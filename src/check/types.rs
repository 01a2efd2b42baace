//! What is known of a value. `grammar` reads it from LuaCATS.
//!
//! Knowing little is always allowed: whatever cannot be read is [`Type::Unknown`], which agrees with
//! everything and is never reported.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::syntax::Span;

/// How many tables and functions inside each other a type keeps.
pub const DEPTH: usize = 4;

#[derive(Debug, Clone, PartialEq, Default)]
pub enum Type {
    /// Nothing is known, or anything goes.
    #[default]
    Unknown,
    Nil,
    Boolean,
    Integer,
    Number,
    String,
    /// One text of a closed set: `"fast"|"immediate"`.
    Literal(Rc<str>),
    Function(Option<Rc<Signature>>),
    /// A class, a module or an alias, by its name in the index.
    Named(Rc<str>),
    Generic(Rc<str>),
    List(Rc<Type>),
    Map(Rc<Type>),
    /// A table with any content.
    Table,
    /// A table whose fields were seen where it was made.
    Record(Rc<Record>),
    Union(Rc<[Type]>),
}

/// What a table constructor, or a type such as `{ a: string, b?: integer }`, says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Record {
    pub fields: BTreeMap<String, (Type, bool)>,
    /// The name errors give it; only a record with a name is closed to other fields.
    pub closed: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Signature {
    /// As it is called: `lab.postgres`, `Node:stop`; empty for a function of the script.
    pub name: String,
    pub parameters: Vec<Parameter>,
    /// The type of what `...` takes.
    pub variadic: Option<Type>,
    pub returns: Vec<Type>,
    /// It returns what the function it is given returns: `---@return any ...`.
    pub passes_on: bool,
    pub generics: Vec<String>,
    pub overloads: Vec<Signature>,
    /// Where a local function of the script was written.
    pub span: Option<Span>,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Parameter {
    pub name: String,
    pub ty: Type,
    /// The function cannot be called without it.
    pub required: bool,
}

impl Type {
    /// The same, but unknown below so many tables and functions. Scripts can nest them without end,
    /// and types are compared as a whole.
    pub fn shallow(&self, depth: usize) -> Type {
        if depth == 0 {
            return match self {
                Type::Record(_) | Type::Function(Some(_)) | Type::Union(_) => Type::Unknown,
                other => other.clone(),
            };
        }
        match self {
            Type::Record(record) if record.closed.is_none() => {
                let fields = record.fields.iter().map(|(name, (ty, optional))| {
                    (name.clone(), (ty.shallow(depth - 1), *optional))
                });
                Type::Record(Rc::new(Record {
                    fields: fields.collect(),
                    closed: None,
                }))
            }
            Type::Function(Some(signature)) if signature.span.is_some() => {
                let returns = signature.returns.iter().map(|ty| ty.shallow(depth - 1));
                Type::Function(Some(Rc::new(Signature {
                    returns: returns.collect(),
                    ..(**signature).clone()
                })))
            }
            other => other.clone(),
        }
    }

    pub fn is_known(&self) -> bool {
        *self != Type::Unknown
    }

    /// The types it may be; itself, unless it is a union.
    pub fn parts(&self) -> &[Type] {
        match self {
            Type::Union(parts) => parts,
            other => std::slice::from_ref(other),
        }
    }

    /// What holds for a value that came from either place. Types that differ say nothing, but that
    /// something may be nil takes nothing away: a check of names does not ask.
    pub fn join(self, other: Type) -> Type {
        match (self, other) {
            (Type::Nil, other) | (other, Type::Nil) => other,
            (one, other) if one == other => one,
            _ => Type::Unknown,
        }
    }

    /// The type of a place that takes values of both.
    pub fn or(self, other: &Type) -> Type {
        match (self, other) {
            (Type::Unknown, _) | (_, Type::Unknown) => Type::Unknown,
            (one, other) if one == *other => one,
            (one, other) => {
                let parts = one.parts().iter().chain(other.parts());
                Type::Union(parts.cloned().collect())
            }
        }
    }

    pub fn join_all(types: impl IntoIterator<Item = Type>) -> Type {
        types
            .into_iter()
            .reduce(Type::join)
            .unwrap_or(Type::Unknown)
    }
}

impl Signature {
    /// It and its overloads.
    pub fn variants(&self) -> impl Iterator<Item = &Signature> {
        std::iter::once(self).chain(&self.overloads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joining_keeps_what_both_sides_say() {
        let node = || Type::Named("rpitr.Node".into());
        assert_eq!(node().join(Type::Nil), node());
        assert_eq!(node().join(Type::String), Type::Unknown);
    }
}
