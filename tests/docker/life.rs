//! A node's life: started, paused, killed, removed behind our back.

use std::time::Duration;

use rpitr::runtime::*;

use crate::bench::{Bench, MAJOR, block_on, docker, psql, started};

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
