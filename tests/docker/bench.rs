//! What the tests share: a state root whose labs are removed, images, and nodes with a server.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rpitr::runtime::*;

/// What most tests use.
pub const MAJOR: u32 = 15;

pub fn docker(args: &[&str]) -> Output {
    Command::new("docker").args(args).output().unwrap()
}

pub fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// A state root of a test, its labs removed at the end; `None` without an engine.
pub struct Bench {
    pub dir: PathBuf,
}

impl Bench {
    pub fn new() -> Option<Self> {
        let answers = Command::new("docker")
            .args(["version", "--format", "{{.Server.Version}}"])
            .output()
            .is_ok_and(|output| output.status.success());
        if !answers {
            let required = std::env::var("RPITR_REQUIRE_DOCKER").is_ok_and(|value| value == "1");
            assert!(
                !required,
                "RPITR_REQUIRE_DOCKER=1, but no Docker engine answers"
            );
            eprintln!("SKIPPED: no Docker engine answers, the Docker runtime is not tested");
            return None;
        }
        image(MAJOR);
        let dir = tempfile::Builder::new()
            .prefix("rpitr-docker-test-")
            .tempdir()
            .unwrap()
            .keep();
        Some(Bench { dir })
    }

    pub fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    pub fn rpitr(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rpitr"));
        command.args(args).env("RPITR_STATE", self.state());
        command.env("RPITR_RUNTIME", "docker");
        command
    }

    /// Names of everything on the engine that this state root's labels mark.
    pub fn left(&self) -> Vec<String> {
        let label = format!("label=rpitr.state={}", self.state().display());
        let mut names = Vec::new();
        for list in [
            &["ps", "-a", "--format", "{{.Names}}"][..],
            &["volume", "ls", "-q"][..],
            &["network", "ls", "-q"][..],
        ] {
            let output = docker(&[list, &["--filter", &label]].concat());
            names.extend(text(&output).split_whitespace().map(str::to_string));
        }
        names
    }

    pub async fn lab(&self) -> Lab {
        let runtime = LocalRuntime::new(&self.state(), ServerUser::myself()).unwrap();
        let options = LabOptions {
            run: "test".into(),
            ..LabOptions::default()
        };
        let lab = Lab::create_in_containers(&runtime, options).await.unwrap();
        std::fs::write(lab.dir().join("password"), "secret\n").unwrap();
        std::fs::write(lab.dir().join("pgpass"), "*:*:*:postgres:secret\n").unwrap();
        lab
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let gone = self.rpitr(&["lab", "gc", "--all"]).output().unwrap();
        let left = self.left();
        let _ = std::fs::remove_dir_all(&self.dir);
        if !std::thread::panicking() {
            assert!(left.is_empty(), "left behind: {left:?}\n{}", text(&gone));
        }
    }
}

/// The image of a major version: an official one that is there already, or ours, built if need be.
pub fn image(major: u32) -> String {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (official, ours) = (
        format!("postgres:{major}"),
        format!("rpitr/postgres:{major}"),
    );
    let there = |image: &str| docker(&["image", "inspect", image]).status.success();
    if there(&official) {
        return official;
    }
    if !there(&ours) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("compose/image/build");
        let built = Command::new(script)
            .arg(major.to_string())
            .output()
            .unwrap();
        assert!(built.status.success(), "{}", text(&built));
    }
    ours
}

pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, work)
}

pub async fn add(lab: &Lab, name: &str) -> Node {
    let node = NewNode {
        name: name.into(),
        role: "primary".into(),
        version: Some(MAJOR),
    };
    lab.add(node).await.unwrap()
}

pub async fn started(lab: &Lab, name: &str) -> Node {
    let node = add(lab, name).await;
    let args = [
        format!("--pgdata={}", node.paths().data_dir.display()),
        "--username=postgres".into(),
        format!("--pwfile={}", lab.dir().join("password").display()),
        "--auth=scram-sha-256".into(),
        "--no-sync".into(),
    ];
    let made = node
        .run_tool("initdb", &args, ToolOptions::default())
        .await
        .unwrap();
    made.check().unwrap();
    node.set_conf(&[("fsync".into(), "off".into())])
        .await
        .unwrap();
    node.start(StartOptions::default()).await.unwrap();
    node
}

/// From one node to another, or to itself.
pub async fn psql(from: &Node, to: &Node, sql: &str) -> Result<String, Error> {
    let endpoint = to.endpoint_for_node(from);
    let port = endpoint.port.to_string();
    let args = [
        "-XAtq",
        "-h",
        &endpoint.host,
        "-p",
        &port,
        "-U",
        "postgres",
        "-c",
        sql,
    ];
    let options = ToolOptions {
        env: vec![
            ("PGPASSWORD".into(), "secret".into()),
            ("PGCONNECT_TIMEOUT".into(), "3".into()),
        ],
        timeout: Some(Duration::from_secs(20)),
        ..ToolOptions::default()
    };
    let output = from.run_tool("psql", &args, options).await?.check()?;
    Ok(output.stdout_text().trim().to_string())
}
