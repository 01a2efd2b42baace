//! Copies of trees, and programs run for a node.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rpitr::failure::{Failure, Kind};
use rpitr::runtime::*;

use crate::support::*;

#[test]
fn a_copy_is_faithful() {
    let bench = Bench::new();
    block_on(async {
        let lab = bench.lab();
        let node = add(&lab, "primary");
        initdb(&node).await;
        node.write_file("big", &vec![7; 20 << 20], 0o640)
            .await
            .unwrap();
        node.mkdir("empty/deep").await.unwrap();
        let copied = node.copy_tree("", "../copy", CopyOptions::default()).await;
        assert!(matches!(copied, Err(Error::OutsideLab { .. })));
        let to = node.paths().dir.join("copy");
        let copied = node
            .copy_tree("", &to, CopyOptions::default())
            .await
            .unwrap();
        println!("copied {copied:?}");
        let compare = std::process::Command::new("diff")
            .arg("-r")
            .args([&node.paths().data_dir, &to])
            .output()
            .unwrap();
        assert!(compare.status.success(), "{compare:?}");
        assert_eq!(describe(&node.paths().data_dir), describe(&to));
        assert_eq!(node.tree_size(&to).await.unwrap().bytes, copied.bytes);

        // Not over something that is there, and not through a link.
        assert!(
            node.copy_tree("", &to, CopyOptions::default())
                .await
                .is_err()
        );
        std::os::unix::fs::symlink("/etc", node.path("pg_tblspc/16384")).unwrap();
        let to = node.paths().dir.join("other");
        let refused = node
            .copy_tree("", &to, CopyOptions::default())
            .await
            .unwrap_err();
        assert!(matches!(refused, Error::Symlink { .. }), "{refused}");
        assert!(node.remove_tree(&to).await.unwrap());
        let keep = CopyOptions {
            symlinks: Symlinks::Keep,
            fsync: true,
            ..CopyOptions::default()
        };
        node.copy_tree("", &to, keep).await.unwrap();
        assert_eq!(
            std::fs::read_link(to.join("pg_tblspc/16384")).unwrap(),
            Path::new("/etc")
        );
        // Links out of the lab are neither written nor removed through.
        let through = node
            .write_file("pg_tblspc/16384/rpitr-test", b"", 0o600)
            .await;
        assert!(matches!(through, Err(Error::OutsideLab { .. })));
        assert!(node.remove_tree("/etc/rpitr-test").await.is_err());
        assert!(node.remove_tree(lab.dir()).await.is_err());
        assert!(node.disk_space().await.unwrap().available > 0);
    });
}

/// Path, kind, mode and owner of everything in a tree.
fn describe(root: &Path) -> Vec<(PathBuf, u32, u32, u32, u64)> {
    let mut all: Vec<_> = walkdir::WalkDir::new(root)
        .into_iter()
        .map(|entry| {
            let entry = entry.unwrap();
            let found = entry.metadata().unwrap();
            let path = entry.path().strip_prefix(root).unwrap().to_path_buf();
            let size = if found.is_file() { found.len() } else { 0 };
            (path, found.mode(), found.uid(), found.gid(), size)
        })
        .collect();
    all.sort();
    all
}

#[test]
fn tools_run_as_the_server_user_and_end_with_their_future() {
    let bench = Bench::new();
    block_on(async {
        let lab = bench.lab();
        let node = add(&lab, "primary");
        let run = async |script: &str, options: ToolOptions| {
            node.run_tool("sh", &["-c", script], options).await
        };
        let output = run(
            "id -u; pwd; env; cat",
            ToolOptions {
                stdin: Some(b"from stdin".to_vec()),
                env: vec![("MINE".into(), "1".into())],
                ..ToolOptions::default()
            },
        )
        .await
        .unwrap();
        let text = output.stdout_text();
        assert!(text.starts_with(&format!("{}\n{}\n", node.user().uid, lab.dir().display())));
        assert!(
            text.contains("\nMINE=1\n") && text.contains("\nLC_ALL=C\n"),
            "{text}"
        );
        assert!(
            !text.contains("\nCARGO") && text.ends_with("from stdin"),
            "{text}"
        );

        let failed = run(
            "echo first >&2; echo last >&2; exit 3",
            ToolOptions::default(),
        );
        let failure = Failure::from(failed.await.unwrap().check().unwrap_err());
        assert_eq!(failure.message, "sh failed (exit code 3)");
        assert_eq!(failure.detail.as_deref(), Some("first\nlast"));

        let full = run(
            "echo 'No space left on device' >&2; exit 1",
            ToolOptions::default(),
        );
        let failure = Failure::from(full.await.unwrap().check().unwrap_err());
        assert_eq!(
            (failure.kind, failure.code.as_deref()),
            (Kind::Environment, Some("disk_full"))
        );

        // Dropped, or out of time: the program and what it started are gone.
        let pids = node.paths().dir.join("pids");
        for timeout in [None, Some(Duration::from_millis(200))] {
            let script = format!(
                "sleep 60 & echo $$ $! > {0}.new; mv {0}.new {0}; wait",
                pids.display()
            );
            let options = ToolOptions {
                timeout,
                ..ToolOptions::default()
            };
            let work = run(&script, options);
            let written = eventually("the pids are written", async || pids.exists());
            if timeout.is_none() {
                tokio::select! {
                    _ = work => panic!("it ended"),
                    () = written => {}
                }
            } else {
                let error = work.await.unwrap_err();
                assert!(matches!(error, Error::ToolTimeout { .. }), "{error}");
            }
            let text = std::fs::read_to_string(&pids).unwrap();
            for pid in text.split_whitespace() {
                let pid = pid.parse().unwrap();
                eventually("the process is gone", async || Proc::get(pid).is_none()).await;
            }
            std::fs::remove_file(&pids).unwrap();
        }

        // In the background it goes on, and ends with the lab. A test run that a shell put in the
        // background ignores SIGINT, and so would what it starts; PostgreSQL's programs do not.
        let sleep = ["--default-signal=INT", "sleep", "60"];
        let options = ToolOptions::default;
        let sleeper = node
            .spawn_tool("env", &sleep, options(), "sleep.log")
            .await
            .unwrap();
        let stopped = node
            .spawn_tool("env", &sleep, options(), "sleep.log")
            .await
            .unwrap();
        // Once it sleeps, it has its signals.
        let command = format!("/proc/{}/comm", stopped.pid());
        eventually("it sleeps", async || {
            std::fs::read_to_string(&command).is_ok_and(|name| name.trim() == "sleep")
        })
        .await;
        assert!(!stopped.stop(LONG).await.unwrap().success());
        assert!(sleeper.status().is_none());
        assert_eq!(lab.destroy().await.unwrap().killed, 1);
        assert!(sleeper.wait().await.is_some());
    });
}
