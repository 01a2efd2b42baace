//! Names, places and comments, out of the parser's tokens.

use full_moon::ast::punctuated::Punctuated;
use full_moon::node::Node;
use full_moon::tokenizer::{TokenReference, TokenType};

use super::syntax::{Name, Span};

pub fn names(list: &Punctuated<TokenReference>) -> Vec<Name> {
    list.iter().map(name).collect()
}

pub fn name(token: &TokenReference) -> Name {
    Name {
        text: token.token().to_string(),
        span: token_span(token),
    }
}

pub fn token_span(token: &TokenReference) -> Span {
    token.token().start_position().bytes()..token.token().end_position().bytes()
}

pub fn span(node: &impl Node) -> Span {
    let start = node.start_position().map_or(0, |position| position.bytes());
    let end = node
        .end_position()
        .map_or(start, |position| position.bytes());
    start..end
}

/// The comment lines that stand right above a token, line by line.
pub fn comment(token: &TokenReference) -> Vec<String> {
    let mut lines = Vec::new();
    let mut next = 0;
    for trivia in token.leading_trivia() {
        if let TokenType::SingleLineComment { comment } = trivia.token_type() {
            let line = trivia.start_position().line();
            if line != next {
                lines.clear();
            }
            lines.push(comment.to_string());
            next = line + 1;
        }
    }
    if token.token().start_position().line() != next {
        lines.clear();
    }
    lines
}
