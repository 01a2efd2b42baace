//! The little that must be known of a statement's text before it is sent.

use super::error::{Error, Result};

/// The first word, in lower case, after spaces, comments and parentheses.
pub(crate) fn first_word(sql: &str) -> String {
    let mut rest = sql;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
        if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.split_once('\n').map_or("", |(_, rest)| rest);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/").map_or("", |(_, rest)| rest);
        } else {
            break;
        }
    }
    let end = rest.find(|c: char| !c.is_ascii_alphabetic());
    rest.get(..end.unwrap_or(rest.len()))
        .unwrap_or_default()
        .to_ascii_lowercase()
}

/// Without the semicolon that may end it.
pub(crate) fn trimmed(sql: &str) -> &str {
    sql.trim_end_matches(|c: char| c.is_whitespace() || c == ';')
}

fn has(sql: &str, word: &str) -> bool {
    sql.as_bytes()
        .windows(word.len())
        .any(|part| part.eq_ignore_ascii_case(word.as_bytes()))
}

/// Whether a transaction may be open afterwards. True too often, never too rarely.
pub(crate) fn may_begin(sql: &str) -> bool {
    has(sql, "begin") || has(sql, "start")
}

/// Whether no transaction is open after its success.
pub(crate) fn surely_ends(sql: &str) -> bool {
    let sql = trimmed(sql).trim_start();
    ["commit", "rollback", "end", "abort"]
        .iter()
        .any(|word| sql.eq_ignore_ascii_case(word))
}

/// Whether a cursor can be declared for it.
pub(crate) fn is_select(sql: &str) -> bool {
    matches!(
        first_word(sql).as_str(),
        "select" | "values" | "table" | "with"
    )
}

/// Whether its result can be selected from.
pub(crate) fn is_relation(sql: &str) -> bool {
    !matches!(
        first_word(sql).as_str(),
        "fetch" | "execute" | "call" | "show" | "explain"
    )
}

/// Whether it is a COPY from or to the client, with the words given: "stdin" or "stdout".
pub(crate) fn is_copy(sql: &str, end: &str) -> bool {
    first_word(sql) == "copy" && has(sql, end)
}

/// Refuses what no result can come of, and what the protocol cannot carry.
pub(crate) fn check(sql: &str) -> Result<()> {
    if sql.contains('\0') {
        return Err(Error::config("the statement holds a zero byte"));
    }
    if !has(sql, "copy") {
        return Ok(());
    }
    for (end, call) in [("stdin", "copy_in"), ("stdout", "copy_out")] {
        if sql.split(';').any(|part| is_copy(part, end)) {
            return Err(Error::State {
                message: "COPY does not fit here: it transfers data outside of results".into(),
                hint: format!("use {call}"),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_words() {
        for (sql, word) in [
            ("SELECT 1", "select"),
            ("\n -- a\n /* b */ ((Values (1)))", "values"),
            ("copy(select 1) to stdout", "copy"),
            ("", ""),
            ("-- only", ""),
            ("é", ""),
        ] {
            assert_eq!(first_word(sql), word, "{sql}");
        }
    }

    #[test]
    fn transactions() {
        assert!(may_begin("select 1; Begin") && may_begin("START TRANSACTION"));
        assert!(!may_begin("COMMIT"));
        assert!(surely_ends(" commit ; ") && surely_ends("ROLLBACK"));
        assert!(!surely_ends("ROLLBACK TO s") && !surely_ends("COMMIT AND CHAIN"));
    }

    #[test]
    fn copies_are_refused() {
        for sql in ["COPY t FROM STDIN", "SELECT 1; -- x\ncopy t to stdout"] {
            assert!(matches!(check(sql), Err(Error::State { .. })), "{sql}");
        }
        for sql in ["COPY t FROM '/f'", "SELECT 'copy t from stdin'", ""] {
            assert!(check(sql).is_ok(), "{sql}");
        }
        assert!(check("SELECT '\0'").is_err());
    }
}
