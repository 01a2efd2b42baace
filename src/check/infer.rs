//! What an expression's value is, as far as it can be told.

use super::rules::members::{self, Access, Found};
use super::rules::{drill, globals, options, values};
use super::syntax::{Binary, Expression, Item, Kind, Name, Span, Unary};
use super::types::{DEPTH, Parameter, Record, Signature, Type};
use super::walk::Walk;

/// Where a value goes: what is expected there, and how errors name the place.
#[derive(Debug, Clone)]
pub struct Place {
    pub expected: Type,
    /// The function or table it belongs to.
    pub owner: String,
    pub what: String,
    /// It is inside a table that is.
    pub nested: bool,
}

impl Walk<'_> {
    /// The types of a list of expressions, of which the last may stand for several; at most `most`.
    pub(super) fn values(&mut self, list: &[Expression], most: usize) -> Vec<Type> {
        let mut types = Vec::new();
        for (position, value) in list.iter().enumerate() {
            if position + 1 < list.len() {
                types.push(self.expression(value, None));
                continue;
            }
            match &value.kind {
                Kind::Call(call) => {
                    let returned = self.call(call);
                    // A call that returns nothing known may return anything.
                    if returned.is_empty() {
                        let missing = most.min(position + 8).saturating_sub(position);
                        types.extend(std::iter::repeat_n(Type::Unknown, missing));
                    }
                    types.extend(returned);
                }
                Kind::Variadic => {
                    let missing = most.min(position + 8).saturating_sub(position);
                    types.extend(std::iter::repeat_n(Type::Unknown, missing));
                }
                _ => types.push(self.expression(value, None)),
            }
        }
        types
    }

    /// What a `for ... in` loop's names are.
    pub(super) fn loop_types(&mut self, values: &[Expression]) -> Vec<Type> {
        let listed = match values {
            [only] => match &only.kind {
                Kind::Call(call) => match (&call.callee.kind, call.arguments.as_slice()) {
                    (Kind::Name(name), [list]) if self.is_lua(name, "ipairs") => Some((list, true)),
                    (Kind::Name(name), [list]) if self.is_lua(name, "pairs") => Some((list, false)),
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        };
        if let Some((list, ordered)) = listed {
            let ty = self.expression(list, None);
            let entry = self.entry_of(&ty, ordered);
            return vec![Type::Unknown, entry];
        }
        let types = self.values(values, 4);
        // Calling the first value gives what each turn of the loop sees.
        match types.first().map(|first| self.known.resolve(first)) {
            Some(Type::Function(Some(signature))) => signature.returns.clone(),
            Some(Type::Named(class)) => {
                let call = self
                    .known
                    .table(&class)
                    .and_then(|table| table.call.clone());
                call.map_or_else(Vec::new, |signature| signature.returns.clone())
            }
            _ => Vec::new(),
        }
    }

    fn entry_of(&self, ty: &Type, ordered: bool) -> Type {
        match self.known.resolve(ty) {
            Type::List(entry) => (*entry).clone(),
            Type::Map(entry) => (*entry).clone(),
            Type::Named(class) if ordered => self
                .known
                .table(&class)
                .and_then(|table| table.entries.clone())
                .unwrap_or_default(),
            _ => Type::Unknown,
        }
    }

    /// Whether a name is Lua's own function, and nothing the script put in its place.
    pub(super) fn is_lua(&self, name: &str, wanted: &str) -> bool {
        name == wanted
            && self.scopes.find(name).is_none()
            && !self.previous.globals.contains_key(name)
    }

    pub(super) fn expression(&mut self, value: &Expression, place: Option<&Place>) -> Type {
        let ty = self.inner(value, place);
        if let Some(place) = place {
            let Place {
                expected,
                owner,
                what,
                ..
            } = place;
            values::check(&mut self.report, self.known, expected, value, owner, what);
        }
        ty
    }

    fn inner(&mut self, value: &Expression, place: Option<&Place>) -> Type {
        match &value.kind {
            Kind::Nil => Type::Nil,
            Kind::Boolean => Type::Boolean,
            Kind::Integer => Type::Integer,
            Kind::Float => Type::Number,
            Kind::String(_) => Type::String,
            Kind::Variadic => Type::Unknown,
            Kind::Name(name) => self.name(name, &value.span, true),
            Kind::Field(base, name) => self.field(base, name).ty,
            Kind::Index(base, key) => self.index(base, key),
            Kind::Call(call) => {
                let mut returned = self.call(call).into_iter();
                returned.next().unwrap_or_default()
            }
            Kind::Function(function) => {
                let signature = place.and_then(|place| self.function_in(&place.expected));
                self.function(function, signature.as_deref())
            }
            Kind::Table(items) => self.table(items, &value.span, place),
            Kind::Unary(operator, inner) => {
                self.expression(inner, None);
                match operator {
                    Unary::Not => Type::Boolean,
                    Unary::Length => Type::Integer,
                    _ => Type::Unknown,
                }
            }
            Kind::Binary(operator, left, right) => self.binary(*operator, left, right),
            Kind::Parentheses(inner) => self.inner(inner, place),
        }
    }

    fn binary(&mut self, operator: Binary, left: &Expression, right: &Expression) -> Type {
        let left = self.expression(left, None);
        let right = self.expression(right, None);
        match operator {
            // Falsy or the right side; what is falsy has no members.
            Binary::And => right,
            Binary::Or => match left {
                Type::Nil => right,
                left => left.join(right),
            },
            Binary::Concat => Type::String,
            Binary::Compare => Type::Boolean,
            Binary::Arithmetic => Type::Unknown,
        }
    }

    /// What a name stands for. `as_value`: it is not just called.
    pub(super) fn name(&mut self, name: &str, span: &Span, as_value: bool) -> Type {
        if let Some(local) = self.scopes.find(name) {
            if as_value {
                self.escape(local);
            }
            let binding = &mut self.scopes.bindings[local];
            binding.read = true;
            return binding.ty.clone();
        }
        if !self.is_global(name) {
            let mut in_reach = self.scopes.names();
            in_reach.extend(self.known.globals.keys().map(String::as_str));
            in_reach.extend(self.previous.globals.keys().map(String::as_str));
            let mut in_reach: Vec<&str> = in_reach.into_iter().collect();
            in_reach.sort_unstable();
            globals::undeclared(&mut self.report, name, span, in_reach.into_iter());
            return Type::Unknown;
        }
        match self.previous.globals.get(name) {
            Some(_) if self.known.globals.contains_key(name) => Type::Unknown,
            Some(ty) => ty.clone(),
            None => self.known.globals.get(name).cloned().unwrap_or_default(),
        }
    }

    pub(super) fn field(&mut self, base: &Expression, name: &Name) -> Found {
        let owner = self.expression(base, None);
        self.member(&owner, name, Access::Field)
    }

    pub(super) fn member(&mut self, owner: &Type, name: &Name, access: Access) -> Found {
        let fields = &self.previous.fields;
        let any = self.previous.fields_computed.then_some(Type::Unknown);
        let assigned = |field: &str| fields.get(field).cloned().or_else(|| any.clone());
        members::lookup(&mut self.report, self.known, owner, name, access, &assigned)
    }

    fn index(&mut self, base: &Expression, key: &Expression) -> Type {
        let owner = self.expression(base, None);
        self.expression(key, None);
        match self.known.resolve(&owner) {
            Type::List(entry) | Type::Map(entry) => (*entry).clone(),
            Type::Named(class) if matches!(key.kind, Kind::Integer) => self
                .known
                .table(&class)
                .and_then(|table| table.entries.clone())
                .unwrap_or_default(),
            _ => Type::Unknown,
        }
    }

    /// The signature of the function that is expected somewhere, if it is one only.
    pub(super) fn function_in(&self, expected: &Type) -> Option<std::rc::Rc<Signature>> {
        let resolved = self.known.resolve(expected);
        let mut found = resolved.parts().iter().filter_map(|part| match part {
            Type::Function(signature) => signature.clone(),
            _ => None,
        });
        let first = found.next()?;
        found.next().is_none().then_some(first)
    }

    fn table(&mut self, items: &[Item], span: &Span, place: Option<&Place>) -> Type {
        let expected = place.and_then(|place| {
            let options = self.known.options(&place.expected)?;
            Some((place, options))
        });
        let Some((place, wanted)) = expected else {
            return self.plain_table(items);
        };
        let owner = match place.nested {
            true => format!("{}: {}", place.owner, place.what),
            false => place.owner.clone(),
        };
        options::check(&mut self.report, &owner, &wanted, items, span);
        let mut record = Record::default();
        let mut position = 0;
        for item in items {
            let key = item.key();
            if let Item::Keyed(key, _) = item {
                self.expression(key, None);
            }
            position += usize::from(matches!(item, Item::Listed(_)));
            let named = match (&key, item) {
                (Some(key), _) => wanted.fields.get(&key.text),
                (None, Item::Listed(_)) => wanted.fields.get(&format!("[{position}]")),
                _ => None,
            };
            let expected = match named {
                Some((ty, _)) => ty.clone(),
                // An unknown key among entries that are listed was reported as such.
                None if key.is_some() && wanted.closed => Type::Unknown,
                None => wanted.entries.clone().unwrap_or_default(),
            };
            if let (Some(key), None, false) = (&key, named, wanted.closed) {
                // It may come back under this name in what the function returns.
                self.facts.assign_field(&key.text, Type::Unknown);
            }
            let inner = Place {
                expected,
                nested: true,
                owner: place.owner.clone(),
                what: key.as_ref().map_or_else(
                    || "an entry".into(),
                    |key| format!("option \"{}\"", key.text),
                ),
            };
            let ty = self.expression(item.value(), Some(&inner));
            if let Some(key) = key {
                record.fields.insert(key.text, (ty.shallow(DEPTH), true));
            }
        }
        Type::Record(record.into())
    }

    fn plain_table(&mut self, items: &[Item]) -> Type {
        let mut record = Record::default();
        for item in items {
            if let Item::Keyed(key, _) = item {
                self.expression(key, None);
            }
            let ty = self.expression(item.value(), None);
            if let Some(key) = item.key() {
                record.fields.insert(key.text, (ty.shallow(DEPTH), true));
            }
        }
        Type::Record(record.into())
    }

    /// The header of a drill: `run` gets the arguments that `args` declares.
    pub(super) fn drill_header(&mut self, name: &str, items: &[Item], expected: &Type) -> Place {
        let metrics = &self.previous.metrics;
        let arguments = drill::check(&mut self.report, name, items, metrics);
        let mut record = Record::default();
        if let Some(options) = self.known.options(expected) {
            record.fields = options.fields;
            record.closed = options.closed.then(|| options.title.clone());
        }
        let (run, _) = record.fields.entry("run".into()).or_default();
        let mut signature = self
            .function_in(run)
            .map_or_else(Signature::default, |signature| (*signature).clone());
        signature.parameters.resize(2, Parameter::default());
        signature.parameters[1].ty = arguments;
        *run = Type::Function(Some(signature.into()));
        Place {
            expected: Type::Record(record.into()),
            owner: format!("drill \"{name}\""),
            what: String::new(),
            nested: false,
        }
    }
}
