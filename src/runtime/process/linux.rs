//! Processes as Linux shows them in `/proc`.

use std::path::PathBuf;

use super::Proc;

/// One process; `None` when it is gone.
pub fn get(pid: i32) -> Option<Proc> {
    let text = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    parse_stat(&String::from_utf8_lossy(&text))
}

/// All processes.
pub fn list() -> Vec<Proc> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| get(entry.file_name().to_str()?.parse().ok()?))
        .collect()
}

/// `pid (name) state ppid ...`; the name may hold blanks and parentheses, field 22 is the start time.
fn parse_stat(text: &str) -> Option<Proc> {
    let (pid, rest) = text.split_once(' ')?;
    let mut fields = rest.get(rest.rfind(')')? + 1..)?.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let ppid = fields.next()?.parse().ok()?;
    let start = fields.nth(17)?;
    Some(Proc {
        pid: pid.parse().ok()?,
        ppid,
        state,
        start: start.to_string(),
    })
}

/// Whether the process was started with `NAME=value` in its environment. A PostgreSQL backend
/// writes its title over that.
pub fn has_env(pid: i32, marker: &str) -> bool {
    std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(|text| {
        text.split(|byte| *byte == 0)
            .any(|var| var == marker.as_bytes())
    })
}

/// The working directory, also when it has been deleted.
pub fn cwd(pid: i32) -> Option<PathBuf> {
    link(pid, "cwd")
}

/// The file name of the program.
pub fn program(pid: i32) -> Option<String> {
    Some(link(pid, "exe")?.file_name()?.to_str()?.to_string())
}

fn link(pid: i32, name: &str) -> Option<PathBuf> {
    let path = std::fs::read_link(format!("/proc/{pid}/{name}")).ok()?;
    let text = path.to_str()?;
    Some(PathBuf::from(
        text.strip_suffix(" (deleted)").unwrap_or(text),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_lines() {
        let text = "42 (a) b (c) S 7 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 9876 1 1";
        let proc = parse_stat(text).unwrap();
        assert_eq!((proc.pid, proc.ppid, proc.state), (42, 7, 'S'));
        assert_eq!(proc.start, "9876");
        assert_eq!(parse_stat("42 (a"), None);
        assert!(get(std::process::id() as i32).is_some());
    }
}
