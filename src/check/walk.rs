//! One reading of a script, in its order: statements and scopes here, values in `infer`, calls in
//! `call`. Rules are asked wherever one of them has something to say.

use super::Outline;
use super::known::Known;
use super::report::Report;
use super::rules::{globals, members, requires};
use super::scope::{Facts, Local, Scopes};
use super::syntax::{Block, Expression, Function, Kind, Name, Statement};
use super::told::{told_parameter, told_type};
use super::types::{DEPTH, Signature, Type};

#[derive(Debug)]
pub struct Walk<'a> {
    pub(super) known: &'a Known,
    /// What the reading before this one learnt.
    pub(super) previous: &'a Facts,
    pub(super) facts: Facts,
    pub(super) scopes: Scopes,
    pub(super) report: Report,
    /// The functions around this place, with what they return.
    pub(super) returns: Vec<Vec<Vec<Type>>>,
}

/// Reads a script until another reading would teach nothing new, then once more for what is wrong.
pub fn read(known: &Known, script: &Block, start: &Facts) -> Report {
    let mut facts = start.clone();
    for _ in 0..4 {
        let mut walk = Walk::new(known, &facts);
        walk.facts.globals = start.globals.clone();
        walk.facts.globals_out_of_sight = start.globals_out_of_sight;
        walk.block(script);
        if walk.facts == facts {
            break;
        }
        facts = walk.facts;
    }
    let mut walk = Walk::new(known, &facts);
    walk.report.on = true;
    walk.block(script);
    walk.unused_requires();
    walk.report
}

impl<'a> Walk<'a> {
    fn new(known: &'a Known, previous: &'a Facts) -> Self {
        Walk {
            known,
            previous,
            facts: Facts::default(),
            scopes: Scopes::default(),
            report: Report::default(),
            returns: Vec::new(),
        }
    }

    fn block(&mut self, block: &Block) {
        self.scopes.open();
        self.statements(block);
        self.scopes.close();
    }

    fn statements(&mut self, block: &Block) {
        for statement in &block.statements {
            self.statement(statement);
        }
    }

    fn statement(&mut self, statement: &Statement) {
        match statement {
            Statement::Local {
                names,
                values,
                comment,
            } => self.local(names, values, comment),
            Statement::Assign { targets, values } => self.assign(targets, values),
            Statement::Function { target, function } => {
                let ty = self.function(function, None);
                self.store(target, ty);
            }
            Statement::LocalFunction { name, function } => {
                let local = self.declare(name, Type::Function(None));
                self.scopes.bindings[local].function = Some(function.span.start);
                let ty = self.function(function, None);
                self.learn(local, ty);
            }
            Statement::Call(call) => {
                self.expression(call, None);
            }
            Statement::Do(body) => self.block(body),
            Statement::While { condition, body } => {
                self.expression(condition, None);
                self.block(body);
            }
            Statement::Repeat { body, condition } => {
                // The condition sees the locals of the body.
                self.scopes.open();
                self.statements(body);
                self.expression(condition, None);
                self.scopes.close();
            }
            Statement::If { arms, otherwise } => {
                for (condition, body) in arms {
                    self.expression(condition, None);
                    self.block(body);
                }
                if let Some(body) = otherwise {
                    self.block(body);
                }
            }
            Statement::NumericFor { name, bounds, body } => {
                for bound in bounds {
                    self.expression(bound, None);
                }
                self.looped(std::slice::from_ref(name), vec![Type::Unknown], body);
            }
            Statement::GenericFor {
                names,
                values,
                body,
            } => {
                let types = self.loop_types(values);
                self.looped(names, types, body);
            }
            Statement::Return(values) => {
                let types = self.values(values, usize::MAX);
                if let Some(function) = self.returns.last_mut() {
                    function.push(types);
                }
            }
        }
    }

    fn local(&mut self, names: &[Name], values: &[Expression], comment: &[String]) {
        // `local f = function ... end` is a local function, but for its own name inside.
        if let ([name], [value]) = (names, values)
            && let Kind::Function(function) = &value.kind
        {
            let ty = self.function(function, None);
            let local = self.declare(name, ty);
            self.scopes.bindings[local].function = Some(function.span.start);
            return;
        }
        let mut types = self.values(values, names.len());
        if let Some(told) = told_type(comment) {
            types.splice(..types.len().min(1), [told]);
        }
        for (position, name) in names.iter().enumerate() {
            let ty = types.get(position).cloned().unwrap_or(Type::Nil);
            let local = self.declare(name, ty);
            self.note_require(local, values.get(position));
        }
    }

    /// Declares a local, whose type is what every assignment to it agrees on.
    pub(super) fn declare(&mut self, name: &Name, ty: Type) -> Local {
        let local = self.scopes.bindings.len();
        let ty = match self.previous.assigned.get(&local) {
            Some(assigned) => ty.join(assigned.clone()),
            None => ty,
        };
        self.facts.globals_out_of_sight |= name.text == "_ENV";
        self.scopes.declare(name, ty)
    }

    /// What a local turned out to be after it was declared.
    fn learn(&mut self, local: Local, ty: Type) {
        let assigned = self.previous.assigned.contains_key(&local);
        if let Some(binding) = self.scopes.bindings.get_mut(local) {
            binding.ty = if assigned { Type::Unknown } else { ty };
        }
    }

    fn assign(&mut self, targets: &[Expression], values: &[Expression]) {
        let types = self.values(values, targets.len());
        for (position, target) in targets.iter().enumerate() {
            let ty = types.get(position).cloned().unwrap_or(Type::Nil);
            self.store(target, ty);
        }
    }

    fn store(&mut self, target: &Expression, ty: Type) {
        match &target.kind {
            Kind::Name(name) => match self.scopes.find(name) {
                Some(local) => {
                    self.facts.assign(local, ty);
                    // What it is called with may be meant for either value.
                    self.escape(local);
                }
                None => self.store_global(name, target, ty),
            },
            Kind::Field(base, field) => {
                let owner = self.expression(base, None);
                members::assigned_to_module(&mut self.report, self.known, &owner, field);
                self.facts.assign_field(&field.text, ty);
            }
            Kind::Index(base, key) => {
                let owner = self.expression(base, None);
                self.expression(key, None);
                match key.literal() {
                    Some(text) => self.facts.assign_field(text, ty),
                    None => self.facts.note_computed_field(&owner),
                }
            }
            _ => {}
        }
    }

    fn store_global(&mut self, name: &str, target: &Expression, ty: Type) {
        let span = &target.span;
        if self.known.modules.contains(name) {
            globals::module(&mut self.report, name, span);
        } else if name == "_ENV" {
            self.facts.globals_out_of_sight = true;
        } else if self.returns.is_empty() {
            let known = self.facts.globals.remove(name);
            let joined = known.map_or(ty.clone(), |known| known.join(ty));
            self.facts.globals.insert(name.to_string(), joined);
        } else if !self.is_global(name) {
            globals::assigned(&mut self.report, name, span);
        }
    }

    /// Whether a global of that name may be there.
    pub(super) fn is_global(&self, name: &str) -> bool {
        name == "_ENV"
            || self.known.globals.contains_key(name)
            || self.previous.globals.contains_key(name)
            || self.facts.globals.contains_key(name)
            || self.previous.globals_out_of_sight
    }

    fn looped(&mut self, names: &[Name], types: Vec<Type>, body: &Block) {
        self.scopes.open();
        for (position, name) in names.iter().enumerate() {
            let ty = types.get(position).cloned().unwrap_or_default();
            self.declare(name, ty);
        }
        self.statements(body);
        self.scopes.close();
    }

    /// A local function is used as a value: who calls it with what can no longer be told.
    pub(super) fn escape(&mut self, local: Local) {
        if let Some(function) = self.scopes.bindings.get(local).and_then(|one| one.function) {
            self.facts.escape(function);
        }
    }

    /// Reads a function. `expected` is what its caller will give it.
    pub(super) fn function(&mut self, function: &Function, expected: Option<&Signature>) -> Type {
        let called = self.previous.arguments.get(&function.span.start);
        let called = called.cloned().flatten().unwrap_or_default();
        self.scopes.open();
        for (position, name) in function.parameters.iter().enumerate() {
            let told = told_parameter(&function.comment, &name.text);
            let given = expected.and_then(|signature| signature.parameters.get(position));
            let ty = told
                .or_else(|| given.map(|parameter| parameter.ty.clone()))
                .or_else(|| called.get(position).cloned())
                .filter(|ty| *ty != Type::Nil)
                .unwrap_or_default();
            self.declare(name, ty);
        }
        self.returns.push(Vec::new());
        self.statements(&function.body);
        self.scopes.close();
        let returned = self.returns.pop().unwrap_or_default();
        Type::Function(Some(
            Signature {
                variadic: Some(Type::Unknown),
                returns: agreed(returned),
                span: Some(function.span.clone()),
                ..Signature::default()
            }
            .into(),
        ))
    }

    fn note_require(&mut self, local: Local, value: Option<&Expression>) {
        let Some(Kind::Call(call)) = value.map(|value| &value.kind) else {
            return;
        };
        if matches!(&call.callee.kind, Kind::Name(name) if name == "require")
            && let Some(name) = call.arguments.first().and_then(Expression::literal)
            && let Some(short) = name.strip_prefix("rpitr.")
            && let Some(binding) = self.scopes.bindings.get_mut(local)
            && self.known.modules.contains(short)
        {
            binding.required = Some(short.to_string());
        }
    }

    fn unused_requires(&mut self) {
        let unused = self.scopes.bindings.iter().filter(|binding| {
            !binding.read && !binding.name.text.starts_with('_') && binding.required.is_some()
        });
        for binding in unused {
            let module = binding.required.as_deref().unwrap_or_default();
            requires::unused(&mut self.report, &binding.name, module);
        }
    }
}

/// What all of a function's `return`s agree on, value by value.
fn agreed(returned: Vec<Vec<Type>>) -> Vec<Type> {
    let longest = returned.iter().map(Vec::len).max().unwrap_or(0);
    (0..longest)
        .map(|position| {
            let at = |types: &Vec<Type>| types.get(position).cloned().unwrap_or(Type::Nil);
            Type::join_all(returned.iter().map(at)).shallow(DEPTH)
        })
        .collect()
}

/// What a script declares and requires.
pub fn outline(script: &Block) -> Outline {
    let known = Known::default();
    let facts = Facts::default();
    let mut walk = Walk::new(&known, &facts);
    walk.block(script);
    Outline {
        globals: walk.facts.globals.into_keys().collect(),
        requires: walk.facts.requires.into_iter().collect(),
    }
}
