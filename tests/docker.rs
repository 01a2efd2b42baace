//! The Docker runtime against a real engine. Without one the tests are skipped, loudly;
//! `RPITR_REQUIRE_DOCKER=1` makes that a failure.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use rpitr::runtime::*;

/// One at a time: engines share a machine, and the last test looks for what is left.
static ONE: Mutex<()> = Mutex::new(());

const MAJOR: u32 = 15;

fn docker(args: &[&str]) -> Output {
    Command::new("docker").args(args).output().unwrap()
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// A state root of a test, its labs removed at the end; `None` without an engine.
struct Bench {
    dir: PathBuf,
    _one: MutexGuard<'static, ()>,
}

impl Bench {
    fn new() -> Option<Self> {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
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
        build_image();
        let dir = tempfile::Builder::new()
            .prefix("rpitr-docker-test-")
            .tempdir()
            .unwrap()
            .keep();
        Some(Bench { dir, _one: one })
    }

    fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    fn rpitr(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rpitr"));
        command.args(args).env("RPITR_STATE", self.state());
        command.env("RPITR_RUNTIME", "docker");
        command
    }

    /// Names of everything on the engine that this state root's labels mark.
    fn left(&self) -> Vec<String> {
        let label = format!("label=rpitr.state={}", self.state().display());
        let mut names = Vec::new();
        for list in [
            &["ps", "-aq"][..],
            &["volume", "ls", "-q"][..],
            &["network", "ls", "-q"][..],
        ] {
            let output = docker(&[list, &["--filter", &label]].concat());
            names.extend(text(&output).split_whitespace().map(str::to_string));
        }
        names
    }

    async fn lab(&self) -> Lab {
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

/// Without an official image that is there already, ours is built.
fn build_image() {
    static BUILT: Once = Once::new();
    BUILT.call_once(|| {
        let there = |image: &str| docker(&["image", "inspect", image]).status.success();
        if there(&format!("postgres:{MAJOR}")) {
            return;
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("compose/image/build");
        let built = Command::new(script)
            .arg(MAJOR.to_string())
            .output()
            .unwrap();
        assert!(built.status.success(), "{}", text(&built));
    });
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, work)
}

async fn add(lab: &Lab, name: &str) -> Node {
    let node = NewNode {
        name: name.into(),
        role: "primary".into(),
        version: Some(MAJOR),
    };
    lab.add(node).await.unwrap()
}

async fn started(lab: &Lab, name: &str) -> Node {
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
async fn psql(from: &Node, to: &Node, sql: &str) -> Result<String, Error> {
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

#[test]
fn drills_prove_what_they_prove_locally() {
    let Some(bench) = Bench::new() else { return };
    for (script, code) in [
        (&["full_recovery", "-q"][..], 0),
        (&["pitr", "-q", "--to", "time"][..], 0),
        (&["pitr", "-q", "--plant", "late"][..], 10),
        (&["full_recovery", "-q", "--plant", "delete-row"][..], 10),
    ] {
        let run = bench
            .rpitr(script)
            .args(["--version", &MAJOR.to_string()])
            .output()
            .unwrap();
        assert_eq!(run.status.code(), Some(code), "{script:?}\n{}", text(&run));
        assert_eq!(bench.left(), Vec::<String>::new(), "after {script:?}");
    }
}

#[test]
fn a_node_lives_dies_and_comes_back() {
    let Some(bench) = Bench::new() else { return };
    block_on(async {
        let lab = bench.lab().await;
        let node = started(&lab, "one").await;
        assert_eq!(node.status().await.unwrap(), Status::Running);
        assert_eq!(node.install().major, MAJOR);
        psql(&node, &node, "CREATE TABLE t AS SELECT 42 AS x")
            .await
            .unwrap();

        assert!(node.pause().await.unwrap() > 3);
        assert_eq!(node.status().await.unwrap(), Status::Paused);
        assert!(
            node.log_tail(0)
                .await
                .unwrap()
                .0
                .contains("ready to accept")
        );
        assert!(node.resume().await.unwrap() > 3);
        assert_eq!(node.status().await.unwrap(), Status::Running);

        assert!(node.kill().await.unwrap() > 3);
        assert_eq!(node.status().await.unwrap(), Status::Crashed);
        assert!(node.exists("PG_VERSION").await);
        assert!(!node.read_file("PG_VERSION").await.unwrap().is_empty());
        let again = node.start(StartOptions::default()).await.unwrap();
        assert_eq!(again.status, Status::Running);
        assert_eq!(psql(&node, &node, "SELECT x FROM t").await.unwrap(), "42");

        // Removed behind our back: the data is in its volume.
        let container = node.as_container("test").unwrap().container();
        docker(&["rm", "-fv", &container]);
        assert_eq!(node.status().await.unwrap(), Status::Crashed);
        node.start(StartOptions::default()).await.unwrap();
        assert_eq!(psql(&node, &node, "SELECT x FROM t").await.unwrap(), "42");

        let stopped = node
            .stop(StopMode::Fast, Duration::from_secs(30))
            .await
            .unwrap();
        assert!(stopped.was_running);
        assert_eq!(node.status().await.unwrap(), Status::Stopped);
        node.set_conf(&[("shared_buffers".into(), "nonsense".into())])
            .await
            .unwrap();
        let refused = node.start(StartOptions::default()).await.unwrap_err();
        assert!(refused.to_string().contains("one"), "{refused}");
        lab.destroy().await.unwrap();
    });
    assert_eq!(bench.left(), Vec::<String>::new());
}

#[test]
fn programs_and_files() {
    let Some(bench) = Bench::new() else { return };
    block_on(async {
        let lab = bench.lab().await;
        let node = add(&lab, "one").await;
        let odd = "a 'b' \"c\" $HOME; * \\ \n%";
        let run = node
            .run_tool("printf", &["%s", odd], ToolOptions::default())
            .await
            .unwrap();
        assert_eq!(run.stdout_text(), odd, "no shell in between");
        let both = ["-c", "cat; echo err >&2; exit 7"];
        let options = ToolOptions {
            stdin: Some(vec![b'x'; 300_000]),
            ..ToolOptions::default()
        };
        let run = node.run_tool("sh", &both, options).await.unwrap();
        assert_eq!(
            (run.stdout.len(), run.stderr_text().as_str()),
            (300_000, "err\n")
        );
        assert_eq!(run.status.code(), Some(7));
        let slow = ToolOptions {
            timeout: Some(Duration::from_millis(500)),
            ..ToolOptions::default()
        };
        let late = node.run_tool("sleep", &["7654"], slow).await.unwrap_err();
        assert!(matches!(late, Error::ToolTimeout { .. }), "{late}");
        let deadline = Instant::now() + Duration::from_secs(10);
        let container = node.as_container("test").unwrap().container();
        while text(&docker(&["top", &container])).contains("sleep 7654") {
            assert!(Instant::now() < deadline, "the program was not killed");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }

        node.mkdir("sub dir/deep").await.unwrap();
        node.write_file("sub dir/a'b", b"\0\xFFtext\n", 0o640)
            .await
            .unwrap();
        node.append_file("sub dir/a'b", b"more").await.unwrap();
        assert_eq!(
            node.read_file("sub dir/a'b").await.unwrap(),
            b"\0\xFFtext\nmore"
        );
        assert_eq!(node.file_size("sub dir/a'b").await.unwrap(), 11);
        let names: Vec<_> = node
            .list_dir("sub dir")
            .await
            .unwrap()
            .into_iter()
            .map(|e| (e.name, e.is_dir))
            .collect();
        assert_eq!(
            names,
            [("a'b".to_string(), false), ("deep".to_string(), true)]
        );
        let copied = node
            .copy_tree("sub dir", "copy", CopyOptions::default())
            .await
            .unwrap();
        assert_eq!((copied.files, copied.bytes), (1, 11));
        node.rename("copy/a'b", "copy/c").await.unwrap();
        assert!(node.remove_file("copy/c").await.unwrap());
        assert!(!node.remove_file("copy/c").await.unwrap());
        assert!(node.remove_tree("copy").await.unwrap());
        assert!(node.read_file("none").await.is_err());
        assert!(node.disk_space().await.unwrap().available > 0);
        for outside in ["/etc/passwd", "../../../x"] {
            let refused = node.write_file(outside, b"", 0o600).await.unwrap_err();
            assert!(matches!(refused, Error::OutsideLab { .. }), "{refused}");
        }
        assert!(node.remove_tree(lab.dir()).await.is_err());
        lab.destroy().await.unwrap();
    });
}

#[test]
fn the_network_cable() {
    let Some(bench) = Bench::new() else { return };
    block_on(async {
        let lab = bench.lab().await;
        let (one, two) = (started(&lab, "one").await, add(&lab, "two").await);
        assert_eq!(psql(&two, &one, "SELECT 1").await.unwrap(), "1");
        let port = one.endpoint_for_script().port;
        let reachable = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        assert!(reachable());
        let container = one.as_container("test").unwrap();
        container.isolate().await.unwrap();
        assert!(psql(&two, &one, "SELECT 1").await.is_err());
        assert!(!reachable());
        assert_eq!(one.status().await.unwrap(), Status::Running);
        container.rejoin().await.unwrap();
        assert_eq!(psql(&two, &one, "SELECT 1").await.unwrap(), "1");
        assert!(reachable());
        let limits = Limits {
            memory: Some(512 << 20),
            ..Limits::default()
        };
        container.limit(limits).await.unwrap();
        assert_eq!(
            container.inspection().await.unwrap().memory,
            Some(512 << 20)
        );
        lab.destroy().await.unwrap();
    });
}

#[test]
fn gc_after_a_kill_removes_exactly_what_is_marked() {
    let Some(bench) = Bench::new() else { return };
    let stranger = format!("rpitr-stranger-{}", std::process::id());
    docker(&["volume", "create", &stranger]);
    // Killed at different moments, the first while the first container is being made.
    for moment in [1, 3, 6] {
        let mut run = bench
            .rpitr(&["full_recovery", "-q", "--version", &MAJOR.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while bench.left().len() < moment {
            assert!(Instant::now() < deadline, "never got to {moment} things");
            std::thread::sleep(Duration::from_millis(20));
        }
        run.kill().unwrap();
        run.wait().unwrap();
        let gone = bench.rpitr(&["lab", "gc"]).output().unwrap();
        assert!(gone.status.success(), "{}", text(&gone));
        assert_eq!(bench.left(), Vec::<String>::new(), "{}", text(&gone));
    }
    // A registry that is lost: the labels alone must do.
    block_on(async {
        let lab = bench.lab().await;
        add(&lab, "one").await;
        lab.runtime().registry().remove(&lab.id()).unwrap();
    });
    assert!(!bench.left().is_empty());
    let gone = bench.rpitr(&["lab", "gc"]).output().unwrap();
    assert!(gone.status.success(), "{}", text(&gone));
    assert_eq!(bench.left(), Vec::<String>::new());
    assert!(docker(&["volume", "inspect", &stranger]).status.success());
    docker(&["volume", "rm", &stranger]);
}

#[test]
fn the_archive_keeps_its_promises() {
    let Some(bench) = Bench::new() else { return };
    block_on(async {
        let lab = bench.lab().await;
        let node = started(&lab, "one").await;
        let archive = lab.dir().join("archive/1");
        lab.make_dir(&archive).await.unwrap();
        let push = lab.push_command(&archive).await.unwrap();
        let data = node.paths().data_dir;
        let run = async |command: &[String], args: &[&str]| {
            let mut all: Vec<String> = command[1..].to_vec();
            all.extend(args.iter().map(|arg| arg.to_string()));
            let options = ToolOptions {
                cwd: Some(data.clone()),
                ..ToolOptions::default()
            };
            let output = node.run_tool(&command[0], &all, options).await.unwrap();
            (output.status.code().unwrap(), output.stderr_text())
        };
        let mut names = Vec::new();
        for _ in 0..4 {
            let name = psql(&node, &node, "CREATE TABLE IF NOT EXISTS t (x int); INSERT INTO t VALUES (1); SELECT pg_walfile_name(pg_switch_wal())").await;
            names.push(name.unwrap());
        }
        let path = |name: &str| format!("pg_wal/{name}");
        let archived = |name: &str| archive.join(name).display().to_string();

        // Push: whole, once, identical again, different never, misnamed and foreign never.
        assert_eq!(run(&push, &[&path(&names[0]), &names[0]]).await.0, 0);
        assert_eq!(run(&push, &[&path(&names[0]), &names[0]]).await.0, 0);
        let same = node.read_file(archived(&names[0])).await.unwrap();
        assert_eq!(same, node.read_file(path(&names[0])).await.unwrap());
        let wrong = run(&push, &[&path(&names[1]), &names[0]]).await;
        assert!(wrong.0 == 1 && wrong.1.contains("misnamed"), "{wrong:?}");
        let mut other = same.clone();
        other[9000] ^= 1;
        node.write_file("other", &other, 0o600).await.unwrap();
        let wrong = run(&push, &["other", &names[0]]).await;
        assert!(
            wrong.0 == 1 && wrong.1.contains("different content"),
            "{wrong:?}"
        );
        other[24] ^= 1;
        node.write_file("other", &other, 0o600).await.unwrap();
        let wrong = run(&push, &["other", &names[0]]).await;
        assert!(
            wrong.0 == 1 && wrong.1.contains("belongs to cluster"),
            "{wrong:?}"
        );
        node.write_file("other", &same[..8192], 0o600)
            .await
            .unwrap();
        assert_eq!(run(&push, &["other", &names[0]]).await.0, 1);
        assert_eq!(node.read_file(archived(&names[0])).await.unwrap(), same);
        let missing = lab
            .push_command(&lab.dir().join("archive/none"))
            .await
            .unwrap();
        assert_eq!(run(&missing, &[&path(&names[0]), &names[0]]).await.0, 1);
        for name in [&names[1], &names[2]] {
            assert_eq!(run(&push, &[&path(name), name]).await.0, 0);
        }
        let left = node.list_dir(&archive).await.unwrap();
        assert_eq!(left.len(), 4, "three segments and the identity: {left:?}");

        // Fetch: verified, or proved absent (1), or 255.
        let log = node.paths().dir.join("fetch.log");
        let fetch = lab.fetch_command(&archive, &log, None).await.unwrap();
        assert_eq!(run(&fetch, &[&names[0], "got"]).await, (0, String::new()));
        assert_eq!(node.read_file("got").await.unwrap(), same);
        assert_eq!(run(&fetch, &[&names[3], "absent"]).await.0, 1);
        assert_eq!(run(&fetch, &["00000002.history", "absent"]).await.0, 1);
        assert_eq!(run(&fetch, &["../passwd", "absent"]).await.0, 255);
        // Came later than the verdicts: not verified, so not handed over.
        assert_eq!(run(&push, &[&path(&names[3]), &names[3]]).await.0, 0);
        assert_eq!(run(&fetch, &[&names[3], "late"]).await.0, 255);
        let fetch = lab.fetch_command(&archive, &log, None).await.unwrap();
        assert_eq!(run(&fetch, &[&names[3], "late"]).await.0, 0);
        // Changed since.
        let mut bad = same.clone();
        bad[9000] ^= 1;
        node.write_file(archived(&names[0]), &bad, 0o600)
            .await
            .unwrap();
        assert_eq!(run(&fetch, &[&names[0], "bad"]).await.0, 255);
        // Damaged, and missing in the middle.
        node.remove_file(archived(&names[2])).await.unwrap();
        assert_eq!(run(&fetch, &[&names[2], "hole"]).await.0, 255);
        let fetch = lab.fetch_command(&archive, &log, None).await.unwrap();
        let hole = run(&fetch, &[&names[2], "hole"]).await;
        assert!(hole.0 == 255 && hole.1.contains("missing"), "{hole:?}");
        assert_eq!(
            run(&fetch, &["000000010000000000000099", "absent"]).await.0,
            1
        );
        let foreign = lab.fetch_command(&archive, &log, Some(7)).await.unwrap();
        assert_eq!(run(&foreign, &[&names[1], "foreign"]).await.0, 255);
        for never in ["absent", "bad", "hole", "foreign"] {
            assert!(!node.exists(never).await, "{never}");
        }
        // What the host reads is what the volume holds.
        local_view(&archive).await.unwrap();
        assert!(!archive.join(&names[2]).exists());
        assert_eq!(std::fs::read(archive.join(&names[0])).unwrap(), bad);
        let log = String::from_utf8(node.read_file(&log).await.unwrap()).unwrap();
        for line in log.lines() {
            let _: serde_json::Value = serde_json::from_str(line).unwrap();
        }
        lab.destroy().await.unwrap();
    });
}

/// A cluster, and what goes wrong with it: each fault is seen, healed and proved.
const FAULTS: &str = r#"
local c = chaos.cluster { version = 15 }
local pg, standby = c.primary, c.standby
for _ = 1, 2 do
  pg:admin():exec "SELECT pg_logical_emit_message(true, 'test', 'x')"
  pg:flush_archive()
end
local function with(fault, look)
  local undo <close> = chaos.inject(c, fault)
  if look then look(undo) end
  for _, check in ipairs(undo:heal().checks) do
    test.equal(check.ok, true, check.name .. " after " .. fault.kind .. ": " .. check.detail)
  end
  print(fault.kind, fault.target)
end
local function unreachable()
  test.raises(function()
    task.with_timeout("1s", function() pg:connect() end)
  end, { kind = "timeout" })
end
local function burn()
  local before = pg:value "SELECT archived_count + failed_count FROM pg_stat_archiver"
  pg:admin():exec "SELECT pg_logical_emit_message(true, 'test', 'x')"
  local name = pg:value "SELECT pg_walfile_name(pg_switch_wal())"
  eventually(function() return pg:value "SELECT archived_count + failed_count FROM pg_stat_archiver" > before end)
  return pg.archive .. "/" .. name
end
with(chaos.pause "primary", function() test.equal(pg:status(), "paused") end)
with(chaos.kill_tree "primary", function() test.equal(pg:status(), "crashed") end)
with(chaos.kill_postmaster "standby")
with(chaos.kill_backend "primary")
with(chaos.isolate "primary", unreachable)
with(chaos.isolate "standby", function()
  pg:admin():exec "SELECT pg_logical_emit_message(true, 'test', 'x')"
  test.ok(standby.handle)
end)
with(chaos.cut_pair "standby", function() local db <close> = pg:connect() end)
with(chaos.ack_loss "client", function()
  local db = pg:connect()
  db:exec "CREATE TABLE kept (n int)"
  test.raises(function() db:tx(function() db:exec "INSERT INTO kept VALUES (1)" end) end, { kind = "sql" })
  test.equal(pg:value "SELECT n FROM kept", 1)
end)
local lost
with(chaos.archive_lie(), function() lost = burn(); test.equal(fs.exists(lost), false) end)
test.equal(#fs.read(lost), 1024 * 1024)
with(chaos.archive_partial(), function() lost = burn(); test.equal(#fs.read(lost), 65536) end)
test.equal(#fs.read(lost), 1024 * 1024)
local whole = fs.sha256(lost)
with(chaos.segment_bitflip { pick = 1 }, function(undo) test.ok(fs.sha256(undo.path) ~= whole) end)
test.equal(fs.sha256(lost), whole)
test.raises(function() lab.postgres { name = "clocked", clock = true } end, { kind = "environment", code = "no_faketime" })
-- Now rpitr dies, and what is there is healed by its guardian.
chaos.inject(c, chaos.isolate "primary")
chaos.inject(c, chaos.pause "standby")
print("journal " .. chaos.journal())
chaos.inject(c, chaos.kill_orchestrator())
"#;

#[test]
fn faults_are_healed_in_containers_too() {
    let Some(bench) = Bench::new() else { return };
    let script = bench.dir.join("faults.lua");
    std::fs::write(&script, FAULTS).unwrap();
    let run = bench.rpitr(&["--keep"]).arg(&script).output().unwrap();
    let said = text(&run);
    assert_eq!(run.status.code(), None, "killed itself: {said}");
    let journal = said.lines().find_map(|line| line.strip_prefix("journal "));
    let journal = PathBuf::from(journal.expect(&said));
    let deadline = Instant::now() + Duration::from_secs(300);
    while journal.exists() {
        let text = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
        let log = journal.with_extension("log");
        assert!(
            Instant::now() < deadline,
            "{}\n{}",
            text(&journal),
            text(&log)
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    let label = format!("label=rpitr.state={}", bench.state().display());
    let paused = ["ps", "-q", "--filter", &label, "--filter", "status=paused"];
    assert_eq!(text(&docker(&paused)), "");
    let healed = bench.rpitr(&["chaos", "heal"]).output().unwrap();
    assert!(text(&healed).contains("nothing to heal"), "{}", text(&healed));
}
