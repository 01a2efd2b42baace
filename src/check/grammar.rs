//! The small grammar of LuaCATS types.

use std::rc::Rc;

use super::types::{Parameter, Record, Signature, Type};

impl Type {
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
                signature.parameters.push(Parameter {
                    name,
                    ty,
                    required: false,
                });
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
}
