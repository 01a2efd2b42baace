//! `~/.pgpass`: the first line whose host, port, database and user match gives the password.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// What a line of the file is matched against.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// `localhost` for a socket in the default directory.
    pub host: &'a str,
    pub port: &'a str,
    pub dbname: &'a str,
    pub user: &'a str,
}

/// Reads the file; `None` when it is missing, not a plain file, or open to others (libpq
/// ignores such a file too, because its passwords are no longer secret).
pub(crate) fn read(path: &Path) -> Option<String> {
    let metadata = std::fs::metadata(path).ok()?;
    if !metadata.is_file() || metadata.permissions().mode() & 0o077 != 0 {
        return None;
    }
    std::fs::read_to_string(path).ok()
}

/// The password of the first matching line.
pub(crate) fn find(text: &str, wanted: Wanted<'_>) -> Option<String> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .find_map(|line| {
            let mut rest = line;
            for value in [wanted.host, wanted.port, wanted.dbname, wanted.user] {
                let (field, tail, wildcard) = field(rest)?;
                rest = tail?;
                if !wildcard && field != value {
                    return None;
                }
            }
            let (password, _, _) = field(rest)?;
            Some(password)
        })
}

/// The text up to the next bare `:`, unescaped; what follows it; whether it was a bare `*`.
fn field(text: &str) -> Option<(String, Option<&str>, bool)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            ':' => return Some((value, text.get(at + 1..), text.get(..at) == Some("*"))),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    Some((value, None, text == "*"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# comment\n\
        db.example:5432:app:alice:one\n\
        *:*:*:bob:t\\:w\\\\o\n\
        broken line\n\
        localhost:*:a\\:b:*:three\n\
        *:*:*:*:last:ignored\n";

    fn find_in(host: &str, port: &str, dbname: &str, user: &str) -> Option<String> {
        find(
            FILE,
            Wanted {
                host,
                port,
                dbname,
                user,
            },
        )
    }

    #[test]
    fn first_match_wins() {
        assert_eq!(
            find_in("db.example", "5432", "app", "alice").as_deref(),
            Some("one")
        );
        assert_eq!(find_in("x", "1", "y", "bob").as_deref(), Some("t:w\\o"));
        assert_eq!(
            find_in("localhost", "1", "a:b", "z").as_deref(),
            Some("three")
        );
        assert_eq!(
            find_in("db.example", "5433", "app", "alice").as_deref(),
            Some("last")
        );
        assert_eq!(
            find(
                "h:1:d:u:p",
                Wanted {
                    host: "h",
                    port: "2",
                    dbname: "d",
                    user: "u"
                }
            ),
            None
        );
    }

    #[test]
    fn a_file_open_to_others_is_ignored() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pgpass");
        std::fs::write(&path, FILE).unwrap();
        let chmod = |mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        chmod(0o600);
        assert!(read(&path).is_some());
        for mode in [0o640, 0o604, 0o644] {
            chmod(mode);
            assert!(read(&path).is_none(), "{mode:o}");
        }
        assert!(read(directory.path()).is_none());
    }
}
