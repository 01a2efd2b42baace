//! The server log: entries with their level, the ones that are problems, and the one that explains why
//! a server did not start.
//!
//! The texts are matched in English: servers are started with `lc_messages=C`.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use super::Error;

/// The prefix rpitr gives its servers: time, process, SQLSTATE. Other prefixes are understood too.
pub const LOG_LINE_PREFIX: &str = "%m [%p] %e ";

/// The level of a log entry, in rising order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Debug,
    Info,
    Notice,
    Log,
    Warning,
    Error,
    Fatal,
    Panic,
}

/// One entry of the log with the lines that belong to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    pub level: Level,
    /// What stands before the level.
    pub prefix: String,
    pub sqlstate: Option<String>,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
    pub context: Option<String>,
    pub statement: Option<String>,
}

impl LogEntry {
    pub fn level_name(&self) -> &'static str {
        match self.level {
            Level::Debug => "DEBUG",
            Level::Info => "INFO",
            Level::Notice => "NOTICE",
            Level::Log => "LOG",
            Level::Warning => "WARNING",
            Level::Error => "ERROR",
            Level::Fatal => "FATAL",
            Level::Panic => "PANIC",
        }
    }

    /// The entry as a person reads it: level and message, then detail and hint.
    pub fn text(&self) -> String {
        let mut text = format!("{}:  {}", self.level_name(), self.message);
        for (name, part) in [("DETAIL", &self.detail), ("HINT", &self.hint)] {
            if let Some(part) = part {
                text.push_str(&format!("\n{name}:  {part}"));
            }
        }
        text
    }
}

enum Marker {
    Level(Level),
    Detail,
    Hint,
    Context,
    Statement,
    Other,
}

const MARKERS: &[(&str, Marker)] = &[
    ("LOG:  ", Marker::Level(Level::Log)),
    ("FATAL:  ", Marker::Level(Level::Fatal)),
    ("ERROR:  ", Marker::Level(Level::Error)),
    ("PANIC:  ", Marker::Level(Level::Panic)),
    ("WARNING:  ", Marker::Level(Level::Warning)),
    ("NOTICE:  ", Marker::Level(Level::Notice)),
    ("INFO:  ", Marker::Level(Level::Info)),
    ("DEBUG:  ", Marker::Level(Level::Debug)),
    ("DETAIL:  ", Marker::Detail),
    ("HINT:  ", Marker::Hint),
    ("CONTEXT:  ", Marker::Context),
    ("STATEMENT:  ", Marker::Statement),
    ("QUERY:  ", Marker::Other),
    ("LOCATION:  ", Marker::Other),
];

/// The first marker of a line: where it starts, where its text starts, what it is.
fn marker(line: &str) -> Option<(usize, usize, &'static Marker)> {
    // Two blanks after a colon are what a marker ends with; most lines have it early.
    let colon = line.find(":  ")?;
    let start = line[..colon]
        .rfind(|char: char| !char.is_ascii_uppercase())
        .map_or(0, |at| {
            at + line[at..].chars().next().map_or(1, char::len_utf8)
        });
    let word = &line[start..colon + 3];
    MARKERS
        .iter()
        .find(|(text, _)| *text == word)
        .map(|(_, marker)| (start, colon + 3, marker))
}

/// Splits the text of a server log into entries.
pub fn parse_log(text: &str) -> Vec<LogEntry> {
    let mut entries: Vec<LogEntry> = Vec::new();
    // Where a continuation line (they start with a tab) goes.
    let mut last: &Marker = &Marker::Other;
    for line in text.lines() {
        if let Some(more) = line.strip_prefix('\t') {
            if let Some(entry) = entries.last_mut()
                && let Some(part) = part_of(entry, last)
            {
                part.push('\n');
                part.push_str(more);
            }
            continue;
        }
        let Some((start, text_at, found)) = marker(line) else {
            last = &Marker::Other;
            continue;
        };
        last = found;
        let text = &line[text_at..];
        if let Marker::Level(level) = found {
            let prefix = line[..start].trim_end();
            let (sqlstate, message) = split_sqlstate(prefix, text);
            entries.push(LogEntry {
                level: *level,
                prefix: prefix.to_string(),
                sqlstate,
                message,
                detail: None,
                hint: None,
                context: None,
                statement: None,
            });
        } else if let Some(entry) = entries.last_mut()
            && let Some(part) = part_of(entry, found)
        {
            part.push_str(text);
        }
    }
    entries
}

fn part_of<'a>(entry: &'a mut LogEntry, marker: &Marker) -> Option<&'a mut String> {
    match marker {
        Marker::Level(_) => Some(&mut entry.message),
        Marker::Detail => Some(entry.detail.get_or_insert_default()),
        Marker::Hint => Some(entry.hint.get_or_insert_default()),
        Marker::Context => Some(entry.context.get_or_insert_default()),
        Marker::Statement => Some(entry.statement.get_or_insert_default()),
        Marker::Other => None,
    }
}

/// The SQLSTATE is the last word of the prefix (`%e`), or starts the message
/// (`log_error_verbosity = verbose`).
fn split_sqlstate(prefix: &str, text: &str) -> (Option<String>, String) {
    let is_state = |word: &str| {
        word.len() == 5
            && word
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
    };
    if let Some(word) = prefix.split_whitespace().next_back()
        && is_state(word)
    {
        return (Some(word.to_string()), text.to_string());
    }
    match text.split_once(": ") {
        Some((word, message)) if is_state(word) => (Some(word.to_string()), message.to_string()),
        _ => (None, text.to_string()),
    }
}

/// The entries of level ERROR and above.
pub fn problems(text: &str) -> Vec<LogEntry> {
    let mut entries = parse_log(text);
    entries.retain(|entry| entry.level >= Level::Error);
    entries
}

/// The text that explains why a server did not start or stopped by itself: the last PANIC or FATAL that
/// is not about a client, with its detail and hint, after the LOG entries that led to it.
/// Without one, the last lines of the log.
pub fn explain_failure(text: &str) -> Option<String> {
    let entries = parse_log(text);
    let panic = entries
        .iter()
        .rposition(|entry| entry.level == Level::Panic);
    let Some(at) = panic.or_else(|| {
        entries
            .iter()
            .rposition(|entry| entry.level == Level::Fatal && !is_about_a_client(entry))
    }) else {
        let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
        let tail = lines[lines.len().saturating_sub(5)..].join("\n");
        return (!tail.is_empty()).then_some(tail);
    };
    let mut parts: Vec<String> = entries[..at]
        .iter()
        .rev()
        .take(10)
        .filter(|entry| matches!(entry.level, Level::Log | Level::Warning) && is_a_reason(entry))
        .map(LogEntry::text)
        .collect();
    parts.reverse();
    parts.push(entries[at].text());
    Some(parts.join("\n"))
}

/// FATAL entries that end one connection, not the server.
fn is_about_a_client(entry: &LogEntry) -> bool {
    const CLIENT: &[&str] = &[
        "the database system is ",
        "terminating ",
        "password authentication failed",
        "no pg_hba.conf entry",
        "pg_hba.conf rejects",
        "sorry, too many clients",
        "remaining connection slots",
        "role \"",
        "database \"",
        "unsupported frontend protocol",
        "could not connect to the primary server",
        "could not receive data from WAL stream",
    ];
    CLIENT.iter().any(|start| entry.message.starts_with(start))
}

fn is_a_reason(entry: &LogEntry) -> bool {
    let message = &entry.message;
    [
        "could not ",
        "unrecognized configuration",
        "syntax error in file",
        "invalid value for",
        "invalid ",
    ]
    .iter()
    .any(|start| message.starts_with(start))
        || message.contains("\" in file \"")
        || message.contains("must be ")
}

/// Reads a log from `offset` to its end; returns the text and the new end. A log that has become
/// shorter is read from its start; one that does not exist is empty.
pub fn read_log_from(path: &Path, offset: u64) -> Result<(String, u64), Error> {
    let mut file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok((String::new(), 0));
        }
        Err(error) => return Err(Error::io("read", path)(error)),
    };
    let mut read = || -> std::io::Result<(String, u64)> {
        let length = file.metadata()?.len();
        let from = if offset > length { 0 } else { offset };
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let end = from + bytes.len() as u64;
        Ok((String::from_utf8_lossy(&bytes).into_owned(), end))
    };
    read().map_err(Error::io("read", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT_TAKEN: &str = "\
2026-11-21 07:33:33.662 UTC [8528] 00000 LOG:  starting PostgreSQL 15.18
2026-11-21 07:33:33.663 UTC [8528] 98000 LOG:  could not bind IPv4 address \"127.0.0.1\": Address already in use
2026-11-21 07:33:33.663 UTC [8528] 00000 HINT:  Is another postmaster already running on port 7777?
2026-11-21 07:33:33.663 UTC [8528] 01000 WARNING:  could not create listen socket for \"127.0.0.1\"
2026-11-21 07:33:33.663 UTC [8528] XX000 FATAL:  could not create any TCP/IP sockets
2026-11-21 07:33:33.664 UTC [8528] 00000 LOG:  database system is shut down
";

    #[test]
    fn entries_with_their_parts() {
        let text = "\
2026-11-21 07:33:33 UTC [1] ERROR:  relation \"a:  b\" does not exist at character 15
2026-11-21 07:33:33 UTC [1] DETAIL:  first
\tsecond
2026-11-21 07:33:33 UTC [1] STATEMENT:  select *
\tfrom a
noise
FATAL:  28P01: password authentication failed for user \"x\"
";
        let entries = parse_log(text);
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0].detail.as_deref(), Some("first\nsecond"));
        assert_eq!(entries[0].statement.as_deref(), Some("select *\nfrom a"));
        assert_eq!(entries[0].sqlstate, None);
        assert_eq!(entries[1].sqlstate.as_deref(), Some("28P01"));
        assert!(entries[1].message.starts_with("password"));
        assert_eq!(problems(text).len(), 2);
        assert_eq!(problems(PORT_TAKEN)[0].sqlstate.as_deref(), Some("XX000"));
    }

    #[test]
    fn explains_with_what_led_to_it() {
        let text = explain_failure(PORT_TAKEN).unwrap();
        assert!(text.starts_with("LOG:  could not bind"), "{text}");
        assert!(text.contains("Address already in use"));
        assert!(
            text.ends_with("FATAL:  could not create any TCP/IP sockets"),
            "{text}"
        );
    }

    #[test]
    fn clients_are_not_the_reason() {
        let text = "\
[1] FATAL:  recovery ended before configured recovery target was reached
[2] FATAL:  the database system is starting up
[3] LOG:  startup process (PID 1) exited with exit code 1
";
        assert_eq!(
            explain_failure(text).unwrap(),
            "FATAL:  recovery ended before configured recovery target was reached"
        );
        assert_eq!(explain_failure("a\nb\n").unwrap(), "a\nb");
        assert_eq!(explain_failure(""), None);
    }

    #[test]
    fn reads_on_from_an_offset() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        assert_eq!(read_log_from(&path, 5).unwrap(), (String::new(), 0));
        std::fs::write(&path, "one\ntwo\n").unwrap();
        assert_eq!(read_log_from(&path, 4).unwrap(), ("two\n".to_string(), 8));
        assert_eq!(read_log_from(&path, 99).unwrap().0, "one\ntwo\n");
    }
}
