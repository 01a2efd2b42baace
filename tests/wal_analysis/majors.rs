//! The same on majors that are not installed here: the server and its own `pg_waldump` run in a
//! container, the WAL is copied out.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::{CASES, all, analysed, check, positions, script, truth, windows};
use crate::cases::SETUP;
use crate::pg::waldump;

fn docker(args: &[&str]) -> Output {
    let command = Command::new("docker").args(args).output();
    command.unwrap_or_else(|e| panic!("docker {args:?}: {e}"))
}

/// Without an engine the tests are skipped, loudly; `RPITR_REQUIRE_DOCKER=1` makes that a failure.
fn engine_answers() -> bool {
    let answers = Command::new("docker")
        .args(["version", "--format", "{{.Server.Version}}"])
        .output()
        .is_ok_and(|output| output.status.success());
    let required = std::env::var("RPITR_REQUIRE_DOCKER").is_ok_and(|value| value == "1");
    assert!(
        answers || !required,
        "RPITR_REQUIRE_DOCKER=1, but no Docker engine answers"
    );
    if !answers {
        eprintln!("SKIPPED: no Docker engine answers, WAL of other majors is not compared");
    }
    answers
}

/// An image with PostgreSQL's programs; ours is built where there is none.
fn image(major: u32) -> String {
    let names = [
        format!("rpitr/postgres:{major}"),
        format!("postgres:{major}"),
    ];
    let there = |image: &&String| docker(&["image", "inspect", image]).status.success();
    if let Some(image) = names.iter().find(there) {
        return image.clone();
    }
    let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("compose/image/build");
    let built = Command::new(build).arg(major.to_string()).output().unwrap();
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    names[0].clone()
}

/// A container that does nothing by itself; removed when dropped.
struct Container(String);

impl Container {
    fn start(major: u32) -> Container {
        let container = Container(format!("rpitr-test-wal-{major}-{}", std::process::id()));
        let image = image(major);
        let name = &container.0;
        // It ends by itself should nobody be left to remove it.
        let args = [
            "run",
            "-d",
            "--rm",
            "--name",
            name,
            "--user",
            "postgres",
            "--network",
            "none",
            "--entrypoint",
            "sleep",
            &image,
            "900",
        ];
        let started = docker(&args);
        assert!(
            started.status.success(),
            "{}",
            String::from_utf8_lossy(&started.stderr)
        );
        container
    }

    /// Runs a shell script with PostgreSQL's programs in its path.
    fn sh(&self, script: &str) -> String {
        let mut child = Command::new("docker")
            .args(["exec", "-i", &self.0, "sh", "-eu"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let prefix = "PATH=$(echo /usr/lib/postgresql/*/bin):$PATH; export TZ=UTC PGHOST=/tmp PGUSER=postgres PGDATABASE=postgres\n";
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(prefix.as_bytes()).unwrap();
        stdin.write_all(script.as_bytes()).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}\n{errors}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        docker(&["rm", "-fv", &self.0]);
    }
}

/// Record by record what its own `pg_waldump` says, and every case recognised.
fn major(major: u32, compression: &str) {
    if !engine_answers() {
        return;
    }
    let container = Container::start(major);
    let setup = SETUP.replace("SPACE", "/tmp/space");
    let cases = script();
    let output = container.sh(&format!(
        "mkdir /tmp/space /tmp/archive
         initdb -N -A trust -U postgres --wal-segsize=1 -D /tmp/data >/dev/null
         cat >> /tmp/data/postgresql.conf <<'CONF'
listen_addresses = ''
unix_socket_directories = '/tmp'
fsync = off
shared_buffers = 16MB
wal_level = logical
wal_compression = {compression}
max_prepared_transactions = 5
autovacuum = off
archive_mode = on
archive_command = 'cp %p /tmp/archive/%f'
CONF
         pg_ctl -D /tmp/data -l /tmp/log -w -s start
         psql='psql -XAtq -v ON_ERROR_STOP=1'
         $psql >/dev/null <<'SQL'
{setup}
SQL
         pgbench -i -q -s 1 >/dev/null 2>&1
         pgbench -n -c 4 -t 50 >/dev/null 2>&1
         $psql <<'SQL'
{cases}
SQL
         $psql -c 'select pg_switch_wal()' >/dev/null
         pg_ctl -D /tmp/data -m fast -w -s stop
         last=$(pg_controldata /tmp/data | sed -n 's/.*REDO WAL file: *//p')
         [ -f /tmp/archive/$last ] || cp /tmp/data/pg_wal/$last /tmp/archive/\n"
    ));
    let dir = tempfile::tempdir().unwrap();
    let copy = [
        "cp",
        &format!("{}:/tmp/archive/.", container.0),
        dir.path().to_str().unwrap(),
    ];
    assert!(docker(&copy).status.success());
    let (records, summary) = waldump::compare(dir.path(), |start, end| {
        container.sh(&format!(
            "pg_waldump -p /tmp/archive -t 1 -s {start} -e {end}\n"
        ))
    });
    println!(
        "PostgreSQL {major}: {} records, {} commits",
        records.len(),
        summary.commits
    );
    let found = analysed(dir.path(), &all());
    let ran = windows(&positions(&output));
    assert_eq!(ran.len(), CASES.len());
    check(&ran, &found);
    truth(&found);
}

#[test]
fn postgresql_17_in_a_container() {
    major(17, "zstd");
}

#[test]
fn postgresql_18_in_a_container() {
    major(18, "lz4");
}
