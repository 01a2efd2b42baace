//! From the parser's lossless tree to the checker's own.

use full_moon::LuaVersion;
use full_moon::ast;
use full_moon::ast::punctuated::Punctuated;
use full_moon::tokenizer::{StringLiteralQuoteType, Token, TokenReference, TokenType};

use super::syntax::{
    Binary, Block, Call, Expression, Function, Item, Kind, Name, Span, Statement, Unary,
};
use super::tokens::{comment, name, names, span, token_span};

/// Parses a script that Lua itself has accepted, as [`Source::lua`](crate::engine::Source::lua) gives it. Nothing if the parser does not follow: then there
/// is no tree to check, which is no fault of the script.
pub fn parse(source: &str) -> Option<Block> {
    let tree = full_moon::parse_fallible(source, LuaVersion::lua54());
    tree.errors().is_empty().then(|| block(tree.ast().nodes()))
}

fn block(block: &ast::Block) -> Block {
    let mut statements: Vec<Statement> = block.stmts().filter_map(statement).collect();
    if let Some(ast::LastStmt::Return(last)) = block.last_stmt() {
        statements.push(Statement::Return(expressions(last.returns())));
    }
    Block { statements }
}

fn statement(statement: &ast::Stmt) -> Option<Statement> {
    Some(match statement {
        ast::Stmt::LocalAssignment(local) => Statement::Local {
            names: names(local.names()),
            values: expressions(local.expressions()),
            comment: comment(local.local_token()),
        },
        ast::Stmt::Assignment(assignment) => Statement::Assign {
            targets: assignment.variables().iter().map(variable).collect(),
            values: expressions(assignment.expressions()),
        },
        ast::Stmt::FunctionDeclaration(declaration) => declared(declaration),
        ast::Stmt::LocalFunction(local) => Statement::LocalFunction {
            name: name(local.name()),
            function: function(local.body(), span(&**local), comment(local.local_token())),
        },
        ast::Stmt::FunctionCall(call) => Statement::Call(called(call)),
        ast::Stmt::Do(inner) => Statement::Do(block(inner.block())),
        ast::Stmt::While(inner) => Statement::While {
            condition: expression(inner.condition()),
            body: block(inner.block()),
        },
        ast::Stmt::Repeat(inner) => Statement::Repeat {
            body: block(inner.block()),
            condition: expression(inner.until()),
        },
        ast::Stmt::If(inner) => branches(inner),
        ast::Stmt::NumericFor(inner) => Statement::NumericFor {
            name: name(inner.index_variable()),
            bounds: [Some(inner.start()), Some(inner.end()), inner.step()]
                .into_iter()
                .flatten()
                .map(expression)
                .collect(),
            body: block(inner.block()),
        },
        ast::Stmt::GenericFor(inner) => Statement::GenericFor {
            names: names(inner.names()),
            values: expressions(inner.expressions()),
            body: block(inner.block()),
        },
        // Jumps and labels say nothing about names.
        _ => return None,
    })
}

fn branches(inner: &ast::If) -> Statement {
    let first = (expression(inner.condition()), block(inner.block()));
    let others = inner.else_if().into_iter().flatten();
    let others = others.map(|arm| (expression(arm.condition()), block(arm.block())));
    Statement::If {
        arms: std::iter::once(first).chain(others).collect(),
        otherwise: inner.else_block().map(block),
    }
}

fn declared(declaration: &ast::FunctionDeclaration) -> Statement {
    let mut path = declaration.name().names().iter().map(name);
    let comment = comment(declaration.function_token());
    let mut function = function(declaration.body(), span(declaration), comment);
    let mut target = match path.next() {
        Some(first) => Expression {
            span: first.span.clone(),
            kind: Kind::Name(first.text),
        },
        None => Expression {
            span: function.span.clone(),
            kind: Kind::Nil,
        },
    };
    let method = declaration.name().method_name().map(name);
    if let Some(method) = &method {
        let own = Name {
            text: "self".into(),
            span: method.span.clone(),
        };
        function.parameters.insert(0, own);
    }
    for field in path.chain(method) {
        target = field_of(target, field);
    }
    Statement::Function { target, function }
}

fn field_of(base: Expression, field: Name) -> Expression {
    Expression {
        span: base.span.start..field.span.end,
        kind: Kind::Field(Box::new(base), field),
    }
}

fn function(body: &ast::FunctionBody, span: Span, comment: Vec<String>) -> Function {
    let mut parameters = Vec::new();
    let mut variadic = false;
    for parameter in body.parameters() {
        match parameter {
            ast::Parameter::Name(token) => parameters.push(name(token)),
            _ => variadic = true,
        }
    }
    Function {
        parameters,
        variadic,
        body: block(body.block()),
        span,
        comment,
    }
}

fn expressions(list: &Punctuated<ast::Expression>) -> Vec<Expression> {
    list.iter().map(expression).collect()
}

fn expression(expression_node: &ast::Expression) -> Expression {
    let kind = match expression_node {
        ast::Expression::BinaryOperator { lhs, binop, rhs } => {
            let (left, right) = (expression(lhs), expression(rhs));
            // The parser would look through the whole of a long sum for its ends, once for each sign.
            return Expression {
                span: left.span.start..right.span.end,
                kind: Kind::Binary(binary(binop), Box::new(left), Box::new(right)),
            };
        }
        ast::Expression::UnaryOperator {
            unop,
            expression: inner,
        } => Kind::Unary(unary(unop), Box::new(expression(inner))),
        ast::Expression::Parentheses {
            expression: inner, ..
        } => Kind::Parentheses(Box::new(expression(inner))),
        ast::Expression::Function(inner) => Kind::Function(Box::new(function(
            inner.body(),
            span(expression_node),
            Vec::new(),
        ))),
        ast::Expression::FunctionCall(call) => return called(call),
        ast::Expression::TableConstructor(table) => Kind::Table(items(table)),
        ast::Expression::Number(token) => number(&token.token().to_string()),
        ast::Expression::String(token) => string(token.token()),
        ast::Expression::Symbol(token) => symbol(&token.token().to_string()),
        ast::Expression::Var(var) => return variable(var),
        _ => Kind::Nil,
    };
    Expression {
        kind,
        span: span(expression_node),
    }
}

fn binary(operator: &ast::BinOp) -> Binary {
    match operator {
        ast::BinOp::And(_) => Binary::And,
        ast::BinOp::Or(_) => Binary::Or,
        ast::BinOp::TwoDots(_) => Binary::Concat,
        ast::BinOp::GreaterThan(_)
        | ast::BinOp::GreaterThanEqual(_)
        | ast::BinOp::LessThan(_)
        | ast::BinOp::LessThanEqual(_)
        | ast::BinOp::TildeEqual(_)
        | ast::BinOp::TwoEqual(_) => Binary::Compare,
        _ => Binary::Arithmetic,
    }
}

fn unary(operator: &ast::UnOp) -> Unary {
    match operator {
        ast::UnOp::Minus(_) => Unary::Minus,
        ast::UnOp::Not(_) => Unary::Not,
        ast::UnOp::Hash(_) => Unary::Length,
        _ => Unary::Bits,
    }
}

fn number(text: &str) -> Kind {
    let hexadecimal = text.starts_with("0x") || text.starts_with("0X");
    let float = text.contains('.')
        || !hexadecimal && text.contains(['e', 'E'])
        || hexadecimal && text.contains(['p', 'P']);
    if float { Kind::Float } else { Kind::Integer }
}

fn symbol(text: &str) -> Kind {
    match text {
        "true" | "false" => Kind::Boolean,
        "..." => Kind::Variadic,
        _ => Kind::Nil,
    }
}

fn string(token: &Token) -> Kind {
    match token.token_type() {
        TokenType::StringLiteral {
            literal,
            quote_type,
            ..
        } => {
            let plain = *quote_type == StringLiteralQuoteType::Brackets || !literal.contains('\\');
            Kind::String(plain.then(|| literal.to_string()))
        }
        _ => Kind::String(None),
    }
}

fn items(table: &ast::TableConstructor) -> Vec<Item> {
    let item = |field: &ast::Field| {
        Some(match field {
            ast::Field::NameKey { key, value, .. } => Item::Named(name(key), expression(value)),
            ast::Field::ExpressionKey { key, value, .. } => {
                Item::Keyed(expression(key), expression(value))
            }
            ast::Field::NoKey(value) => Item::Listed(expression(value)),
            _ => return None,
        })
    };
    table.fields().iter().filter_map(item).collect()
}

fn variable(variable: &ast::Var) -> Expression {
    match variable {
        ast::Var::Name(token) => named(token),
        ast::Var::Expression(inner) => chain(inner.prefix(), inner.suffixes()),
        _ => Expression {
            kind: Kind::Nil,
            span: span(variable),
        },
    }
}

fn called(call: &ast::FunctionCall) -> Expression {
    chain(call.prefix(), call.suffixes())
}

fn named(token: &TokenReference) -> Expression {
    let name = name(token);
    Expression {
        span: name.span,
        kind: Kind::Name(name.text),
    }
}

/// `prefix.a[b]:c(d)`: each suffix wraps what stands before it.
fn chain<'a>(prefix: &ast::Prefix, suffixes: impl Iterator<Item = &'a ast::Suffix>) -> Expression {
    let first = match prefix {
        ast::Prefix::Name(token) => named(token),
        ast::Prefix::Expression(inner) => expression(inner),
        _ => Expression {
            kind: Kind::Nil,
            span: span(prefix),
        },
    };
    suffixes.fold(first, |base, suffix| {
        let whole = base.span.start..span(suffix).end;
        let kind = match suffix {
            ast::Suffix::Index(ast::Index::Dot { name: field, .. }) => {
                Kind::Field(Box::new(base), name(field))
            }
            ast::Suffix::Index(ast::Index::Brackets {
                expression: key, ..
            }) => Kind::Index(Box::new(base), Box::new(expression(key))),
            ast::Suffix::Call(ast::Call::AnonymousCall(list)) => Kind::Call(Box::new(Call {
                callee: base,
                method: None,
                arguments: arguments(list),
            })),
            ast::Suffix::Call(ast::Call::MethodCall(method)) => Kind::Call(Box::new(Call {
                callee: base,
                method: Some(name(method.name())),
                arguments: arguments(method.args()),
            })),
            _ => Kind::Nil,
        };
        Expression { kind, span: whole }
    })
}

fn arguments(list: &ast::FunctionArgs) -> Vec<Expression> {
    match list {
        ast::FunctionArgs::Parentheses { arguments, .. } => expressions(arguments),
        ast::FunctionArgs::String(token) => vec![Expression {
            kind: string(token.token()),
            span: token_span(token),
        }],
        ast::FunctionArgs::TableConstructor(table) => vec![Expression {
            kind: Kind::Table(items(table)),
            span: span(&**table),
        }],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_call(source: &str) -> Call {
        match &parse(source).unwrap().statements[0] {
            Statement::Call(Expression {
                kind: Kind::Call(call),
                ..
            }) => (**call).clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn calls_know_their_parts_and_places() {
        let source = "lab.postgres { name = 'a' }:stop('fast', 1)";
        let call = first_call(source);
        let method = call.method.unwrap();
        assert_eq!(
            (method.text.as_str(), &source[method.span.clone()]),
            ("stop", "stop")
        );
        assert_eq!(
            &source[call.callee.span.clone()],
            "lab.postgres { name = 'a' }"
        );
        assert_eq!(call.arguments.len(), 2);
        assert_eq!(call.arguments[0].literal(), Some("fast"));
    }

    #[test]
    fn places_are_bytes_also_behind_wide_characters() {
        let source = "print('é', x)";
        let call = first_call(source);
        assert_eq!(&source[call.arguments[1].span.clone()], "x");
    }

    #[test]
    fn attributes_integer_division_and_goto_are_lua() {
        let source = "local a <const>, b <close> = 1 // 2, nil\nfor _ = 1, 2 do goto on ::on:: end\nlocal c = ~1 & 3 >> 1";
        assert_eq!(parse(source).unwrap().statements.len(), 3);
    }

    #[test]
    fn a_comment_belongs_to_the_statement_right_below() {
        let source = "-- far\n\n---@type rpitr.Node\nlocal a = f()";
        let Statement::Local { comment, .. } = &parse(source).unwrap().statements[0] else {
            panic!()
        };
        assert_eq!(comment, &["-@type rpitr.Node"]);
    }
}
