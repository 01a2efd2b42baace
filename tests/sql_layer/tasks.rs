//! Several tasks on one connection: notices, notifications, turns.

use rpitr::sql::*;

use crate::server::run;
use crate::{connect, one};

#[test]
fn notices_and_notifications() {
    run(async {
        let connection = connect().await;
        let other = connect().await;
        connection
            .exec("DO $$ BEGIN RAISE WARNING 'first'; END $$")
            .await
            .unwrap();
        assert_eq!(connection.take_notices()[0].message, "first");
        assert!(connection.take_notices().is_empty());

        connection.exec("LISTEN here").await.unwrap();
        other.exec("NOTIFY here, 'one'").await.unwrap();
        let note = connection.notification().await.unwrap();
        assert_eq!(
            (note.channel.as_str(), note.payload.as_str(), note.pid),
            ("here", "one", other.backend_pid())
        );

        // Two tasks wait while a third queries the same connection.
        let wait = |connection: Connection| {
            tokio::task::spawn_local(
                async move { connection.notification().await.unwrap().payload },
            )
        };
        let (a, b) = (wait(connection.clone()), wait(connection.clone()));
        for i in 0..50 {
            assert_eq!(one(&connection, "SELECT 1").await, "1");
            if i == 25 {
                other.exec("NOTIFY here, 'two'").await.unwrap();
            }
        }
        other.exec("NOTIFY here, 'three'").await.unwrap();
        let mut got = [a.await.unwrap(), b.await.unwrap()];
        got.sort();
        assert_eq!(got, ["three", "two"]);

        // A waiter learns that its server went away.
        let waiting = wait_error(connection.clone());
        other
            .query(
                "SELECT pg_terminate_backend($1)",
                &[Value::Int(connection.backend_pid().into())],
            )
            .await
            .unwrap();
        assert_eq!(waiting.await.unwrap().code(), Some("57P01"));
        assert!(connection.is_closed());
    });
}

fn wait_error(connection: Connection) -> tokio::task::JoinHandle<Error> {
    tokio::task::spawn_local(async move { connection.notification().await.unwrap_err() })
}

#[test]
fn concurrent_users_take_turns() {
    run(async {
        let connection = connect().await;
        let tasks: Vec<_> = (0..20)
            .map(|i| {
                let connection = connection.clone();
                tokio::task::spawn_local(async move {
                    for j in 0..20 {
                        let sum = connection
                            .query("SELECT $1::int + $2::int", &[Value::Int(i), Value::Int(j)])
                            .await;
                        assert_eq!(sum.unwrap().rows[0][0], Value::Int(i + j));
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}
