//! What is known of a value, and the small grammar of LuaCATS types it is read from.
//!
//! Knowing little is always allowed: whatever cannot be read is [`Type::Unknown`], which agrees with
//! everything and is never reported.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::syntax::Span;

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
}

impl Type {
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

    pub fn join_all(types: impl IntoIterator<Item = Type>) -> Type {
        types
            .into_iter()
            .reduce(Type::join)
            .unwrap_or(Type::Unknown)
    }

    /// Reads a type; what cannot be read is unknown.
    pub fn parse(text: &str, generics: &[String]) -> Type {
        let mut reader = Reader::new(text, generics);
        let found = reader.union();
        reader.skip_space();
        match found {
            Some(found) if reader.rest.is_empty() => found,
            _ => Type::Unknown,
        }
    }
}

impl Signature {
    /// Reads `fun(a: string, b?: integer): boolean`.
    pub fn parse(text: &str, generics: &[String]) -> Option<Signature> {
        match Type::parse(text, generics) {
            Type::Function(Some(signature)) => Some((*signature).clone()),
            _ => None,
        }
    }

    /// It and its overloads.
    pub fn variants(&self) -> impl Iterator<Item = &Signature> {
        std::iter::once(self).chain(&self.overloads)
    }
}

struct Reader<'a> {
    rest: &'a str,
    generics: &'a [String],
    /// How many argument lists it is inside of; there, a comma ends a list of results.
    depth: usize,
}

impl<'a> Reader<'a> {
    fn new(rest: &'a str, generics: &'a [String]) -> Self {
        Reader {
            rest,
            generics,
            depth: 0,
        }
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, token: &str) -> bool {
        self.skip_space();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn word(&mut self) -> Option<&'a str> {
        self.skip_space();
        let end = self
            .rest
            .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.' || c == '-'))
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!word.is_empty()).then_some(word)
    }

    fn union(&mut self) -> Option<Type> {
        let mut parts = vec![self.postfixed()?];
        while self.take("|") {
            parts.push(self.postfixed()?);
        }
        // A union inside parentheses is one with what is around it.
        let parts: Vec<Type> = parts
            .into_iter()
            .flat_map(|part| part.parts().to_vec())
            .collect();
        Some(match <[Type; 1]>::try_from(parts) {
            Ok([only]) => only,
            Err(parts) => Type::Union(parts.into()),
        })
    }

    fn postfixed(&mut self) -> Option<Type> {
        let mut found = self.primary()?;
        loop {
            if self.take("[]") {
                found = Type::List(Rc::new(found));
            } else if self.take("?") {
                let parts = found.parts().iter().cloned().chain([Type::Nil]);
                found = Type::Union(parts.collect());
            } else {
                return Some(found);
            }
        }
    }

    fn primary(&mut self) -> Option<Type> {
        self.skip_space();
        match self.rest.chars().next()? {
            '(' => {
                self.take("(");
                let inner = self.union()?;
                self.take(")").then_some(inner)
            }
            '{' => self.record(),
            quote @ ('"' | '\'' | '`') => {
                let (text, rest) = self.rest[1..].split_once(quote)?;
                self.rest = rest;
                Some(Type::Literal(text.into()))
            }
            _ if self.take("...") => {
                // `...` alone, or `...string`.
                let _ = self.postfixed();
                Some(Type::Unknown)
            }
            _ => self.named(),
        }
    }

    fn named(&mut self) -> Option<Type> {
        let word = self.word()?;
        if word == "fun" {
            return if self.take("(") {
                self.function()
            } else {
                Some(Type::Function(None))
            };
        }
        let mut inner = Vec::new();
        if self.take("<") {
            loop {
                inner.push(self.union()?);
                if !self.take(",") {
                    break;
                }
            }
            if !self.take(">") {
                return None;
            }
        }
        Some(match word {
            "any" | "unknown" | "userdata" | "lightuserdata" | "thread" => Type::Unknown,
            "nil" | "void" => Type::Nil,
            "boolean" | "true" | "false" => Type::Boolean,
            "integer" => Type::Integer,
            "number" => Type::Number,
            "string" => Type::String,
            "function" => Type::Function(None),
            "table" => match inner.pop() {
                Some(value) => Type::Map(Rc::new(value)),
                None => Type::Table,
            },
            word if word.starts_with(|c: char| c.is_ascii_digit() || c == '-') => Type::Integer,
            word if self.generics.iter().any(|name| name == word) => Type::Generic(word.into()),
            word => Type::Named(word.into()),
        })
    }

    fn function(&mut self) -> Option<Type> {
        let mut signature = Signature::default();
        self.depth += 1;
        while !self.take(")") {
            if self.take("...") {
                let ty = if self.take(":") {
                    self.union()?
                } else {
                    Type::Unknown
                };
                signature.variadic = Some(ty);
            } else {
                let name = self.word()?.to_string();
                self.take("?");
                let ty = if self.take(":") {
                    self.union()?
                } else {
                    Type::Unknown
                };
                signature.parameters.push(Parameter { name, ty });
            }
            self.take(",");
        }
        self.depth -= 1;
        if self.take(":") {
            loop {
                signature.returns.push(self.union()?);
                if self.depth > 0 || !self.take(",") {
                    break;
                }
            }
        }
        Some(Type::Function(Some(Rc::new(signature))))
    }

    fn record(&mut self) -> Option<Type> {
        self.take("{");
        let mut record = Record::default();
        let mut entries = None;
        self.depth += 1;
        while !self.take("}") {
            if self.take("[") {
                self.union()?;
                if !(self.take("]") && self.take(":")) {
                    return None;
                }
                entries = Some(self.union()?);
            } else {
                let name = self.word()?.to_string();
                let optional = self.take("?");
                if !self.take(":") {
                    return None;
                }
                let ty = self.union()?;
                record.fields.insert(name, (ty, optional));
            }
            let _ = self.take(",") || self.take(";");
        }
        self.depth -= 1;
        Some(match entries {
            Some(value) if record.fields.is_empty() => Type::Map(Rc::new(value)),
            // Fields and entries: nobody can tell which keys belong.
            Some(_) => Type::Table,
            None => {
                record.closed = Some("the table".into());
                Type::Record(Rc::new(record))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Type {
        Type::parse(text, &[])
    }

    #[test]
    fn unions_lists_and_optional_types() {
        assert_eq!(
            parse("string | rpitr.Node[]"),
            Type::Union(
                [
                    Type::String,
                    Type::List(Rc::new(Type::Named("rpitr.Node".into())))
                ]
                .into()
            )
        );
        assert_eq!(parse("(string|nil)[]").parts().len(), 1);
        assert_eq!(parse("rpitr.Node?").parts()[1], Type::Nil);
        assert_eq!(
            parse("\"fast\"|\"immediate\""),
            Type::Union(
                [
                    Type::Literal("fast".into()),
                    Type::Literal("immediate".into())
                ]
                .into()
            )
        );
        assert_eq!(
            parse("table<string, integer>"),
            Type::Map(Rc::new(Type::Integer))
        );
    }

    #[test]
    fn functions_have_parameters_and_results() {
        let found = Signature::parse(
            "fun(d: rpitr.DrillRun, f?: fun(a: integer): string, ...: any): boolean, string",
            &[],
        )
        .unwrap();
        assert_eq!(found.parameters.len(), 2);
        assert_eq!(found.parameters[0].ty, Type::Named("rpitr.DrillRun".into()));
        assert_eq!(found.variadic, Some(Type::Unknown));
        assert_eq!(found.returns, [Type::Boolean, Type::String]);
        let generic = Signature::parse("fun(...): T", &["T".into()]).unwrap();
        assert_eq!(generic.returns, [Type::Generic("T".into())]);
    }

    #[test]
    fn tables_with_named_fields_are_closed() {
        let Type::Record(record) = parse("{ a: string, b?: integer[] }") else {
            panic!()
        };
        assert!(record.closed.is_some() && record.fields["b"].1 && !record.fields["a"].1);
        assert_eq!(
            parse("{ [string]: integer }"),
            Type::Map(Rc::new(Type::Integer))
        );
    }

    #[test]
    fn what_cannot_be_read_is_unknown() {
        for text in ["", "fun(", "a b", "{ a }", "table<string", "any"] {
            assert_eq!(parse(text), Type::Unknown, "{text}");
        }
    }

    #[test]
    fn joining_keeps_what_both_sides_say() {
        let node = || Type::Named("rpitr.Node".into());
        assert_eq!(node().join(Type::Nil), node());
        assert_eq!(node().join(Type::String), Type::Unknown);
    }
}
