//! What a rule found, and where.

use super::syntax::Span;

/// The rules, by the names under which a finding is printed and can be silenced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    Undeclared,
    UnknownFunction,
    UnknownMethod,
    UnknownField,
    UnknownOption,
    MissingOption,
    UnknownArgument,
    TooManyArguments,
    MissingArgument,
    BadExpectation,
    BadHeader,
    BadValue,
    NoModule,
    UnusedRequire,
    ReadOnly,
    WrongCall,
}

impl Rule {
    /// The kind of error it would be at run time.
    pub fn kind(self) -> &'static str {
        match self {
            Rule::Undeclared
            | Rule::UnknownMethod
            | Rule::UnknownField
            | Rule::UnknownArgument
            | Rule::UnusedRequire
            | Rule::WrongCall => "script",
            _ => "arg",
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Rule::Undeclared => "undeclared",
            Rule::UnknownFunction => "unknown_function",
            Rule::UnknownMethod => "unknown_method",
            Rule::UnknownField => "unknown_field",
            Rule::UnknownOption => "unknown_option",
            Rule::MissingOption => "missing_option",
            Rule::UnknownArgument => "unknown_argument",
            Rule::TooManyArguments => "too_many_arguments",
            Rule::MissingArgument => "missing_argument",
            Rule::BadValue => "bad_value",
            Rule::BadExpectation => "bad_expectation",
            Rule::BadHeader => "bad_header",
            Rule::NoModule => "no_module",
            Rule::UnusedRequire => "unused_require",
            Rule::ReadOnly => "read_only",
            Rule::WrongCall => "wrong_call",
        }
    }
}

impl Rule {
    /// What the Lua language server calls the same, for comments that silence both.
    pub fn language_server_name(self) -> Option<&'static str> {
        Some(match self {
            Rule::Undeclared => "undefined-global",
            Rule::UnknownFunction
            | Rule::UnknownMethod
            | Rule::UnknownField
            | Rule::UnknownArgument => "undefined-field",
            Rule::MissingOption => "missing-fields",
            Rule::TooManyArguments => "redundant-parameter",
            Rule::MissingArgument => "missing-parameter",
            Rule::BadValue => "param-type-mismatch",
            Rule::UnusedRequire => "unused-local",
            _ => return None,
        })
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    pub rule: Rule,
    pub message: String,
    pub hint: Option<String>,
    pub span: Span,
}

/// A place as people count: line and column from 1, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub line: usize,
    pub column: usize,
    /// How many characters of that line it covers.
    pub width: usize,
}

impl Place {
    pub fn of(source: &str, span: &Span) -> Place {
        let before = source.get(..span.start).unwrap_or(source);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let covered = source.get(span.clone()).unwrap_or_default();
        let covered = covered.lines().next().unwrap_or_default();
        Place {
            line: before.matches('\n').count() + 1,
            column: source[line_start..before.len()].chars().count() + 1,
            width: covered.chars().count().max(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_characters() {
        let source = "local a\n  print('é', verison)\n";
        let at = source.find("verison").unwrap();
        assert_eq!(
            Place::of(source, &(at..at + 7)),
            Place {
                line: 2,
                column: 14,
                width: 7
            }
        );
        assert_eq!(
            Place::of(source, &(0..20)).width,
            7,
            "of the first line only"
        );
    }
}
