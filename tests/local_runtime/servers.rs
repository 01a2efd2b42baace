//! Starting, stopping, killing and pausing servers.

use std::time::Duration;

use rpitr::failure::{Failure, Kind};
use rpitr::postgres::ClusterState;
use rpitr::runtime::*;

use crate::support::*;

#[test]
fn a_server_from_initdb_to_every_kind_of_stop() {
    let bench = Bench::new();
    block_on(async {
        let lab = bench.lab();
        let node = add(&lab, "primary");
        assert_eq!(node.status().await.unwrap(), Status::Absent);
        let made = initdb(&node).await;
        assert_eq!(node.status().await.unwrap(), Status::Stopped);
        let control = node.control_data().await.unwrap();
        assert!(control.checksums() && control.state == ClusterState::ShutDown);
        println!("initdb {:?}", made.elapsed);

        for mode in [StopMode::Smart, StopMode::Fast, StopMode::Immediate] {
            let started = node.start(StartOptions::default()).await.unwrap();
            assert_eq!(started.status, Status::Running);
            assert_eq!(node.pid().await.unwrap(), Some(started.pid));
            assert_eq!(psql(&node, "select 40 + 2").await.unwrap(), "42");
            let again = node.start(StartOptions::default()).await.unwrap_err();
            assert_eq!(Failure::from(again).kind, Kind::State);
            let stopped = node.stop(mode, LONG).await.unwrap();
            assert!(stopped.was_running);
            println!(
                "start {:?}, stop {mode:?} {:?}",
                started.elapsed, stopped.elapsed
            );
            assert_eq!(node.status().await.unwrap(), Status::Stopped);
            assert!(node.processes().await.unwrap().is_empty());
            let exit = node.wait_exit().await.unwrap().unwrap();
            assert!(
                exit.success() || mode == StopMode::Immediate,
                "{mode:?}: {exit}"
            );
            let clean = node.control_data().await.unwrap().state.is_clean();
            assert_eq!(clean, mode != StopMode::Immediate);
        }
        assert!(!node.stop(StopMode::Fast, LONG).await.unwrap().was_running);
    });
}

#[test]
fn smart_waits_and_a_kill_is_a_crash() {
    let bench = Bench::new();
    block_on(async {
        let lab = bench.lab();
        let node = started_node(&lab, "primary").await;
        let sleeper = psql(&node, "select pg_sleep(60)");
        let meanwhile = async {
            eventually("a client is there", async || {
                psql(
                    &node,
                    "select count(*) from pg_stat_activity where query like '%pg_sleep(60)'",
                )
                .await
                .is_ok_and(|count| count == "1")
            })
            .await;
            let late = node
                .stop(StopMode::Smart, Duration::from_millis(50))
                .await
                .unwrap_err();
            let failure = Failure::from(late);
            assert_eq!(failure.code.as_deref(), Some("stop_timeout"));
            assert!(failure.hint.unwrap().contains("fast"));
            assert_eq!(node.status().await.unwrap(), Status::Stopping);
            // Another handle, as a later rpitr would have, finds the same server.
            let other = Lab::open(&bench.runtime, &lab.id())
                .unwrap()
                .node("primary")
                .unwrap();
            // The postmaster and whoever has not yet heard of its end.
            assert!(other.kill().await.unwrap() > 1);
        };
        let (client, ()) = tokio::join!(sleeper, meanwhile);
        let failure = Failure::from(client.unwrap_err());
        assert_eq!(failure.kind, Kind::Postgres);
        assert!(failure.detail.is_some());
        assert_eq!(node.status().await.unwrap(), Status::Crashed);
        assert!(!node.wait_exit().await.unwrap().unwrap().success());

        let offset = node.log_len().await.unwrap();
        let started = node.start(StartOptions::default()).await.unwrap();
        assert_eq!(started.log_offset, offset);
        let outcome = node.recovery_outcome(offset).await.unwrap();
        assert!(outcome.crash_recovery, "{outcome:?}");
    });
}

#[test]
fn pause_stops_every_process_and_resume_continues_them() {
    let bench = Bench::new();
    block_on(async {
        let lab = bench.lab();
        let node = started_node(&lab, "primary").await;
        let count = node.pause().await.unwrap();
        assert!(count > 4, "{count}");
        assert!(node.processes().await.unwrap().iter().all(Proc::is_stopped));
        assert_eq!(node.status().await.unwrap(), Status::Paused);
        assert_eq!(node.resume().await.unwrap(), count);
        assert_eq!(node.status().await.unwrap(), Status::Running);
        assert_eq!(psql(&node, "select 1").await.unwrap(), "1");
        node.set_conf(&[("work_mem".into(), "7MB".into())])
            .await
            .unwrap();
        node.reload().await.unwrap();
        eventually("the new setting", async || {
            psql(&node, "show work_mem")
                .await
                .is_ok_and(|value| value == "7MB")
        })
        .await;
        // Every way to end a paused server works.
        for mode in [StopMode::Fast, StopMode::Immediate] {
            node.pause().await.unwrap();
            node.stop(mode, LONG).await.unwrap();
            node.start(StartOptions::default()).await.unwrap();
        }
        node.pause().await.unwrap();
        assert!(node.kill().await.unwrap() > 4);
        assert!(node.pause().await.is_err());
    });
}

#[test]
fn a_server_that_cannot_start_says_why() {
    let bench = Bench::new();
    block_on(async {
        let lab = bench.lab();
        let node = add(&lab, "primary");
        let absent = node.start(StartOptions::default()).await.unwrap_err();
        assert!(matches!(absent, Error::WrongState { .. }), "{absent}");
        initdb(&node).await;

        node.set_conf(&[("no_such_setting".into(), "1".into())])
            .await
            .unwrap();
        let failure = Failure::from(node.start(StartOptions::default()).await.unwrap_err());
        assert_eq!((failure.kind, failure.retryable), (Kind::Postgres, false));
        assert!(failure.message.contains("contains errors"), "{failure:?}");
        assert!(failure.detail.unwrap().contains("no_such_setting"));
        node.set_conf(&[]).await.unwrap();

        let port = node.record().port;
        let taken = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
        let failure = Failure::from(node.start(StartOptions::default()).await.unwrap_err());
        assert_eq!((failure.kind, failure.retryable), (Kind::Environment, true));
        assert_eq!(failure.code.as_deref(), Some("port_taken"));
        assert_ne!(lab.change_port(&node).unwrap(), port);
        node.start(StartOptions::default()).await.unwrap();
        drop(taken);
        node.stop(StopMode::Fast, LONG).await.unwrap();

        // Recovery without a way to get WAL: FATAL.
        node.write_file("recovery.signal", b"", 0o600)
            .await
            .unwrap();
        let failure = Failure::from(node.start(StartOptions::default()).await.unwrap_err());
        assert!(failure.message.contains("restore_command"), "{failure:?}");
        node.remove_file("recovery.signal").await.unwrap();

        // A standby without a primary is up, but never open for writing.
        node.write_file("standby.signal", b"", 0o600).await.unwrap();
        let options = StartOptions {
            until: Until::Ready,
            timeout: Duration::from_millis(300),
            ..StartOptions::default()
        };
        let failure = Failure::from(node.start(options).await.unwrap_err());
        assert_eq!(failure.kind, Kind::Timeout);
        assert_eq!(
            node.wait_until(Until::Accepting, LONG).await.unwrap(),
            Status::Standby
        );
        node.promote().await.unwrap();
        assert_eq!(
            node.wait_until(Until::Ready, LONG).await.unwrap(),
            Status::Running
        );
        assert_eq!(
            node.recovery_outcome(0).await.unwrap().new_timeline,
            Some(2)
        );
    });
}
