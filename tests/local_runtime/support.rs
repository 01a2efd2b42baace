//! What the tests share: a state root that cleans up after itself, servers, SQL.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rpitr::postgres::{self, Install, Lookup};
use rpitr::runtime::*;

pub const PASSWORD: &str = "it's a secret";
pub const LONG: Duration = Duration::from_secs(30);

/// A state root that cleans up after itself.
pub struct Bench {
    pub runtime: LocalRuntime,
    dir: PathBuf,
}

impl Bench {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("local-runtime-")
            .permissions(std::fs::Permissions::from_mode(0o755))
            .tempdir_in("/tmp")
            .unwrap()
            .keep();
        let user = ServerUser::from_env().unwrap();
        let runtime = LocalRuntime::new(&dir.join("state"), user).unwrap();
        Bench { runtime, dir }
    }

    pub fn lab(&self) -> Lab {
        let options = LabOptions {
            run: "test".into(),
            ..LabOptions::default()
        };
        Lab::create(&self.runtime, options).unwrap()
    }

    /// Makes a lab look as if the rpitr that owns it had been killed.
    pub fn orphan(&self, lab: &Lab) -> LabRecord {
        let mut record = self.runtime.registry().load(&lab.id()).unwrap();
        record.owner.start = "0".into();
        self.runtime.registry().write(&record).unwrap();
        record
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let runtime = self.runtime.clone();
        // A thread of its own: this may run inside a tokio runtime.
        let _ = std::thread::spawn(move || {
            let (records, _) = runtime.registry().list().unwrap();
            block_on(async {
                for record in records {
                    Lab::open(&runtime, &record.id)
                        .unwrap()
                        .destroy()
                        .await
                        .unwrap();
                }
            });
        })
        .join();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, work)
}

pub fn install() -> Install {
    postgres::pick(&Lookup::from_env(), None).unwrap()
}

pub fn add(lab: &Lab, name: &str) -> LocalNode {
    lab.add_node(NodeSpec {
        name: name.into(),
        role: "primary".into(),
        install: install(),
        port: None,
    })
    .unwrap()
}

pub async fn initdb(node: &LocalNode) -> ToolOutput {
    node.write_file("../pw", PASSWORD.as_bytes(), 0o600)
        .await
        .unwrap_err();
    let password = node.paths().dir.join("pw");
    node.write_file(&password, PASSWORD.as_bytes(), 0o600)
        .await
        .unwrap();
    let data = node.paths().data_dir;
    let args = [
        "-D".to_string(),
        data.display().to_string(),
        "--username=postgres".into(),
        "--auth=scram-sha-256".into(),
        format!("--pwfile={}", password.display()),
        "--data-checksums".into(),
        "--encoding=UTF8".into(),
        "--locale=C".into(),
        "--no-sync".into(),
        "--no-instructions".into(),
    ];
    let output = node
        .run_tool("initdb", &args, ToolOptions::default())
        .await
        .unwrap();
    let output = output.check().unwrap();
    node.remove_file(&password).await.unwrap();
    node.set_conf(&[("fsync".into(), "off".into())])
        .await
        .unwrap();
    output
}

pub async fn started_node(lab: &Lab, name: &str) -> LocalNode {
    let node = add(lab, name);
    initdb(&node).await;
    node.start(StartOptions::default()).await.unwrap();
    node
}

pub async fn psql(node: &LocalNode, sql: &str) -> Result<String, Error> {
    let endpoint = node.endpoint_for_script();
    let args = [
        "-XAtq".to_string(),
        "-h".into(),
        endpoint.socket_dir.unwrap().display().to_string(),
        "-p".into(),
        endpoint.port.to_string(),
        "-U".into(),
        "postgres".into(),
        "-c".into(),
        sql.into(),
    ];
    let options = ToolOptions {
        env: vec![("PGPASSWORD".into(), PASSWORD.into())],
        timeout: Some(LONG),
        ..ToolOptions::default()
    };
    let output = node.run_tool("psql", &args, options).await?.check()?;
    Ok(output.stdout_text().trim().to_string())
}

/// A condition that comes true soon.
pub async fn eventually(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !check().await {
        assert!(Instant::now() < deadline, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
