//! Which processes belong to a lab or to a server.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::platform;

/// A process at the moment it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proc {
    pub pid: i32,
    pub ppid: i32,
    /// `R`, `S`, `D`, `T` (stopped), `Z` (zombie) ...
    pub state: char,
    /// When it started, in the system's own words; tells a process from a later one with its id.
    pub start: String,
}

impl Proc {
    /// The process with this id, unless it has ended; a zombie has.
    pub fn get(pid: i32) -> Option<Proc> {
        platform::get(pid).filter(|proc| !proc.has_ended())
    }

    pub fn has_ended(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }

    pub fn is_stopped(&self) -> bool {
        matches!(self.state, 'T' | 't')
    }

    /// The same process now, unless it has ended.
    pub fn again(&self) -> Option<Proc> {
        Proc::get(self.pid).filter(|now| now.start == self.start)
    }

    /// Whether this is a PostgreSQL server process that works in `dir`, its postmaster or a child, or a
    /// receiver that writes there.
    pub fn serves(&self, dir: &Path) -> bool {
        const SERVERS: [&str; 3] = ["postgres", "postmaster", "pg_receivewal"];
        platform::program(self.pid).is_some_and(|name| SERVERS.contains(&name.as_str()))
            && platform::cwd(self.pid).is_none_or(|cwd| cwd.starts_with(dir))
    }

    pub fn id(&self) -> ProcessId {
        ProcessId {
            pid: self.pid,
            start: self.start.clone(),
        }
    }
}

/// A process for good: ids are used again, id and start time together are not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    pub pid: i32,
    pub start: String,
}

impl ProcessId {
    /// This process.
    pub fn own() -> Self {
        let pid = std::process::id() as i32;
        ProcessId {
            pid,
            start: platform::get(pid).map_or_else(String::new, |proc| proc.start),
        }
    }

    pub fn is_alive(&self) -> bool {
        Proc::get(self.pid).is_some_and(|now| now.start == self.start)
    }
}

/// A description of processes to look for.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// `NAME=value` in the environment they were started with.
    pub env: Option<String>,
    /// Server processes that work somewhere below.
    pub dir: Option<PathBuf>,
    /// These themselves.
    pub pids: Vec<i32>,
}

impl Wanted {
    /// All that match now, with their descendants, in the order they were started (a postmaster before
    /// its children). This process and its ancestors are never among them, nor are zombies.
    pub fn find(&self) -> Vec<Proc> {
        let all = platform::list();
        let parents: HashMap<i32, i32> = all.iter().map(|proc| (proc.pid, proc.ppid)).collect();
        let mut spared = HashSet::from([0, 1]);
        let mut at = std::process::id() as i32;
        while spared.insert(at) {
            at = parents.get(&at).copied().unwrap_or(0);
        }
        let mut found: HashSet<i32> = all
            .iter()
            .filter(|proc| !spared.contains(&proc.pid) && self.matches(proc))
            .map(|proc| proc.pid)
            .collect();
        loop {
            let before = found.len();
            for proc in &all {
                if found.contains(&proc.ppid) && !spared.contains(&proc.pid) {
                    found.insert(proc.pid);
                }
            }
            if found.len() == before {
                break;
            }
        }
        let mut procs: Vec<Proc> = all
            .into_iter()
            .filter(|proc| found.contains(&proc.pid) && !proc.has_ended())
            .collect();
        procs.sort_by(|a, b| {
            (a.start.len(), &a.start, a.pid).cmp(&(b.start.len(), &b.start, b.pid))
        });
        procs
    }

    fn matches(&self, proc: &Proc) -> bool {
        if proc.has_ended() {
            return false;
        }
        self.pids.contains(&proc.pid)
            || self
                .env
                .as_deref()
                .is_some_and(|marker| platform::has_env(proc.pid, marker))
            // A person's shell may stand in the folder, too: only server processes count.
            || self.dir.as_deref().is_some_and(|dir| {
                platform::cwd(proc.pid).is_some_and(|cwd| cwd.starts_with(dir)) && proc.serves(dir)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn own_process_is_alive_and_never_found() {
        let own = ProcessId::own();
        assert!(own.is_alive());
        let later = ProcessId {
            start: format!("{}1", own.start),
            ..own.clone()
        };
        assert!(!later.is_alive());
        let wanted = Wanted {
            pids: vec![own.pid, 1],
            ..Wanted::default()
        };
        assert!(
            wanted
                .find()
                .iter()
                .all(|proc| proc.pid != own.pid && proc.pid != 1)
        );
    }

    #[test]
    fn found_by_environment_with_descendants() {
        let marker = format!("RPITR_TEST_MARK={}", std::process::id());
        let (name, value) = marker.split_once('=').unwrap();
        let mut child = Command::new("sh")
            .args(["-c", "env -i sleep 30; true"])
            .env(name, value)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let wanted = Wanted {
            env: Some(marker.clone()),
            ..Wanted::default()
        };
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        let mut found = wanted.find();
        while found.len() < 2 && std::time::Instant::now() < deadline {
            found = wanted.find();
        }
        for proc in &found {
            super::super::signal(proc, nix::sys::signal::Signal::SIGKILL);
        }
        child.wait().unwrap();
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0].pid, child.id() as i32);
        assert!(found[0].again().is_none());
    }
}
