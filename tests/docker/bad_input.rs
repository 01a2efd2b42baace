//! What goes wrong around an engine: each ends with a message that names it, and leaves nothing.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::bench::{Bench, MAJOR, add, block_on, docker, image, text};
use crate::proxy::Proxy;

const ONE_NODE: &[&str] = &["-e", "local pg = lab.sandbox { name = 'one' }"];

/// The run must end with `code` and say each of `parts`.
fn says(run: &Output, code: i32, parts: &[&str]) {
    assert_eq!(run.status.code(), Some(code), "{}", text(run));
    for part in parts {
        assert!(
            text(run).contains(part),
            "{part:?} is missing in\n{}",
            text(run)
        );
    }
}

#[test]
fn an_engine_that_does_not_run() {
    let Some(bench) = Bench::new() else { return };
    let socket = bench.dir.join("dead.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    for path in [socket, bench.dir.join("never.sock")] {
        let host = format!("unix://{}", path.display());
        let run = bench.rpitr(ONE_NODE).env("DOCKER_HOST", &host).output();
        let parts = [
            "no Docker engine answers",
            &host,
            "DOCKER_HOST",
            "--runtime local",
        ];
        says(&run.unwrap(), 12, &parts);
    }
    let run = bench
        .rpitr(ONE_NODE)
        .env("DOCKER_HOST", "tcp://127.0.0.1:1")
        .output();
    says(
        &run.unwrap(),
        12,
        &["no Docker engine answers", "tcp://127.0.0.1:1"],
    );
    let run = bench
        .rpitr(ONE_NODE)
        .env("DOCKER_HOST", "ssh://somewhere")
        .output();
    says(
        &run.unwrap(),
        12,
        &["ssh://somewhere", "forward the socket"],
    );
}

#[test]
fn a_socket_one_may_not_use() {
    let Some(bench) = Bench::new() else { return };
    if !nix::unistd::Uid::effective().is_root() {
        eprintln!("SKIPPED: only root can run rpitr as somebody else");
        return;
    }
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    std::fs::set_permissions(&bench.dir, PermissionsExt::from_mode(0o755)).unwrap();
    let home = bench.dir.join("home");
    std::fs::create_dir(&home).unwrap();
    chown(&home, Some(nobody.uid.as_raw()), None).unwrap();
    // The program may lie where that account cannot enter.
    let program = bench.dir.join("rpitr");
    std::fs::copy(env!("CARGO_BIN_EXE_rpitr"), &program).unwrap();
    let socket = bench.dir.join("private.sock");
    let _proxy = Proxy::start(&socket.display().to_string(), &["600"]);
    let run = Command::new(&program)
        .args(ONE_NODE)
        .env("RPITR_RUNTIME", "docker")
        .env("RPITR_STATE", home.join("state"))
        .env("DOCKER_HOST", format!("unix://{}", socket.display()))
        .current_dir("/")
        .uid(nobody.uid.as_raw())
        .gid(nobody.gid.as_raw())
        .output();
    says(&run.unwrap(), 12, &["Permission denied", "docker group"]);
}

#[test]
fn an_image_that_cannot_be_had() {
    let Some(bench) = Bench::new() else { return };
    let missing = "localhost:1/nobody/postgres:15";
    let run = bench
        .rpitr(ONE_NODE)
        .env("RPITR_POSTGRES_IMAGE", missing)
        .output();
    let parts = [
        missing,
        "pull",
        "compose/image/build",
        "RPITR_POSTGRES_IMAGE",
    ];
    says(&run.unwrap(), 12, &parts);
    let run = bench
        .rpitr(&["-e", "lab.sandbox { version = 17 }"])
        .env("RPITR_POSTGRES_IMAGE", image(MAJOR))
        .output();
    says(
        &run.unwrap(),
        12,
        &["holds PostgreSQL 15", "asked for was 17"],
    );
    assert_eq!(bench.left(), Vec::<String>::new());
}

#[test]
fn a_volume_somebody_else_uses() {
    let Some(bench) = Bench::new() else { return };
    block_on(async {
        let lab = bench.lab().await;
        add(&lab, "one").await;
        let (volume, user) = (
            format!("{}-one-data", lab.id()),
            format!("user-of-{}", lab.id()),
        );
        let mount = format!("{volume}:/there");
        let args = [
            "run",
            "-d",
            "--name",
            &user,
            "-v",
            &mount,
            "--entrypoint",
            "sleep",
        ];
        let held = docker(&[&args[..], &[&image(MAJOR), "600"]].concat());
        assert!(held.status.success(), "{}", text(&held));
        let refused = lab.remove_node("one").await.unwrap_err().to_string();
        docker(&["rm", "-fv", &user]);
        assert!(
            refused.contains(&volume) && refused.contains("in use"),
            "{refused}"
        );
        lab.destroy().await.unwrap();
    });
    assert_eq!(bench.left(), Vec::<String>::new());
}

#[test]
fn the_engine_lost_in_the_middle_of_a_drill() {
    let Some(bench) = Bench::new() else { return };
    let socket = bench.dir.join("engine.sock").display().to_string();
    let host = format!("unix://{socket}");
    for things in [3, 6] {
        let proxy = Proxy::start(&socket, &[]);
        let run = bench
            .rpitr(&["full_recovery", "-q", "--version", &MAJOR.to_string()])
            .env("DOCKER_HOST", &host)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(120);
        while bench.left().len() < things {
            assert!(Instant::now() < deadline, "never got to {things} things");
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(proxy);
        let run = run.wait_with_output().unwrap();
        let code = run.status.code().unwrap();
        assert!(
            ![0, 1, 2].contains(&code),
            "exit code {code}\n{}",
            text(&run)
        );
        assert!(
            text(&run).contains("engine") || text(&run).contains("cut short"),
            "{}",
            text(&run)
        );
        // The lab is on record; once the engine is back, gc removes it.
        let without = bench
            .rpitr(&["lab", "gc"])
            .env("DOCKER_HOST", &host)
            .output()
            .unwrap();
        assert!(
            !bench.left().is_empty() && !without.status.success(),
            "{}",
            text(&without)
        );
        let _proxy = Proxy::start(&socket, &[]);
        let gone = bench
            .rpitr(&["lab", "gc"])
            .env("DOCKER_HOST", &host)
            .output()
            .unwrap();
        assert!(gone.status.success(), "{}", text(&gone));
        assert_eq!(bench.left(), Vec::<String>::new(), "{}", text(&gone));
    }
    assert!(Path::new(&socket).exists());
}
