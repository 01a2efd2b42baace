//! The SQL layer against a real PostgreSQL server, thrown away afterwards.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops at the first surprise"
)]

mod connecting;
mod server;
mod statements;
mod tasks;
mod values;

use std::time::{Duration, Instant};

use rpitr::sql::*;

use server::server;

async fn connect() -> Connection {
    let settings = server().settings(&[]);
    Connection::connect(&settings).await.expect("connects")
}

fn text(value: &str) -> Value {
    Value::Text(value.into())
}

/// The single value of a query, as text.
async fn one(connection: &Connection, sql: &str) -> String {
    let rows = connection
        .query(sql, &[])
        .await
        .unwrap_or_else(|e| panic!("{sql}: {e}"));
    rows.rows[0][0].to_string()
}

async fn eventually<F: Future<Output = bool>>(what: &str, mut check: impl FnMut() -> F) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !check().await {
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
