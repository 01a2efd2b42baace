//! `postmaster.pid`: who serves a data directory, where, and how far it has come.

use std::path::{Path, PathBuf};

use super::Error;

/// The status line of `postmaster.pid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostmasterStatus {
    Starting,
    Stopping,
    /// Accepting connections: open for writing, or a hot standby. The cluster state in the control file
    /// tells which ([`super::read_cluster_state`]).
    Ready,
    /// In recovery and, with `hot_standby = off`, not accepting connections.
    Standby,
}

/// The contents of `postmaster.pid`. The server writes the file line by line, so the later ones
/// may be missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostmasterPid {
    pub pid: i32,
    pub data_dir: PathBuf,
    /// Seconds since the epoch.
    pub start_time: i64,
    pub port: Option<u16>,
    pub socket_dir: Option<PathBuf>,
    pub listen_address: Option<String>,
    pub status: Option<PostmasterStatus>,
}

impl PostmasterPid {
    /// Reads the file of a data directory; `None` when there is none, or it is not written yet.
    pub fn read(data_dir: &Path) -> Result<Option<Self>, Error> {
        let path = data_dir.join("postmaster.pid");
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Self::parse(&text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", &path)(error)),
        }
    }

    /// Parses the text; `None` while its first lines are not complete.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        // A standalone backend writes its pid negated.
        let pid: i32 = lines.next()?.trim().parse::<i32>().ok()?.checked_abs()?;
        let data_dir = PathBuf::from(lines.next()?);
        let start_time = lines.next()?.trim().parse().ok()?;
        let port = lines.next().and_then(|line| line.trim().parse().ok());
        let mut named = || lines.next().filter(|line| !line.is_empty());
        let socket_dir = named().map(PathBuf::from);
        let listen_address = named().map(str::to_string);
        let _shared_memory = lines.next();
        let status = lines.next().and_then(|line| match line.trim() {
            "starting" => Some(PostmasterStatus::Starting),
            "stopping" => Some(PostmasterStatus::Stopping),
            "ready" => Some(PostmasterStatus::Ready),
            "standby" => Some(PostmasterStatus::Standby),
            _ => None,
        });
        Some(PostmasterPid {
            pid,
            data_dir,
            start_time,
            port,
            socket_dir,
            listen_address,
            status,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complete_file() {
        let text = "8528\n/d\n1795246413\n7777\n/sock\nlocalhost\n 10010675         4\nready   \n";
        let pid = PostmasterPid::parse(text).unwrap();
        assert_eq!((pid.pid, pid.port), (8528, Some(7777)));
        assert_eq!(pid.socket_dir.as_deref(), Some(Path::new("/sock")));
        assert_eq!(pid.listen_address.as_deref(), Some("localhost"));
        assert_eq!(pid.status, Some(PostmasterStatus::Ready));
    }

    #[test]
    fn growing_file() {
        assert_eq!(PostmasterPid::parse(""), None);
        assert_eq!(PostmasterPid::parse("85"), None);
        let early = PostmasterPid::parse("8528\n/d\n1795246413\n7777\n\n\n").unwrap();
        assert_eq!(early.status, None);
        assert_eq!(early.socket_dir, None);
    }
}
