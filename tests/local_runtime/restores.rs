//! Restored data directories: scrubbing, recovery and what the log says about it.

use std::os::unix::fs::MetadataExt;

use rpitr::failure::Failure;
use rpitr::postgres::{self};
use rpitr::runtime::*;

use crate::support::*;

#[test]
fn scrubbing_makes_a_restored_directory_harmless() {
    let bench = Bench::new();
    block_on(async {
        let lab = bench.lab();
        let node = started_node(&lab, "primary").await;
        for sql in [
            "alter system set archive_mode = on",
            "alter system set archive_command = 'cp %p ''/prod/%f'''",
            "alter system set recovery_target_time = '2001-01-01 00:00:00+00'",
            "alter system set primary_conninfo = 'host=prod password=geheim'",
            "alter system set work_mem = '5MB'",
        ] {
            psql(&node, sql).await.unwrap();
        }
        node.stop(StopMode::Fast, LONG).await.unwrap();
        node.append_file("postgresql.conf", b"archive_timeout = 1min # often\n")
            .await
            .unwrap();
        node.write_file("standby.signal", b"", 0o600).await.unwrap();
        let scrubbed = node.scrub_conf().await.unwrap();
        let mut names: Vec<&str> = scrubbed.removed.iter().map(|r| r.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "archive_command",
                "archive_mode",
                "archive_timeout",
                "primary_conninfo",
                "recovery_target_time",
                "standby.signal"
            ]
        );
        assert!(!format!("{scrubbed:?}").contains("geheim"));
        let conf = node.path("postgresql.conf");
        let found = std::fs::metadata(&conf).unwrap();
        assert_eq!(found.uid(), node.user().uid);
        node.start(StartOptions::default()).await.unwrap();
        let settings = "select string_agg(setting, ' ' order by name) from pg_settings \
                        where name in ('archive_mode', 'primary_conninfo', 'work_mem')";
        assert_eq!(psql(&node, settings).await.unwrap(), "off  5120");
    });
}

#[test]
fn a_recovery_is_read_from_the_log() {
    let bench = Bench::new();
    block_on(async {
        let lab = bench.lab();
        let primary = add(&lab, "primary");
        initdb(&primary).await;
        let archive = lab.dir().join("archive");
        primary.mkdir(&archive).await.unwrap();
        let set = |name: &str, value: String| (name.to_string(), value);
        let settings = [
            set("fsync", "off".into()),
            set("archive_mode", "on".into()),
            set("archive_command", format!("cp %p {}/%f", archive.display())),
        ];
        primary.set_conf(&settings).await.unwrap();
        primary.start(StartOptions::default()).await.unwrap();

        let restored = add(&lab, "restored");
        let endpoint = primary.endpoint_for_node(&restored);
        let args = [
            format!(
                "--dbname=host={} port={} user=postgres",
                endpoint.host, endpoint.port
            ),
            format!("--pgdata={}", restored.paths().data_dir.display()),
            "--checkpoint=fast".into(),
            "--no-sync".into(),
        ];
        let options = ToolOptions {
            env: vec![("PGPASSWORD".into(), PASSWORD.into())],
            ..ToolOptions::default()
        };
        let backup = restored
            .run_tool("pg_basebackup", &args, options)
            .await
            .unwrap();
        println!("pg_basebackup {:?}", backup.check().unwrap().elapsed);
        let label = restored.read_file("backup_label").await.unwrap();
        let label = postgres::BackupLabel::parse(std::str::from_utf8(&label).unwrap()).unwrap();
        let manifest = restored.read_file("backup_manifest").await.unwrap();
        let manifest = postgres::BackupManifest::parse(&manifest).unwrap();
        assert!(manifest.stop().unwrap() > label.start && manifest.files > 900);

        psql(&primary, "create table t as select 1 as a")
            .await
            .unwrap();
        let point = psql(&primary, "select pg_create_restore_point('here')")
            .await
            .unwrap();
        psql(&primary, "drop table t").await.unwrap();
        let segment = psql(&primary, "select pg_walfile_name(pg_switch_wal())")
            .await
            .unwrap();
        eventually("the segment is archived", async || {
            primary.exists(archive.join(&segment)).await
        })
        .await;

        let scrubbed = restored.scrub_conf().await.unwrap();
        assert!(
            scrubbed
                .removed
                .iter()
                .any(|removed| removed.name == "archive_command")
        );
        let settings = [
            set("fsync", "off".into()),
            set("restore_command", format!("cp {}/%f %p", archive.display())),
            set("recovery_target_name", "here".into()),
        ];
        restored.set_conf(&settings).await.unwrap();
        restored
            .write_file("recovery.signal", b"", 0o600)
            .await
            .unwrap();
        let started = restored.start(StartOptions::default()).await.unwrap();
        assert_eq!(started.status, Status::Standby);
        eventually("it is paused at the target", async || {
            restored
                .recovery_outcome(started.log_offset)
                .await
                .unwrap()
                .paused
        })
        .await;
        assert_eq!(psql(&restored, "select a from t").await.unwrap(), "1");
        restored.promote().await.unwrap();
        restored.wait_until(Until::Ready, LONG).await.unwrap();
        assert_eq!(
            psql(&restored, "select pg_is_in_recovery()").await.unwrap(),
            "f"
        );
        let outcome = restored.recovery_outcome(started.log_offset).await.unwrap();
        let Some(postgres::StoppedAt::RestorePoint { name, .. }) = &outcome.stopped else {
            panic!("{outcome:?}");
        };
        assert_eq!(name, "here");
        assert_eq!(outcome.target.as_deref(), Some("\"here\""));
        assert_eq!(outcome.new_timeline, Some(2));
        assert!(outcome.redo_done.unwrap() <= point.parse().unwrap());
        assert!(outcome.consistent_at.is_some() && outcome.redo_start.is_some());
        assert!(!outcome.restored.is_empty());

        // A point that does not exist is not reached, and that is an error.
        let again = add(&lab, "again");
        restored.stop(StopMode::Fast, LONG).await.unwrap();
        let data_dir = again.paths().data_dir;
        again
            .copy_tree(restored.paths().data_dir, &data_dir, CopyOptions::default())
            .await
            .unwrap();
        again
            .set_conf(&[
                settings[1].clone(),
                set("recovery_target_name", "nowhere".into()),
            ])
            .await
            .unwrap();
        again
            .write_file("recovery.signal", b"", 0o600)
            .await
            .unwrap();
        let offset = again.log_len().await.unwrap();
        let options = StartOptions {
            until: Until::Ready,
            ..StartOptions::default()
        };
        let failure = Failure::from(again.start(options).await.unwrap_err());
        assert!(
            failure.message.contains("recovery ended before"),
            "{failure:?}"
        );
        assert!(
            again
                .recovery_outcome(offset)
                .await
                .unwrap()
                .target_not_reached
        );
    });
}
