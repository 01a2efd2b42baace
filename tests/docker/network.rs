//! What only a container can do.

use rpitr::runtime::*;

use crate::bench::{Bench, add, block_on, psql, started};

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
        let address = container.inspection().await.unwrap().networks;
        container.disconnect().await.unwrap();
        container.disconnect().await.unwrap();
        assert!(psql(&two, &one, "SELECT 1").await.is_err());
        assert!(!reachable());
        assert_eq!(one.status().await.unwrap(), Status::Running);
        container.reconnect().await.unwrap();
        container.reconnect().await.unwrap();
        assert_eq!(container.inspection().await.unwrap().networks, address);
        assert_eq!(psql(&two, &one, "SELECT 1").await.unwrap(), "1");
        assert!(reachable());
        let limits = Limits {
            memory: Some(512 << 20),
            cpus: Some(1.5),
            pids: Some(200),
        };
        container.limit(limits).await.unwrap();
        assert_eq!(
            container.inspection().await.unwrap().memory,
            Some(512 << 20)
        );

        // A node that is removed leaves nothing; its name is free again.
        lab.remove_node("one").await.unwrap();
        assert!(lab.member("one").await.is_err());
        let left = bench.left().join(" ");
        assert!(!left.contains("-one"), "{left}");
        let again = started(&lab, "one").await;
        assert_eq!(psql(&two, &again, "SELECT 2").await.unwrap(), "2");
        lab.destroy().await.unwrap();
    });
}
