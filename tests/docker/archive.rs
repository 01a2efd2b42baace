//! Archiving and fetching by the script in a container.

use rpitr::runtime::*;

use crate::bench::{Bench, block_on, psql, started};

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
        let fetch = lab.fetch_command(&archive, &log, None, None).await.unwrap();
        assert_eq!(run(&fetch, &[&names[0], "got"]).await, (0, String::new()));
        assert_eq!(node.read_file("got").await.unwrap(), same);
        assert_eq!(run(&fetch, &[&names[3], "absent"]).await.0, 1);
        assert_eq!(run(&fetch, &["00000002.history", "absent"]).await.0, 1);
        assert_eq!(run(&fetch, &["../passwd", "absent"]).await.0, 255);
        // Came later than the verdicts: not verified, so not handed over.
        assert_eq!(run(&push, &[&path(&names[3]), &names[3]]).await.0, 0);
        assert_eq!(run(&fetch, &[&names[3], "late"]).await.0, 255);
        let fetch = lab.fetch_command(&archive, &log, None, None).await.unwrap();
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
        let fetch = lab.fetch_command(&archive, &log, None, None).await.unwrap();
        let hole = run(&fetch, &[&names[2], "hole"]).await;
        assert!(hole.0 == 255 && hole.1.contains("missing"), "{hole:?}");
        assert_eq!(
            run(&fetch, &["000000010000000000000099", "absent"]).await.0,
            1
        );
        let foreign = lab
            .fetch_command(&archive, &log, Some(7), None)
            .await
            .unwrap();
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
