//! A throw-away PostgreSQL server for tests: one temporary directory, one socket, no network,
//! stopped and removed when dropped. As root the server's programs run as an unprivileged
//! account, because PostgreSQL refuses to run as root.
#![allow(dead_code)]

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub mod waldump;

/// Where the PostgreSQL programs are: `RPITR_PG_BIN`, the usual version directories, `PATH`.
fn bindir() -> PathBuf {
    if let Some(dir) = std::env::var_os("RPITR_PG_BIN") {
        return dir.into();
    }
    let mut found: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .map(|dir| {
            dir.flatten()
                .map(|entry| entry.path().join("bin"))
                .collect()
        })
        .unwrap_or_default();
    found.retain(|dir| dir.join("postgres").exists());
    found.sort();
    if let Some(dir) = found.pop() {
        return dir;
    }
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .find(|dir| dir.join("postgres").exists())
        .expect("no PostgreSQL found: install it or set RPITR_PG_BIN to its bin directory")
}

/// The account servers run as when the tests run as root.
fn account() -> Option<(u32, u32)> {
    if !nix::unistd::geteuid().is_root() {
        return None;
    }
    let name = std::env::var("RPITR_PG_USER").unwrap_or_else(|_| "postgres".to_string());
    let user = nix::unistd::User::from_name(&name)
        .unwrap()
        .expect("running as root needs an unprivileged account: set RPITR_PG_USER");
    Some((user.uid.as_raw(), user.gid.as_raw()))
}

/// Makes a command run as the server's account.
pub fn as_account(command: &mut Command) -> &mut Command {
    if let Some((uid, gid)) = account() {
        command.uid(uid).gid(gid);
    }
    command
}

/// A program of PostgreSQL, run as the right user.
pub fn program(name: &str) -> Command {
    let mut command = Command::new(bindir().join(name));
    command
        .env("TZ", "UTC")
        .env("LC_ALL", "C")
        .env("PGTZ", "UTC")
        .stdin(Stdio::null());
    command.current_dir("/");
    if let Some((uid, gid)) = account() {
        command.uid(uid).gid(gid);
    }
    command
}

/// Runs a command that must succeed and returns its standard output.
pub fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A temporary directory the server's account owns.
pub fn scratch() -> TempDir {
    let dir = tempfile::Builder::new()
        .prefix("rpitr-t")
        .tempdir_in("/tmp")
        .unwrap();
    own(dir.path());
    dir
}

/// Gives a path to the server's account.
pub fn own(path: &Path) {
    if let Some((uid, gid)) = account() {
        std::os::unix::fs::chown(path, Some(uid), Some(gid)).unwrap();
    }
}

/// Makes a directory owned by the server's account.
pub fn make_dir(path: &Path) -> PathBuf {
    fs::create_dir_all(path).unwrap();
    own(path);
    path.to_path_buf()
}

/// Polls until `ready` gives an answer.
pub fn eventually<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    // Long: the disk of a busy machine may make a receiver wait for half a minute.
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < deadline, "timed out: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A data directory and the server in it.
pub struct Cluster {
    pub data: PathBuf,
    socket: PathBuf,
}

impl Cluster {
    /// `initdb` plus settings that make it quick and quiet.
    pub fn init(root: &Path, name: &str, segment_mb: u32, settings: &str) -> Cluster {
        let data = root.join(name);
        run(program("initdb")
            .args([
                "-N",
                "-A",
                "trust",
                "-U",
                "postgres",
                "-E",
                "UTF8",
                "--locale=C",
            ])
            .arg(format!("--wal-segsize={segment_mb}"))
            .arg("-D")
            .arg(&data));
        let cluster = Cluster {
            data,
            socket: root.to_path_buf(),
        };
        cluster.configure(&format!(
            "fsync=off\nshared_buffers=16MB\nmax_connections=20\nlog_timezone=UTC\n{settings}"
        ));
        cluster
    }

    /// A data directory that already exists, such as a copied backup.
    pub fn existing(root: &Path, data: PathBuf) -> Cluster {
        Cluster {
            data,
            socket: root.to_path_buf(),
        }
    }

    /// Appends settings; the last one of a name wins.
    pub fn configure(&self, settings: &str) {
        let path = self.data.join("postgresql.conf");
        let mut text = fs::read_to_string(&path).unwrap();
        text.push_str(&format!(
            "\nlisten_addresses=''\nunix_socket_directories='{}'\nport={}\n{settings}\n",
            self.socket.display(),
            self.port()
        ));
        fs::write(&path, text).unwrap();
    }

    /// Only names the socket; derived from the directory so that clusters do not collide.
    fn port(&self) -> u16 {
        let name = self.data.as_os_str().as_encoded_bytes();
        let sum = name
            .iter()
            .fold(7u32, |a, b| a.wrapping_mul(31).wrapping_add(u32::from(*b)));
        10_000 + (sum % 50_000) as u16
    }

    pub fn log(&self) -> PathBuf {
        self.data.with_extension("log")
    }

    pub fn log_text(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    fn ctl(&self, args: &[&str]) -> Output {
        program("pg_ctl")
            .arg("-D")
            .arg(&self.data)
            .args(args)
            .stdout(Stdio::null())
            .output()
            .unwrap()
    }

    pub fn start(&self) {
        let log = self.log();
        let log = log.to_str().unwrap();
        let output = program("pg_ctl")
            .arg("-D")
            .arg(&self.data)
            .args(["-w", "-t", "30", "-s", "-l", log, "start"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(
            output.success(),
            "server did not start:\n{}",
            self.log_text()
        );
    }

    /// Starts a recovery and waits until it promoted (true) or the server gave up (false).
    pub fn recover(&self) -> bool {
        let log = self.log();
        let _ = program("pg_ctl")
            .arg("-D")
            .arg(&self.data)
            .args(["-W", "-s", "-l", log.to_str().unwrap(), "start"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        eventually("recovery ends", || {
            let text = self.log_text();
            if text.contains("database system is shut down") {
                return Some(false);
            }
            if !text.contains("accept connections") {
                return None;
            }
            let answer = self
                .psql_command()
                .args(["-c", "select pg_is_in_recovery()"])
                .output()
                .unwrap();
            (String::from_utf8_lossy(&answer.stdout).trim() == "f").then_some(true)
        })
    }

    pub fn stop(&self, mode: &str) {
        self.ctl(&["-w", "-s", "-m", mode, "stop"]);
    }

    pub fn client(&self, name: &str) -> Command {
        let mut command = program(name);
        command
            .env("PGHOST", &self.socket)
            .env("PGPORT", self.port().to_string())
            .env("PGUSER", "postgres")
            .env("PGDATABASE", "postgres");
        command
    }

    fn psql_command(&self) -> Command {
        let mut command = self.client("psql");
        command.args(["-XAtq", "-v", "ON_ERROR_STOP=1"]);
        command
    }

    pub fn psql(&self, sql: &str) -> String {
        run(self.psql_command().args(["-c", sql]))
            .trim()
            .to_string()
    }

    /// Several statements, each in its own transaction; returns what they printed.
    pub fn script(&self, sql: &str) -> String {
        let path = self.data.with_extension("sql");
        fs::write(&path, sql).unwrap();
        run(self.psql_command().arg("-f").arg(&path))
    }

    /// A base backup of a cluster with one tablespace, which is put elsewhere.
    pub fn base_backup_mapped(&self, to: &Path, space: &Path, new_space: &Path) {
        let mapping = format!("{}={}", space.display(), new_space.display());
        let options = [
            "-c",
            "fast",
            "-X",
            "none",
            "--no-sync",
            "--no-manifest",
            "-T",
        ];
        run(self
            .client("pg_basebackup")
            .args(options)
            .arg(mapping)
            .arg("-D")
            .arg(to));
    }

    pub fn base_backup(&self, to: &Path) {
        run(self
            .client("pg_basebackup")
            .args([
                "-c",
                "fast",
                "-X",
                "none",
                "--no-sync",
                "--no-manifest",
                "-D",
            ])
            .arg(to));
    }

    /// Waits until the archive holds the segment that ends at the current position.
    pub fn switch_and_archive(&self, archive: &Path) -> String {
        let name = self.psql("select pg_walfile_name(pg_current_wal_insert_lsn())");
        self.psql("select pg_switch_wal()");
        eventually("segment is archived", || {
            archive.join(&name).exists().then_some(())
        });
        name
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.data.join("postmaster.pid").exists() {
            self.stop("immediate");
        }
    }
}

/// The positions of a base backup: redo, stop, stop time in Unix microseconds.
pub fn backup_positions(archive: &Path) -> (rpitr::wal::Lsn, rpitr::wal::Lsn) {
    let label = fs::read_dir(archive)
        .unwrap()
        .flatten()
        .map(|e| e.path())
        .find(|p| p.extension().is_some_and(|e| e == "backup"))
        .expect("a backup label in the archive");
    let text = fs::read_to_string(label).unwrap();
    let position = |key: &str| {
        let rest = text.split_once(key).unwrap().1;
        rest.split_whitespace().next().unwrap().parse().unwrap()
    };
    (
        position("START WAL LOCATION: "),
        position("STOP WAL LOCATION: "),
    )
}
