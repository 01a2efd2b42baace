//! Statements: errors, caching, streams, COPY, abandonment.

use std::time::{Duration, Instant};

use rpitr::failure::Failure;
use rpitr::sql::*;

use crate::server::run;
use crate::{connect, eventually, one, text};

#[test]
fn errors_carry_the_servers_words() {
    run(async {
        let connection = connect().await;
        let error = connection
            .exec(
                "DO $$ BEGIN RAISE 'no' USING ERRCODE = '40001', DETAIL = 'd', HINT = 'h'; END $$",
            )
            .await
            .unwrap_err();
        let failure = Failure::from(error);
        assert_eq!(failure.code.as_deref(), Some("40001"));
        assert_eq!(
            (failure.detail.as_deref(), failure.hint.as_deref()),
            (Some("d"), Some("h"))
        );
        assert!(failure.retryable);
        let error = connection.query("SELECT nope", &[]).await.unwrap_err();
        assert_eq!(error.server().unwrap().position, Some(8));
        assert!(connection.query("SELECT 1; SELECT 2", &[]).await.is_err());
        assert_eq!(error.server().unwrap().severity, "ERROR");
        let affected = connection
            .exec("CREATE TEMP TABLE e(i int); INSERT INTO e VALUES (1),(2)")
            .await
            .unwrap();
        assert_eq!(affected, 2);
        assert_eq!(connection.exec("").await.unwrap(), 0);
        assert_eq!(connection.query("", &[]).await.unwrap().rows.len(), 0);
        // COPY through the wrong door leaves the connection usable.
        for sql in ["COPY e FROM STDIN", "COPY e TO STDOUT"] {
            assert!(connection.query(sql, &[]).await.is_err());
            assert!(connection.exec(sql).await.is_err());
            assert!(connection.stream(sql, &[], 1).await.is_err());
            assert_eq!(
                one(&connection, "SELECT count(*) FROM e").await,
                "2",
                "{sql}"
            );
        }
    });
}

#[test]
fn stale_statements_are_prepared_again() {
    run(async {
        let connection = connect().await;
        connection
            .exec("CREATE TEMP TABLE s(a int); INSERT INTO s VALUES (1)")
            .await
            .unwrap();
        let statement = connection.prepare("SELECT * FROM s").await.unwrap();
        assert_eq!(statement.columns().len(), 1);
        assert_eq!(one(&connection, "SELECT * FROM s").await, "1");
        connection
            .exec("ALTER TABLE s ADD b text DEFAULT 'x'")
            .await
            .unwrap();
        let rows = connection.query("SELECT * FROM s", &[]).await.unwrap();
        assert_eq!((rows.columns.len(), rows.rows[0].len()), (2, 2));
        let rows = connection.query_prepared(&statement, &[]).await.unwrap();
        assert_eq!(rows.columns.len(), 2);
        connection.exec("DISCARD ALL").await.unwrap();
        assert_eq!(one(&connection, "SELECT 5").await, "5");
        assert_eq!(one(&connection, "SELECT 5").await, "5");
        connection.exec("DEALLOCATE ALL").await.unwrap();
        assert_eq!(one(&connection, "SELECT 5").await, "5");
        // The cache is bounded, and the server forgets what falls out of it.
        for i in 0..300 {
            one(&connection, &format!("SELECT {i}")).await;
        }
        let kept: i64 = one(&connection, "SELECT count(*) FROM pg_prepared_statements")
            .await
            .parse()
            .unwrap();
        assert!(kept <= 130, "{kept}");
    });
}

#[test]
fn rows_stream_in_batches() {
    run(async {
        let connection = connect().await;
        let mut stream = connection
            .stream(
                "SELECT i FROM generate_series(1, $1::int) i",
                &[Value::Int(1000)],
                64,
            )
            .await
            .unwrap();
        // Outside a transaction the stream owns the connection: an error, not a deadlock.
        let error = connection.query("SELECT 1", &[]).await.unwrap_err();
        assert!(matches!(error, Error::State { .. }), "{error}");
        let mut sum = 0;
        while let Some(row) = stream.next().await.unwrap() {
            let Value::Int(i) = row[0] else { panic!() };
            sum += i;
        }
        assert_eq!((sum, stream.fetched()), (500_500, 1000));
        drop(stream);
        assert_eq!(one(&connection, "SELECT 1").await, "1");

        // Stopping early is cheap, and ends the statement's transaction at once.
        let other = connect().await;
        for close in [true, false] {
            let mut stream = connection
                .stream("SELECT 1 FROM generate_series(1, 3000000)", &[], 10)
                .await
                .unwrap();
            stream.next().await.unwrap();
            if close {
                stream.close().await.unwrap()
            } else {
                drop(stream)
            }
            let sql = format!(
                "SELECT count(*) FROM pg_stat_activity WHERE pid = {} AND backend_xmin IS NOT NULL",
                connection.backend_pid()
            );
            eventually("the snapshot is gone", || async {
                one(&other, &sql).await == "0"
            })
            .await;
            assert_eq!(one(&connection, "SELECT 1").await, "1");
        }

        // Inside a transaction other statements may run in the loop.
        connection.exec("BEGIN").await.unwrap();
        let mut stream = connection
            .stream("SELECT i FROM generate_series(1, 50) i", &[], 7)
            .await
            .unwrap();
        let mut count = 0;
        while let Some(row) = stream.next().await.unwrap() {
            assert_eq!(
                one(&connection, &format!("SELECT {}", row[0])).await,
                row[0].to_string()
            );
            count += 1;
        }
        assert_eq!(count, 50);
        connection.exec("COMMIT").await.unwrap();
        assert!(connection.stream("SELECT 1/0", &[], 1).await.is_err());
        let mut stream = connection
            .stream("SELECT 10/(3-i) FROM generate_series(1,5) i", &[], 1)
            .await
            .unwrap();
        stream.next().await.unwrap();
        stream.next().await.unwrap();
        assert_eq!(stream.next().await.unwrap_err().code(), Some("22012"));
        assert_eq!(one(&connection, "SELECT 1").await, "1");
        // What is no query is collected.
        let mut stream = connection.stream("SHOW timezone", &[], 1).await.unwrap();
        assert!(stream.next().await.unwrap().is_some());
        assert!(stream.next().await.unwrap().is_none());
    });
}

#[test]
fn copy_both_ways() {
    run(async {
        let connection = connect().await;
        connection
            .exec("CREATE TEMP TABLE c(i int, t text)")
            .await
            .unwrap();
        let mut copy = connection.copy_in("COPY c FROM STDIN").await.unwrap();
        let mut data = String::new();
        for i in 0..50_000 {
            data.push_str(&format!("{i}\tvalue {i}\n"));
        }
        // Rows may be split anywhere.
        for chunk in data.as_bytes().chunks(1013) {
            copy.write(chunk.to_vec()).await.unwrap();
        }
        assert_eq!(copy.finish().await.unwrap(), 50_000);

        let mut out = connection
            .copy_out("COPY (SELECT * FROM c ORDER BY i) TO STDOUT")
            .await
            .unwrap();
        let mut back = Vec::new();
        while let Some(chunk) = out.next().await.unwrap() {
            back.extend_from_slice(&chunk);
        }
        assert_eq!(back, data.as_bytes());
        // At its end the COPY has given the connection back.
        assert_eq!(one(&connection, "SELECT 1").await, "1");
        drop(out);

        let mut copy = connection.copy_in("COPY c FROM STDIN").await.unwrap();
        copy.write("1\tx\n").await.unwrap();
        copy.abort().await.unwrap();
        let copy = connection.copy_in("COPY c FROM STDIN").await.unwrap();
        drop(copy);
        assert_eq!(one(&connection, "SELECT count(*) FROM c").await, "50000");

        // Bad data is noticed while there is still more to send.
        let mut copy = connection.copy_in("COPY c FROM STDIN").await.unwrap();
        let bad = "not a number\tx\n".repeat(10_000);
        let mut result = Ok(());
        for _ in 0..1000 {
            result = copy.write(bad.clone()).await;
            if result.is_err() {
                break;
            }
        }
        let error = match result {
            Err(error) => error,
            Ok(()) => copy.finish().await.unwrap_err(),
        };
        assert_eq!(error.code(), Some("22P02"));

        let mut out = connection
            .copy_out("COPY (SELECT generate_series(1, 100000000)) TO STDOUT")
            .await
            .unwrap();
        out.next().await.unwrap();
        out.close(Duration::from_secs(10)).await.unwrap();
        assert_eq!(one(&connection, "SELECT 1").await, "1");
        // A COPY that the server refuses takes the connection along, but not silently.
        let lost = connect().await;
        let error = lost.copy_in("COPY nope FROM STDIN").await.unwrap_err();
        assert_eq!(error.code(), Some("42P01"));
        assert!(lost.is_closed());
        let error = connection
            .copy_out("COPY nope TO STDOUT")
            .await
            .unwrap_err();
        assert_eq!(error.code(), Some("42P01"));
        assert!(connection.copy_in("SELECT 1").await.is_err());
        assert!(connection.copy_in("COPY c TO STDOUT").await.is_err());
        assert!(connection.copy_out("COPY c FROM STDIN").await.is_err());
        assert_eq!(one(&connection, "SELECT 1").await, "1");
    });
}

#[test]
fn transactions_and_status() {
    run(async {
        let connection = connect().await;
        connection.exec("CREATE TEMP TABLE n(i int)").await.unwrap();
        let status = || async { connection.transaction_status().await.unwrap() };
        assert_eq!(status().await, TxStatus::Idle);
        connection.exec("BEGIN").await.unwrap();
        assert_eq!(status().await, TxStatus::Open);
        connection.exec("INSERT INTO n VALUES (1)").await.unwrap();
        connection.exec("SAVEPOINT s").await.unwrap();
        assert!(connection.exec("SELECT 1/0").await.is_err());
        assert_eq!(status().await, TxStatus::Failed);
        connection.exec("ROLLBACK TO s; RELEASE s").await.unwrap();
        assert_eq!(status().await, TxStatus::Open);
        connection.exec("COMMIT").await.unwrap();
        assert_eq!(status().await, TxStatus::Idle);
        // What only looks like the beginning of a transaction.
        connection.exec("DO $$ BEGIN END $$").await.unwrap();
        assert_eq!(status().await, TxStatus::Idle);
        assert_eq!(one(&connection, "SELECT count(*) FROM n").await, "1");
    });
}

#[test]
fn a_dropped_call_leaves_the_connection_usable() {
    run(async {
        let connection = connect().await;
        let short = Duration::from_millis(30);
        let sleep =
            tokio::time::timeout(short, connection.query("SELECT pg_sleep(600)", &[])).await;
        assert!(sleep.is_err());
        assert!(connection.is_busy());
        let start = Instant::now();
        connection
            .cancel_and_drain(Duration::from_secs(10))
            .await
            .unwrap();
        assert!(start.elapsed() < Duration::from_secs(5));
        assert!(!connection.is_busy());
        assert_eq!(one(&connection, "SELECT 1").await, "1");

        // Without a cancel the next call waits for the abandoned one.
        assert!(
            tokio::time::timeout(short, connection.exec("SELECT pg_sleep(0.1)"))
                .await
                .is_err()
        );
        assert_eq!(one(&connection, "SELECT 2").await, "2");

        // Dropped at every await, a query never leaves an answer that belongs to another.
        let big = "x".repeat(300_000);
        for i in 0..60u64 {
            let limit = Duration::from_micros(i * 20);
            let params = [text(&big), Value::Int(i as i64)];
            let _ = tokio::time::timeout(
                limit,
                connection.query("SELECT $1::text, $2::int8", &params),
            )
            .await;
            assert_eq!(
                one(&connection, &format!("SELECT {i}")).await,
                i.to_string()
            );
        }

        // cancel() makes the running call itself fail.
        let running = {
            let connection = connection.clone();
            tokio::task::spawn_local(
                async move { connection.query("SELECT pg_sleep(600)", &[]).await },
            )
        };
        let other = connect().await;
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE pid = {} AND query LIKE '%sleep(600)%' AND state = 'active'",
            connection.backend_pid()
        );
        eventually("the sleep runs", || async {
            one(&other, &sql).await == "1"
        })
        .await;
        connection.cancel().await.unwrap();
        assert_eq!(running.await.unwrap().unwrap_err().code(), Some("57014"));
    });
}
