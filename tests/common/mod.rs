//! What the suites that run the real program share: a private state root, runs with a deadline, and
//! a census of what a run left behind. Everything goes when a [`Bench`] is dropped, panic or not.
#![allow(dead_code, reason = "each suite uses a part of it")]

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

/// What a run may take before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(300);

/// A state root of its own.
pub struct Bench {
    dir: Option<TempDir>,
    pub state: PathBuf,
    /// The program to run; a copy of it where a test needs one.
    pub program: PathBuf,
    pub env: Vec<(String, String)>,
}

/// A run that has ended.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A run that goes on.
pub struct Running {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Bench {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("drills-")
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir_in("/tmp")
            .unwrap();
        Bench {
            state: dir.path().join("state"),
            dir: Some(dir),
            program: env!("CARGO_BIN_EXE_rpitr").into(),
            env: Vec::new(),
        }
    }

    /// The folder of the bench; the state root is a part of it.
    pub fn dir(&self) -> &Path {
        self.dir.as_ref().unwrap().path()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .current_dir(self.dir())
            .env("RPITR_STATE", &self.state)
            .env("NO_COLOR", "1")
            .env_remove("RPITR_RUNTIME")
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs the program to its end.
    pub fn run(&self, arguments: &[&str]) -> Finished {
        self.start(arguments).finish()
    }

    /// Starts the program without a terminal.
    pub fn start(&self, arguments: &[&str]) -> Running {
        self.spawn(self.command(arguments))
    }

    pub fn spawn(&self, mut command: Command) -> Running {
        let unique = tempfile::Builder::new()
            .prefix("run-")
            .tempdir_in(self.dir())
            .unwrap()
            .keep();
        let (stdout, stderr) = (unique.join("stdout"), unique.join("stderr"));
        command
            .stdin(Stdio::null())
            .stdout(File::create(&stdout).unwrap())
            .stderr(File::create(&stderr).unwrap());
        Running {
            child: command.spawn().unwrap(),
            stdout,
            stderr,
        }
    }

    /// A script in the bench's folder; returns its path.
    pub fn script(&self, name: &str, text: &str) -> String {
        let path = self.dir().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// Runs a drill that must end with `code`, and returns its report.
    pub fn drill(&self, arguments: &[&str], code: i32) -> (Value, Finished) {
        let folder = tempfile::Builder::new()
            .prefix("report-")
            .tempdir_in(self.dir())
            .unwrap()
            .keep();
        let mut all = arguments.to_vec();
        let path = folder.display().to_string();
        all.extend(["--report", &path]);
        let run = self.run(&all);
        run.expect(code);
        let text = fs::read_to_string(folder.join("report.json")).unwrap();
        (serde_json::from_str(&text).unwrap(), run)
    }

    /// The labs on record.
    pub fn labs(&self) -> Vec<Value> {
        let run = self.run(&["lab", "ls", "--json"]);
        run.expect(0);
        let list: Value = serde_json::from_str(&run.stdout).unwrap();
        list["labs"].as_array().unwrap().clone()
    }

    /// The ports of every server on record.
    pub fn ports(&self) -> Vec<u16> {
        let mut ports = Vec::new();
        for path in entries(&self.state.join("registry")) {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let record: Value = serde_json::from_str(&text).unwrap_or_default();
            for node in record["nodes"].as_array().into_iter().flatten() {
                ports.extend(node["port"].as_u64().map(|port| port as u16));
            }
        }
        ports
    }

    /// Everything of this bench that should not be there once all runs are over.
    pub fn leftovers(&self) -> Vec<String> {
        let mut found = self.processes();
        for folder in ["labs", "registry"] {
            let all = entries(&self.state.join(folder));
            found.extend(all.iter().map(|path| path.display().to_string()));
        }
        let root = self.state.display().to_string();
        for path in entries(Path::new("/tmp")) {
            let marker = fs::read_to_string(path.join(".rpitr-lab")).unwrap_or_default();
            if marker.lines().any(|line| line == root) {
                found.push(path.display().to_string());
            }
        }
        found
    }

    /// Fails unless nothing is left, neither of the files and processes nor behind `ports`.
    pub fn assert_clean(&self, ports: &[u16]) {
        let left = self.leftovers();
        assert!(left.is_empty(), "left behind:\n{}", left.join("\n"));
        for port in ports {
            let open = TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).is_ok();
            assert!(!open, "somebody still listens on port {port}");
        }
    }

    /// Processes that work in the bench's folder, were started from it or with it.
    pub fn processes(&self) -> Vec<String> {
        let root = self.dir().display().to_string();
        let mut found = Vec::new();
        for path in entries(Path::new("/proc")) {
            let Some(pid) = path
                .file_name()
                .and_then(|name| name.to_str()?.parse::<u32>().ok())
            else {
                continue;
            };
            let text = |file: &str| {
                let bytes = fs::read(path.join(file)).unwrap_or_default();
                String::from_utf8_lossy(&bytes).replace('\0', " ")
            };
            let folder = fs::read_link(path.join("cwd")).unwrap_or_default();
            let zombie = text("stat")
                .rsplit(')')
                .next()
                .is_some_and(|rest| rest.trim_start().starts_with('Z'));
            let ours = folder.starts_with(&root)
                || text("cmdline").contains(&root)
                || text("environ").contains(&root);
            if ours && !zombie && pid != std::process::id() {
                found.push(format!("process {pid}: {}", text("cmdline")));
            }
        }
        found
    }

    /// The server logs of every lab that is still there.
    pub fn logs(&self) -> String {
        let all = self.labs();
        let each = all.iter().map(|lab| {
            self.run(&["lab", "logs", lab["id"].as_str().unwrap()])
                .stdout
        });
        each.collect()
    }

    /// The lines of the server logs of every lab that a healthy run does not write.
    pub fn suspicious_log_lines(&self) -> Vec<String> {
        let allowed = include_str!("../allowed_log_lines.txt");
        let allowed: Vec<&str> = allowed
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .collect();
        let mut found = Vec::new();
        for lab in self.labs() {
            let run = self.run(&["lab", "logs", lab["id"].as_str().unwrap()]);
            run.expect(0);
            assert!(run.stdout.contains("database system is ready"), "{run:?}");
            for line in run.stdout.lines() {
                let bad = ["PANIC:", "FATAL:", "ERROR:", "rpitr archive-"];
                if bad.iter().any(|word| line.contains(word))
                    && !allowed.iter().any(|part| line.contains(part))
                {
                    found.push(line.to_string());
                }
            }
        }
        found
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.command(&["lab", "gc", "--all"]).output();
        if std::thread::panicking() {
            eprintln!(
                "runs are kept in {}",
                self.dir.take().unwrap().keep().display()
            );
        }
    }
}

impl Finished {
    /// Fails with all output unless the run ended with `code`.
    pub fn expect(&self, code: i32) {
        assert_eq!(
            self.code,
            Some(code),
            "unexpected exit code\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout,
            self.stderr
        );
    }

    /// Fails unless the output, both streams together, contains `text`.
    pub fn says(&self, text: &str) {
        let all = format!("{}\n{}", self.stdout, self.stderr);
        assert!(all.contains(text), "{text:?} is missing in:\n{all}");
    }
}

impl Running {
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap()
    }

    pub fn stdout(&self) -> String {
        fs::read_to_string(&self.stdout).unwrap()
    }

    /// Waits for the end; a run that hangs fails the test.
    pub fn finish(mut self) -> Finished {
        let deadline = Instant::now() + PATIENCE;
        let status: ExitStatus = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > deadline {
                panic!("still running after {PATIENCE:?}:\n{}", self.stderr());
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        Finished {
            code: status.code(),
            stdout: self.stdout(),
            stderr: self.stderr(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The entries of a folder; none when there is no folder.
pub fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .map(|list| list.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default()
}

/// Polls until `ready` gives an answer.
pub fn eventually<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < deadline, "never came true: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
