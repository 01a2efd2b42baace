//! What stands in grey behind the cursor: the rest of a line typed before, what is wrong with this one, what the
//! function takes that is being called.

use crate::api::{Api, Entry, Field, Function};

/// What is shown behind the cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// The rest of an earlier line; the right arrow key takes it.
    Earlier(String),
    /// What is wrong with the line so far.
    Wrong(String),
    /// What the function takes, what the option is.
    Reminder(String),
}

impl rustyline::hint::Hint for Hint {
    fn display(&self) -> &str {
        match self {
            Hint::Earlier(text) | Hint::Wrong(text) | Hint::Reminder(text) => text,
        }
    }

    fn completion(&self) -> Option<&str> {
        match self {
            Hint::Earlier(text) => Some(text),
            Hint::Wrong(_) | Hint::Reminder(_) => None,
        }
    }
}

/// Behind `pitr.restore(` its parameters, behind `{ verify = ` what that option is.
pub fn reminder(line: &str) -> Option<String> {
    let api = Api::embedded();
    if let Some(head) = line.strip_suffix('(') {
        let function = function(api, last_path(head)?)?;
        let signature = function.signature();
        return signature.split_once('(').map(|(_, rest)| rest.to_string());
    }
    let head = line.trim_end_matches(' ').strip_suffix('=')?.trim_end();
    let option = last_path(head)?;
    let (before, inside) = head.rsplit_once('{')?;
    if inside.contains('}') || option.contains(['.', ':']) {
        return None;
    }
    let before = before.trim_end();
    // `f { ` or `f(x, { `.
    let call = before.rsplit_once('(').map_or(before, |(call, _)| call);
    let function = function(api, last_path(call.trim_end())?)?;
    let field = field(api, function, option)?;
    let gap = if line.ends_with(' ') { "" } else { " " };
    let text = format!("{gap}{}  {}", field.ty.replace("rpitr.", ""), field.text);
    Some(text.trim_end().to_string())
}

fn function<'a>(api: &'a Api, path: &str) -> Option<&'a Function> {
    match api.find(path) {
        Some(Entry::Function(function)) => Some(function),
        Some(_) => None,
        None => api.only_method(path.rsplit_once(':')?.1),
    }
}

fn field<'a>(api: &'a Api, function: &Function, option: &str) -> Option<&'a Field> {
    let options = api.options(function)?;
    let fields = api.fields(options).into_iter();
    fields.into_iter().find(|field| field.name == option)
}

/// The `a.b:c` at the end of the text.
fn last_path(text: &str) -> Option<&str> {
    let belongs = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':');
    let start = text.rfind(|c| !belongs(c)).map_or(0, |at| {
        at + text[at..].chars().next().map_or(1, char::len_utf8)
    });
    Some(&text[start..]).filter(|path| !path.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_behind_the_parenthesis() {
        let hint = |line| reminder(line).unwrap_or_default();
        assert_eq!(hint("x = pitr.restore("), "pg, options)");
        assert_eq!(hint("pg:wait_archived("), "name, options?)");
        // Only connections have it, so the variable may be called anything.
        assert_eq!(hint("é(conn:copy_in("), "statement)");
        assert_eq!(hint("nothing_like_it("), "");
        assert_eq!(hint("x = pitr.restore(pg"), "");
    }

    #[test]
    fn an_option_and_what_it_is() {
        let hint = |line| reminder(line).unwrap_or_default();
        let expected = "boolean  (default true) check it with pg_verifybackup";
        assert_eq!(hint("pitr.backup(pg, { verify = "), expected);
        assert_eq!(
            hint("pitr.backup(pg, { label = 'x', verify ="),
            format!(" {expected}")
        );
        assert!(hint("lab.postgres { version = ").starts_with("integer"));
        assert_eq!(hint("pitr.backup(pg, { verfiy = "), "");
        assert_eq!(hint("x = "), "");
        assert_eq!(hint("lab.postgres { version = 15 } x = "), "");
    }

    #[test]
    fn only_history_is_taken_over() {
        use rustyline::hint::Hint as _;
        assert_eq!(Hint::Earlier("x".into()).completion(), Some("x"));
        assert_eq!(Hint::Wrong("x".into()).completion(), None);
        assert_eq!(Hint::Reminder("x".into()).completion(), None);
    }
}
