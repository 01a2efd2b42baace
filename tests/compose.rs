//! The standing environments, with the compose command that is installed. Without a Docker engine the tests
//! are skipped, loudly; `RPITR_REQUIRE_DOCKER=1` makes that a failure.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::{Bench, Finished};

/// One at a time: they share the machine.
static ONE: Mutex<()> = Mutex::new(());

const MAJOR: u32 = 15;

/// A project of its own, with ports nobody else uses, removed at the end.
struct Site {
    bench: Bench,
    project: String,
    name: &'static str,
    _one: MutexGuard<'static, ()>,
}

impl Site {
    fn new(name: &'static str) -> Option<Self> {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        if !docker(&["version"]).status.success() {
            let required = std::env::var("RPITR_REQUIRE_DOCKER").is_ok_and(|value| value == "1");
            assert!(
                !required,
                "RPITR_REQUIRE_DOCKER=1, but no Docker engine answers"
            );
            eprintln!("SKIPPED: no Docker engine answers, the environments are not tested");
            return None;
        }
        let project = format!("rpitr-test-{name}-{}", std::process::id());
        let mut bench = Bench::new();
        let mut set = |name: &str, value: String| bench.env.push((name.into(), value));
        set("COMPOSE_PROJECT_NAME", project.clone());
        set("RPITR_POSTGRES_IMAGE", image());
        for name in [
            "PRIMARY_PORT",
            "REPLICA_PORT",
            "STANDBY_PORT",
            "RESTORE_PORT",
        ] {
            set(name, free_port().to_string());
        }
        Some(Site {
            bench,
            project,
            name,
            _one: one,
        })
    }

    fn lab(&self, command: &str, arguments: &[&str], code: i32) -> Finished {
        let run = self
            .bench
            .run(&[&["lab", command, self.name], arguments].concat());
        run.expect(code);
        run
    }

    /// A session on the environment that is given `input`.
    fn repl(&self, input: &str) -> Finished {
        let path = self.bench.script("session", input);
        let mut command = self.bench.command(&["repl", "--attach", self.name]);
        let done = command
            .stdin(std::fs::File::open(path).unwrap())
            .output()
            .unwrap();
        Finished {
            code: done.status.code(),
            stdout: String::from_utf8_lossy(&done.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&done.stderr).into_owned(),
        }
    }

    /// The container of a service.
    fn container(&self, service: &str) -> String {
        let project = format!("label=com.docker.compose.project={}", self.project);
        let service = format!("label=com.docker.compose.service={service}");
        let found = docker(&["ps", "-aq", "--filter", &project, "--filter", &service]);
        text(&found).trim().to_string()
    }

    fn sql(&self, service: &str, statement: &str) -> String {
        let run = self.bench.run(&[
            "lab", "psql", self.name, service, "--", "-XqAt", "-c", statement,
        ]);
        run.expect(0);
        run.stdout.trim().to_string()
    }

    /// A failed check that names the defect.
    fn unhealthy(&self, what: &str) {
        let check = self.lab("check", &[], 10);
        check.says("FAILED");
        check.says(what);
        check.says("mend: ");
    }

    fn healthy(&self) {
        self.lab("check", &[], 0);
    }

    fn left(&self) -> Vec<String> {
        let label = format!("label=com.docker.compose.project={}", self.project);
        let lists = [
            &["ps", "-aq"][..],
            &["volume", "ls", "-q"],
            &["network", "ls", "-q"],
        ];
        let mut names = Vec::new();
        for list in lists {
            let output = docker(&[list, &["--filter", &label]].concat());
            names.extend(text(&output).split_whitespace().map(str::to_string));
        }
        names
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let gone = self
            .bench
            .command(&["lab", "down", self.name, "--volumes", "--yes"])
            .output()
            .unwrap();
        let left = self.left();
        if !std::thread::panicking() {
            assert!(left.is_empty(), "left behind: {left:?}\n{}", text(&gone));
        }
    }
}

fn docker(arguments: &[&str]) -> Output {
    Command::new("docker").args(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    let all = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&all).into_owned()
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// The official image if it is there, else ours, built if need be.
fn image() -> String {
    let names = [
        format!("postgres:{MAJOR}"),
        format!("rpitr/postgres:{MAJOR}"),
    ];
    for name in &names {
        if docker(&["image", "inspect", name]).status.success() {
            return name.clone();
        }
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("compose/image/build");
    let built = Command::new(script)
        .arg(MAJOR.to_string())
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", text(&built));
    names[1].clone()
}

#[test]
fn recovery_from_up_to_down() {
    let Some(site) = Site::new("recovery") else {
        return;
    };
    site.lab("ps", &[], 11).says("rpitr lab up recovery");

    // Somebody else has the port; afterwards the same command succeeds.
    let port = &site
        .bench
        .env
        .iter()
        .find(|(name, _)| name == "PRIMARY_PORT");
    let port: u16 = port.unwrap().1.parse().unwrap();
    let taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    site.lab("up", &[], 12).says("port_taken");
    drop(taken);
    let up = site.lab("up", &[], 0);
    up.says(&format!("127.0.0.1:{port}"));
    let env = site.bench.state.join("compose/recovery/.env");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&env).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    site.lab("up", &[], 0);
    site.healthy();
    assert_eq!(site.sql("replica", "SELECT count(*) FROM orderItems"), "4");
    site.bench.run(&["lab", "ls"]).says(&site.project);
    site.lab("ps", &[], 0).says("replica");
    site.lab("logs", &["replica"], 0)
        .says("database system is ready to accept read-only connections");
    site.lab("stop", &[], 0);
    site.unhealthy("is exited");
    site.lab("start", &[], 0);
    site.lab("up", &[], 0);
    site.healthy();

    // A session on it: its servers as variables, its database, its psql.
    let session = site.repl(
        "replica:status()\nstandby == replica\n:sql SELECT count(*) FROM orderItems\n\
         :psql replica -c 'SELECT pg_is_in_recovery() AS r'\nprimary:exec({ 'pg_controldata' }).code\n:lab\n",
    );
    session.expect(0);
    assert!(
        session
            .stdout
            .starts_with("\"standby\"\ntrue\ncount\n    4\n(1 row)\n"),
        "{session:?}"
    );
    session.says("t\n(1 row)");
    session.says(&format!("{port}  recovery"));
    site.bench.run(&["lab", "stop", site.name]).expect(0);
    let stopped = site.repl("");
    stopped.expect(12);
    stopped.says("rpitr lab start recovery");
    site.bench.run(&["lab", "start", site.name]).expect(0);

    // Data go only when somebody said so.
    site.lab("down", &["--volumes"], 11).says("--yes");
    site.lab("rebuild", &[], 11).says("--yes");

    // The scripts, and what they leave: nothing.
    let before = site.sql(
        "primary",
        "SELECT string_agg(datname, ',' ORDER BY datname) FROM pg_database",
    );
    let refused = site.bench.run(&["full_recovery", "--lab", "recovery"]);
    refused.expect(11);
    refused.says("nobody agreed");
    site.bench.drill(&["pitr", "--lab", "recovery"], 0);
    let (report, _) = site
        .bench
        .drill(&["full_recovery", "--lab", "recovery", "--yes"], 0);
    assert_eq!(report["verdict"], "pass");
    let after = site.sql(
        "primary",
        "SELECT string_agg(datname, ',' ORDER BY datname) FROM pg_database",
    );
    assert_eq!(before, after);
    assert_eq!(site.sql("replica", "SELECT pg_is_in_recovery()"), "t");
    site.healthy();
    assert!(site.bench.labs().is_empty());
}

const DROP_SLOT_IN_USE: &str = "DO $$ BEGIN
  FOR i IN 1..600 LOOP
    PERFORM pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = 'replica' AND active;
    PERFORM pg_sleep(0.05);
    IF EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = 'replica' AND NOT active) THEN
      PERFORM pg_drop_replication_slot('replica');
      RETURN;
    END IF;
  END LOOP;
END $$";

#[test]
fn recovery_names_what_is_broken() {
    let Some(site) = Site::new("recovery") else {
        return;
    };
    site.lab("up", &[], 0);

    // The replica tries again in vain: only when it starts does it make a slot.
    site.sql("primary", DROP_SLOT_IN_USE);
    site.unhealthy("replication slot replica is missing");
    site.lab("restart", &["replica"], 0);
    site.healthy();

    docker(&["stop", &site.container("replica")]);
    site.unhealthy("replica is exited");
    docker(&["stop", &site.container("primary")]);
    // Any order: the replica first, alone.
    docker(&["start", &site.container("replica")]);
    site.unhealthy("primary is exited");
    docker(&["start", &site.container("primary")]);
    common::eventually("the environment is healthy again", || {
        let check = site.bench.run(&["lab", "check", site.name]);
        (check.code == Some(0)).then_some(())
    });

    let chown = |to: &str| {
        let container = site.container("primary");
        docker(&["exec", "--user", "0", &container, "chown", to, "/archive"]);
    };
    chown("root");
    site.unhealthy("cannot write to /archive of primary");
    site.lab("check", &[], 10)
        .says("does not arrive in the archive");
    chown("postgres");
    site.sql("primary", "ALTER TABLE orderItems RENAME TO gone");
    site.unhealthy("table orderitems is missing");
    let drill = site.bench.run(&["pitr", "--lab", "recovery"]);
    drill.expect(11);
    drill.says("table orderitems is missing");

    site.lab("promote", &["replica"], 0).says("timeline 2");
    site.unhealthy("it was promoted");
    site.lab("rebuild", &["--yes"], 0);
    site.healthy();
}

#[test]
fn the_receiver_survives_restarts() {
    let Some(site) = Site::new("pitr") else {
        return;
    };
    site.lab("up", &[], 0);
    site.healthy();
    for service in ["wal_capturer", "primary"] {
        docker(&["restart", &site.container(service)]);
        site.sql_when_up("INSERT INTO test_data (payload) VALUES ('across a restart')");
        site.lab("up", &[], 0);
        site.healthy();
    }
    // Nothing is missing between the first captured segment and the last.
    let gaps = r#"cd /wal_archive; last=; for f in ????????????????????????; do
        n=$((0x${f#????????????????})); [ -z "$last" ] || [ $n -eq $((last + 1)) ] || echo "gap before $f"; last=$n; done"#;
    let found = docker(&["exec", &site.container("wal_capturer"), "sh", "-c", gaps]);
    assert_eq!(text(&found), "");
}

impl Site {
    fn sql_when_up(&self, statement: &str) {
        common::eventually(statement, || {
            let run = self
                .bench
                .run(&["lab", "psql", self.name, "primary", "--", "-Xqc", statement]);
            (run.code == Some(0)).then_some(())
        });
    }
}

#[test]
fn bad_input_is_named() {
    let bench = Bench::new();
    let unknown = bench.run(&["lab", "up", "recvery"]);
    unknown.expect(2);
    unknown.says("recovery and pitr");
    let mut nowhere = bench.command(&["lab", "up", "recovery"]);
    nowhere.env("DOCKER_HOST", "unix:///nonexistent/docker.sock");
    let nowhere = bench.spawn(nowhere).finish();
    nowhere.expect(12);
    nowhere.says("no_engine");

    // A checkout whose compose file is broken.
    if docker(&["version"]).status.success() {
        let folder = bench.dir().join("compose/recovery");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(
            folder.join("docker-compose.yml"),
            "services:\n  primary: [\n",
        )
        .unwrap();
        std::fs::write(
            folder.join(".env"),
            "COMPOSE_PROJECT_NAME=rpitr-test-broken\n",
        )
        .unwrap();
        let broken = bench.run(&["lab", "up", "recovery"]);
        broken.expect(12);
        broken.says("compose_file");
    }
}
