//! Calls: what is called, with what, and what comes back.

use std::rc::Rc;

use super::infer::Place;
use super::known::MemberKind;
use super::rules::members::Access;
use super::rules::{arguments, drill, requires};
use super::scope::Local;
use super::syntax::{Call, Expression, Item, Kind, Name};
use super::types::{Signature, Type};
use super::walk::Walk;

/// What is called.
#[derive(Debug, Default)]
struct Callee {
    signature: Option<Rc<Signature>>,
    /// The first argument is the object, as in `Node.stop(pg)`.
    takes_self: bool,
    /// The local function it is.
    local: Option<Local>,
}

impl Walk<'_> {
    /// Reads a call; returns what is known of its results.
    pub(super) fn call(&mut self, call: &Call) -> Vec<Type> {
        if let Some(returned) = self.special(call) {
            return returned;
        }
        let callee = match &call.method {
            Some(method) => self.method(call, method),
            None => self.function_called(call),
        };
        let arguments = &call.arguments;
        if let Some((name, items)) = drill::header(call)
            && self.is_lua("drill", "drill")
        {
            return self.drill(name, items, arguments, callee.signature.as_deref());
        }
        let Some(signature) = callee.signature.clone() else {
            let (types, more) = self.arguments(arguments, None, false);
            self.note_call(&callee, &types, more);
            return Vec::new();
        };
        let skipped = usize::from(callee.takes_self);
        if !callee.takes_self {
            arguments::too_many(&mut self.report, &signature, arguments);
        }
        let own = arguments.get(..skipped).unwrap_or_default();
        self.arguments(own, None, false);
        let rest = arguments.get(skipped..).unwrap_or_default();
        let place = match &call.method {
            Some(method) => &method.span,
            None => &call.callee.span,
        };
        arguments::too_few(&mut self.report, &signature, rest, place);
        let fails = self.is_meant_to_fail(call);
        self.report.meant_to_fail += usize::from(fails);
        let (types, more) = self.arguments(rest, Some(&signature), true);
        self.report.meant_to_fail -= usize::from(fails);
        self.note_call(&callee, &types, more);
        returned(&signature, &types)
    }

    /// `drill "name" { ... }`
    fn drill(
        &mut self,
        name: &str,
        items: &[Item],
        arguments: &[Expression],
        signature: Option<&Signature>,
    ) -> Vec<Type> {
        let header = signature.and_then(|signature| signature.parameters.first());
        let expected = header.map(|header| header.ty.clone()).unwrap_or_default();
        let place = self.drill_header(name, items, &expected);
        let (first, rest) = arguments.split_at(1.min(arguments.len()));
        for header in first {
            self.expression(header, Some(&place));
        }
        self.arguments(rest, None, false);
        signature.map_or_else(Vec::new, |signature| signature.returns.clone())
    }

    /// Calls whose meaning is not in any signature.
    fn special(&mut self, call: &Call) -> Option<Vec<Type>> {
        let Kind::Name(name) = &call.callee.kind else {
            return None;
        };
        if call.method.is_some() {
            return None;
        }
        if self.is_lua(name, "require") {
            let argument = call.arguments.first()?;
            self.expression(argument, None);
            if let Some(name) = argument
                .literal()
                .filter(|name| !name.starts_with("rpitr."))
            {
                self.facts.requires.insert(name.to_string());
            }
            return Some(vec![requires::required(
                &mut self.report,
                self.known,
                argument,
            )]);
        }
        if self.is_lua(name, "assert") {
            return Some(self.values(&call.arguments, usize::MAX));
        }
        if ["dofile", "load", "loadfile", "rawset", "setmetatable"]
            .iter()
            .any(|loader| self.is_lua(name, loader))
        {
            self.note_foreign(name, &call.arguments);
        }
        None
    }

    /// Code from elsewhere may declare globals, and so may whoever writes to `_G`.
    fn note_foreign(&mut self, function: &str, arguments: &[Expression]) {
        let on_globals = matches!(arguments.first().map(|first| &first.kind), Some(Kind::Name(name)) if name == "_G");
        if !matches!(function, "rawset" | "setmetatable") || on_globals {
            self.facts.globals_out_of_sight = true;
        }
    }

    /// `test.raises(function() ... end)`: what stands inside is there to be wrong.
    fn is_meant_to_fail(&self, call: &Call) -> bool {
        match &call.callee.kind {
            Kind::Field(base, name) => {
                name.text == "raises" && matches!(&base.kind, Kind::Name(base) if base == "test")
            }
            _ => false,
        }
    }

    fn note_call(&mut self, callee: &Callee, types: &[Type], more: bool) {
        let is_run = |ty: &Type| matches!(ty, Type::Named(name) if **name == *"rpitr.DrillRun");
        // Whoever gets `d` may record metrics with it.
        self.facts.metrics.computed |= callee.local.is_none() && types.iter().any(is_run);
        let function = callee
            .local
            .and_then(|local| self.scopes.bindings.get(local))
            .and_then(|binding| binding.function);
        if let Some(function) = function {
            self.facts.call(function, types, more);
        }
    }

    fn method(&mut self, call: &Call, method: &Name) -> Callee {
        self.facts.metrics.note(&method.text, &call.arguments);
        let owner = self.expression(&call.callee, None);
        let found = self.member(&owner, method, Access::Method);
        let module = match &found.owner {
            Type::Named(class) => self.known.table(class).filter(|table| table.module),
            _ => None,
        };
        if let (MemberKind::Function, Some(module)) = (found.kind, module) {
            arguments::colon_for_dot(&mut self.report, &module.title, method);
            return Callee::default();
        }
        match (found.kind, found.ty) {
            (MemberKind::Method, Type::Function(signature)) => Callee {
                signature,
                ..Callee::default()
            },
            // Whether its first parameter is the object cannot be told.
            _ => Callee::default(),
        }
    }

    fn function_called(&mut self, call: &Call) -> Callee {
        let callee = &call.callee;
        match &callee.kind {
            Kind::Name(name) => {
                let ty = self.name(name, &callee.span, false);
                Callee {
                    signature: self.signature_of(&ty),
                    local: self.scopes.find(name),
                    ..Callee::default()
                }
            }
            Kind::Field(base, name) => {
                let found = self.field(base, name);
                let takes_self = found.kind == MemberKind::Method;
                if takes_self {
                    self.check_dot(call, name, &found.owner);
                }
                Callee {
                    signature: self.signature_of(&found.ty),
                    takes_self,
                    ..Callee::default()
                }
            }
            _ => {
                let ty = self.expression(callee, None);
                Callee {
                    signature: self.signature_of(&ty),
                    ..Callee::default()
                }
            }
        }
    }

    /// `pg.stop()`: without an object of its kind in front, a method cannot work.
    fn check_dot(&mut self, call: &Call, name: &Name, owner: &Type) {
        let wrong = match call.arguments.first().map(|first| &first.kind) {
            None => true,
            Some(
                Kind::String(_) | Kind::Integer | Kind::Float | Kind::Boolean | Kind::Table(_),
            ) => true,
            Some(_) => false,
        };
        if wrong && owner.is_known() {
            arguments::dot_for_colon(&mut self.report, call, name);
        }
    }

    fn signature_of(&self, ty: &Type) -> Option<Rc<Signature>> {
        match self.known.resolve(ty) {
            Type::Function(signature) => signature,
            Type::Named(class) => self.known.table(&class)?.call.clone(),
            _ => None,
        }
    }

    /// Reads arguments; returns their types, and whether there may be more of them.
    fn arguments(
        &mut self,
        arguments: &[Expression],
        signature: Option<&Signature>,
        named: bool,
    ) -> (Vec<Type>, bool) {
        let mut types = Vec::new();
        for (position, argument) in arguments.iter().enumerate() {
            let place = signature
                .filter(|_| named)
                .and_then(|signature| place(signature, position));
            types.push(self.expression(argument, place.as_ref()));
        }
        (types, arguments.last().is_some_and(Expression::is_multiple))
    }
}

/// What the parameter at a position takes, over all the ways the function may be called.
fn place(signature: &Signature, position: usize) -> Option<Place> {
    let mut parts: Vec<Type> = Vec::new();
    let mut name = None;
    for variant in signature.variants() {
        match variant.parameters.get(position) {
            Some(parameter) => {
                parts.extend(parameter.ty.parts().iter().cloned());
                name.get_or_insert(&parameter.name);
            }
            None => parts.extend(variant.variadic.clone()),
        }
    }
    let expected = match <[Type; 1]>::try_from(parts) {
        Ok([only]) => only,
        Err(parts) if parts.is_empty() => return None,
        Err(parts) => Type::Union(parts.into()),
    };
    Some(Place {
        expected,
        owner: signature.name.clone(),
        what: name.cloned().unwrap_or_else(|| "an argument".into()),
        nested: false,
    })
}

/// What a call returns, with generics filled in from its arguments.
fn returned(signature: &Signature, arguments: &[Type]) -> Vec<Type> {
    if signature.passes_on {
        return passed_on(signature, arguments);
    }
    if !signature.overloads.is_empty() {
        let first = |variant: &Signature| variant.returns.first().cloned().unwrap_or(Type::Unknown);
        return vec![Type::join_all(signature.variants().map(first))];
    }
    let generic = |name: &str| {
        let bound = signature.parameters.iter().zip(arguments);
        bound
            .filter_map(|(parameter, argument)| bind(&parameter.ty, argument, name))
            .next()
            .unwrap_or_default()
    };
    signature
        .returns
        .iter()
        .map(|ty| match ty {
            Type::Generic(name) => generic(name),
            other => other.clone(),
        })
        .collect()
}

/// What the function among the arguments returns.
fn passed_on(signature: &Signature, arguments: &[Type]) -> Vec<Type> {
    let mut pairs = signature.parameters.iter().zip(arguments);
    let given = pairs.find_map(|(parameter, argument)| match (&parameter.ty, argument) {
        (Type::Function(_), Type::Function(Some(given))) => Some(given),
        _ => None,
    });
    match given {
        Some(given) => signature
            .returns
            .iter()
            .chain(&given.returns)
            .cloned()
            .collect(),
        None => Vec::new(),
    }
}

/// What `name` stands for when `argument` is given for a parameter of type `parameter`.
fn bind(parameter: &Type, argument: &Type, name: &str) -> Option<Type> {
    parameter
        .parts()
        .iter()
        .find_map(|part| match (part, argument) {
            (Type::Generic(generic), argument) if **generic == *name => Some(argument.clone()),
            (Type::Function(Some(wanted)), Type::Function(Some(given))) => {
                let wanted = wanted.returns.iter().zip(&given.returns);
                wanted
                    .filter_map(|(wanted, given)| bind(wanted, given, name))
                    .next()
            }
            (Type::List(wanted), Type::List(given)) => bind(wanted, given, name),
            _ => None,
        })
}
