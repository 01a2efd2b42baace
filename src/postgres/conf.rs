//! The syntax of `postgresql.conf`: reading one line as the server's own scanner does
//! (`guc-file.l`), and writing settings it reads back unchanged.

use super::Error;

/// A setting of a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// In lower case, as the server compares names.
    pub name: String,
    /// Unquoted.
    pub value: String,
}

/// What a line of a configuration file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfLine {
    /// Empty, or only a comment.
    Blank,
    Setting(Setting),
    /// `include`, `include_if_exists` or `include_dir`: `name` says which.
    Include(Setting),
    /// The server would refuse the file because of it.
    Invalid,
}

/// Reads one line without its line break.
pub fn lex_line(line: &str) -> ConfLine {
    let mut rest = line.trim_start_matches([' ', '\t', '\r']);
    if rest.is_empty() || rest.starts_with('#') {
        return ConfLine::Blank;
    }
    let Some(name_len) = name_length(rest) else {
        return ConfLine::Invalid;
    };
    let name = rest[..name_len].to_ascii_lowercase();
    rest = skip_blanks(&rest[name_len..]);
    if let Some(after) = rest.strip_prefix('=') {
        rest = skip_blanks(after);
    }
    let Some((value, rest)) = lex_value(rest) else {
        return ConfLine::Invalid;
    };
    let rest = skip_blanks(rest);
    if !rest.is_empty() && !rest.starts_with('#') {
        return ConfLine::Invalid;
    }
    let setting = Setting { name, value };
    match setting.name.as_str() {
        "include" | "include_if_exists" | "include_dir" => ConfLine::Include(setting),
        _ => ConfLine::Setting(setting),
    }
}

fn skip_blanks(text: &str) -> &str {
    text.trim_start_matches([' ', '\t', '\r'])
}

fn is_letter(char: char) -> bool {
    char.is_ascii_alphabetic() || char == '_' || !char.is_ascii()
}

fn is_word(char: char) -> bool {
    is_letter(char) || char.is_ascii_digit() || char == '$'
}

/// The length of a name (`work_mem`, `auto_explain.log_analyze`) at the start of `text`.
fn name_length(text: &str) -> Option<usize> {
    let part = |text: &str| {
        text.starts_with(is_letter)
            .then(|| text.find(|char| !is_word(char)).unwrap_or(text.len()))
    };
    let first = part(text)?;
    match text[first..].strip_prefix('.').and_then(part) {
        Some(second) => Some(first + 1 + second),
        None => Some(first),
    }
}

/// A value at the start of `text`, and what follows it.
fn lex_value(text: &str) -> Option<(String, &str)> {
    if text.starts_with('\'') {
        return lex_string(text);
    }
    // Numbers (`-1`, `1.5e3`, `0x10`, `16MB`) and unquoted words (`on`, `pg_catalog.english`, `/path`).
    let end = text
        .find(|char: char| !(is_word(char) || matches!(char, '-' | '.' | ':' | '/' | '+')))
        .unwrap_or(text.len());
    let first = text.chars().next()?;
    let starts = is_letter(first) || first.is_ascii_digit() || matches!(first, '-' | '+' | '.');
    (end > 0 && starts).then(|| (text[..end].to_string(), &text[end..]))
}

fn lex_string(text: &str) -> Option<(String, &str)> {
    let mut value = Vec::new();
    let bytes = text.as_bytes();
    let mut at = 1;
    loop {
        match *bytes.get(at)? {
            b'\'' if bytes.get(at + 1) == Some(&b'\'') => {
                value.push(b'\'');
                at += 2;
            }
            b'\'' => break,
            b'\\' => {
                let escaped = *bytes.get(at + 1)?;
                at += 2;
                value.push(match escaped {
                    b'b' => 8,
                    b'f' => 12,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'0'..=b'7' => {
                        let mut code = u32::from(escaped - b'0');
                        let mut digits = 1;
                        while let Some(digit @ b'0'..=b'7') = bytes.get(at)
                            && digits < 3
                        {
                            code = code * 8 + u32::from(digit - b'0');
                            digits += 1;
                            at += 1;
                        }
                        // The server keeps the low byte, too.
                        (code & 0xFF) as u8
                    }
                    other => other,
                });
            }
            byte => {
                value.push(byte);
                at += 1;
            }
        }
    }
    Some((
        String::from_utf8_lossy(&value).into_owned(),
        text.get(at + 1..)?,
    ))
}

/// Quotes a value so that the server reads back exactly `value`.
pub fn quote_value(value: &str) -> String {
    let mut quoted = String::with_capacity(value.len() + 2);
    quoted.push('\'');
    for char in value.chars() {
        match char {
            '\'' => quoted.push_str("''"),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            char => quoted.push(char),
        }
    }
    quoted.push('\'');
    quoted
}

/// Writes settings as the text of a configuration file.
pub fn render<N: AsRef<str>, V: AsRef<str>>(
    settings: impl IntoIterator<Item = (N, V)>,
) -> Result<String, Error> {
    let mut text = String::new();
    for (name, value) in settings {
        let (name, value) = (name.as_ref(), value.as_ref());
        let refuse = |reason: &str| Error::BadSetting {
            name: name.to_string(),
            reason: reason.to_string(),
        };
        if name_length(name) != Some(name.len()) {
            return Err(refuse("that is not the name of a setting"));
        }
        if value.contains('\0') {
            return Err(refuse("its value holds a zero byte"));
        }
        text.push_str(name);
        text.push_str(" = ");
        text.push_str(&quote_value(value));
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn setting(line: &str) -> (String, String) {
        match lex_line(line) {
            ConfLine::Setting(setting) => (setting.name, setting.value),
            other => panic!("{line:?} is {other:?}"),
        }
    }

    #[test]
    fn settings_in_all_spellings() {
        let expect = |line, name: &str, value: &str| {
            assert_eq!(
                setting(line),
                (name.to_string(), value.to_string()),
                "{line:?}"
            );
        };
        expect("work_mem = 4MB", "work_mem", "4MB");
        expect("  Work_Mem 4MB # comment", "work_mem", "4MB");
        expect("port=5432\r", "port", "5432");
        expect("x.y = -1", "x.y", "-1");
        expect("a = 'it''s # here'#c", "a", "it's # here");
        expect(
            r"a = 'back\\slash \'q\' \101 \n'",
            "a",
            "back\\slash 'q' A \n",
        );
        expect(
            "archive_command='cp %p /a/%f'",
            "archive_command",
            "cp %p /a/%f",
        );
        expect("log_destination=stderr", "log_destination", "stderr");
        expect("a = 1.5e-3", "a", "1.5e-3");
    }

    #[test]
    fn other_lines() {
        for blank in ["", "   ", "# a = 1", "\t# x", "\r"] {
            assert_eq!(lex_line(blank), ConfLine::Blank, "{blank:?}");
        }
        assert!(matches!(lex_line("include 'a.conf'"), ConfLine::Include(_)));
        assert!(matches!(
            lex_line("Include_Dir = conf.d"),
            ConfLine::Include(_)
        ));
        for invalid in [
            "=",
            "a",
            "a =",
            "a = 'open",
            "1a = 2",
            "a = b c",
            "a = 'x' y",
            "a = #",
        ] {
            assert_eq!(lex_line(invalid), ConfLine::Invalid, "{invalid:?}");
        }
    }

    #[test]
    fn refuses_names_that_are_not() {
        for name in ["", "a b", "a=", "1a", "a.b.c", "a\n"] {
            assert!(render([(name, "1")]).is_err(), "{name:?} was accepted");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(value in "[^\0]*") {
            let text = render([("a.b", &value)]).unwrap();
            prop_assert_eq!(text.matches('\n').count(), 1);
            prop_assert_eq!(setting(text.trim_end_matches('\n')), ("a.b".to_string(), value));
        }

        #[test]
        fn no_line_panics(line in ".*") {
            lex_line(&line);
        }
    }
}
