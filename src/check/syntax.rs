//! A script as the checker sees it: Lua's grammar in as few shapes as it has meanings, each with the
//! bytes it stands on. Made by `lower`; nothing else knows the parser.

use std::ops::Range;

/// Bytes of the source.
pub type Span = Range<usize>;

#[derive(Debug, Clone, PartialEq)]
pub struct Name {
    pub text: String,
    pub span: Span,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Block {
    pub statements: Vec<Statement>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Statement {
    Local {
        names: Vec<Name>,
        values: Vec<Expression>,
        /// `---@type T` above it.
        comment: Vec<String>,
    },
    Assign {
        targets: Vec<Expression>,
        values: Vec<Expression>,
    },
    /// `function a.b:c() end`: an assignment to `target`, which may be a method.
    Function {
        target: Expression,
        function: Function,
    },
    LocalFunction {
        name: Name,
        function: Function,
    },
    Call(Expression),
    Do(Block),
    While {
        condition: Expression,
        body: Block,
    },
    Repeat {
        body: Block,
        condition: Expression,
    },
    /// Conditions with their blocks, then what remains.
    If {
        arms: Vec<(Expression, Block)>,
        otherwise: Option<Block>,
    },
    NumericFor {
        name: Name,
        bounds: Vec<Expression>,
        body: Block,
    },
    GenericFor {
        names: Vec<Name>,
        values: Vec<Expression>,
        body: Block,
    },
    Return(Vec<Expression>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Function {
    /// `self` first when it was written with a colon.
    pub parameters: Vec<Name>,
    pub variadic: bool,
    pub body: Block,
    pub span: Span,
    /// The lines of the comment above it.
    pub comment: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    pub kind: Kind,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    Nil,
    Boolean,
    Integer,
    Float,
    /// The text, unless it has escapes.
    String(Option<String>),
    Variadic,
    Name(String),
    /// `base.name`
    Field(Box<Expression>, Name),
    /// `base[key]`
    Index(Box<Expression>, Box<Expression>),
    Call(Box<Call>),
    Function(Box<Function>),
    Table(Vec<Item>),
    Unary(Unary, Box<Expression>),
    Binary(Binary, Box<Expression>, Box<Expression>),
    Parentheses(Box<Expression>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    pub callee: Expression,
    /// Of `callee:method()`.
    pub method: Option<Name>,
    pub arguments: Vec<Expression>,
}

/// One entry of a table constructor.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    Named(Name, Expression),
    Keyed(Expression, Expression),
    Listed(Expression),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unary {
    Minus,
    Not,
    Length,
    Bits,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binary {
    And,
    Or,
    Concat,
    Compare,
    Arithmetic,
}

impl Expression {
    /// The expression inside any parentheses.
    pub fn bare(&self) -> &Expression {
        match &self.kind {
            Kind::Parentheses(inner) => inner.bare(),
            _ => self,
        }
    }

    /// The text of a plain string literal.
    pub fn literal(&self) -> Option<&str> {
        match &self.bare().kind {
            Kind::String(text) => text.as_deref(),
            _ => None,
        }
    }

    /// Whether it may stand for any number of values.
    pub fn is_multiple(&self) -> bool {
        matches!(self.kind, Kind::Call(_) | Kind::Variadic)
    }
}

impl Item {
    pub fn value(&self) -> &Expression {
        match self {
            Item::Named(_, value) | Item::Keyed(_, value) | Item::Listed(value) => value,
        }
    }

    /// The constant key it is written with.
    pub fn key(&self) -> Option<Name> {
        match self {
            Item::Named(name, _) => Some(name.clone()),
            Item::Keyed(key, _) => key.literal().map(|text| Name {
                text: text.to_string(),
                span: key.span.clone(),
            }),
            Item::Listed(_) => None,
        }
    }
}
