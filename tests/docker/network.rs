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
