//! Opening, losing and pooling connections; passwords and TLS.

use std::time::Duration;

use rpitr::failure::Failure;
use rpitr::sql::*;

use crate::server::{run, server};
use crate::{connect, eventually, one};

#[test]
fn session_facts() {
    run(async {
        let connection = connect().await;
        assert!(connection.server_version() >= 120_000);
        let pid = one(&connection, "SELECT pg_backend_pid()").await;
        assert_eq!(pid, connection.backend_pid().to_string());
        assert_eq!(one(&connection, "SHOW application_name").await, "rpitr");
        assert!(!connection.is_tls());
        assert!(!connection.is_closed());
        connection.close();
        assert!(connection.is_closed());
        let error = connection.query("SELECT 1", &[]).await.unwrap_err();
        assert_eq!(error.code(), Some("08003"));
    });
}

/// Encrypted or not, or a part of the message.
type Outcome = std::result::Result<bool, &'static str>;

#[test]
fn passwords_and_tls() {
    run(async {
        let base = [
            ("host", "db.test"),
            ("hostaddr", "127.0.0.1"),
            ("dbname", "postgres"),
        ];
        let try_connect = |extra: &[(&str, &str)]| {
            let pairs: Vec<_> = base.iter().chain(extra).copied().collect();
            let settings = server().settings(&pairs);
            async move {
                let result = Connection::connect(&settings).await;
                if let Err(error) = &result {
                    let shown = format!("{error} {error:?} {settings:?}");
                    assert!(!shown.contains("sesame"), "{shown}");
                }
                result.map(|c| c.is_tls()).map_err(Failure::from)
            }
        };
        let (ca, other_ca) = (server().file("ca.crt"), server().file("other.crt"));
        let scram = [("user", "scram"), ("password", "open sesame")];
        let with = |more: &[(&'static str, &str)]| -> Vec<(&'static str, String)> {
            scram
                .iter()
                .chain(more)
                .map(|(k, v)| (*k, v.to_string()))
                .collect()
        };
        let cases: Vec<(Vec<(&str, String)>, Outcome)> = vec![
            (with(&[("sslmode", "disable")]), Ok(false)),
            (with(&[("sslmode", "allow")]), Ok(false)),
            (with(&[("sslmode", "prefer")]), Ok(true)),
            (with(&[("sslmode", "require")]), Ok(true)),
            (
                with(&[("sslmode", "require"), ("channel_binding", "require")]),
                Ok(true),
            ),
            (
                with(&[("sslmode", "disable"), ("channel_binding", "require")]),
                Err("channel binding"),
            ),
            (
                with(&[("sslmode", "verify-ca"), ("sslrootcert", &ca)]),
                Ok(true),
            ),
            (
                with(&[("sslmode", "verify-full"), ("sslrootcert", &ca)]),
                Ok(true),
            ),
            (
                with(&[
                    ("sslmode", "verify-full"),
                    ("sslrootcert", &ca),
                    ("host", "wrong.test"),
                ]),
                Err("wrong.test"),
            ),
            (
                with(&[
                    ("sslmode", "verify-ca"),
                    ("sslrootcert", &ca),
                    ("host", "wrong.test"),
                ]),
                Ok(true),
            ),
            (
                with(&[("sslmode", "verify-ca"), ("sslrootcert", &other_ca)]),
                Err("UnknownIssuer"),
            ),
            (
                with(&[("sslmode", "verify-full"), ("sslrootcert", &other_ca)]),
                Err("UnknownIssuer"),
            ),
            // A root file turns `require` into `verify-ca`.
            (
                with(&[("sslmode", "require"), ("sslrootcert", &other_ca)]),
                Err("UnknownIssuer"),
            ),
            (with(&[("sslmode", "verify-full")]), Err("does not exist")),
            (
                with(&[("sslmode", "require"), ("password", "closed sesame")]),
                Err("password authentication failed"),
            ),
            (
                vec![("user", "scram".into()), ("password", "".into())],
                Err("asks for a password and none is known"),
            ),
            (
                vec![("user", "md5".into()), ("password", "open sesame".into())],
                Ok(true),
            ),
            (
                vec![("user", "clear".into()), ("password", "open sesame".into())],
                Ok(true),
            ),
            (
                vec![
                    ("user", "plain".into()),
                    ("password", "open sesame".into()),
                    ("sslmode", "prefer".into()),
                ],
                Ok(false),
            ),
            (
                vec![
                    ("user", "plain".into()),
                    ("password", "open sesame".into()),
                    ("sslmode", "require".into()),
                ],
                Err("pg_hba.conf"),
            ),
            (
                vec![
                    ("user", "cert".into()),
                    ("sslmode", "verify-full".into()),
                    ("sslrootcert", ca.clone()),
                    ("sslcert", server().file("client.crt")),
                    ("sslkey", server().file("client.key")),
                ],
                Ok(true),
            ),
            (
                vec![("user", "cert".into()), ("sslmode", "require".into())],
                Err("certificate"),
            ),
        ];
        for (settings, wanted) in cases {
            let pairs: Vec<(&str, &str)> = settings.iter().map(|(k, v)| (*k, v.as_str())).collect();
            match (try_connect(&pairs).await, wanted) {
                (Ok(tls), Ok(wanted)) => assert_eq!(tls, wanted, "{pairs:?}"),
                (Err(failure), Err(part)) => {
                    assert!(failure.message.contains(part), "{pairs:?}: {failure:?}")
                }
                (result, wanted) => panic!("{pairs:?}: {result:?} instead of {wanted:?}"),
            }
        }
        // TLS is never tried on a Unix socket, whatever the mode; cancel uses TLS where the session does.
        let local = Connection::connect(&server().settings(&[("sslmode", "require")]))
            .await
            .unwrap();
        assert!(!local.is_tls());
        let pairs = [
            ("user", "scram"),
            ("password", "open sesame"),
            ("sslmode", "require"),
        ];
        let pairs: Vec<_> = base.iter().chain(&pairs).copied().collect();
        let remote = Connection::connect(&server().settings(&pairs))
            .await
            .unwrap();
        assert!(
            tokio::time::timeout(
                Duration::from_millis(30),
                remote.query("SELECT pg_sleep(600)", &[])
            )
            .await
            .is_err()
        );
        remote
            .cancel_and_drain(Duration::from_secs(10))
            .await
            .unwrap();
        assert_eq!(
            one(
                &remote,
                "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
            )
            .await,
            "t"
        );
    });
}
#[test]
fn connection_failures_have_a_code_and_advice() {
    run(async {
        let try_connect = |pairs: &[(&str, &str)]| {
            let settings = server().settings(pairs);
            async move { Connection::connect(&settings).await.map_err(Failure::from) }
        };
        let refused = try_connect(&[("host", "127.0.0.1"), ("port", "1")])
            .await
            .unwrap_err();
        assert_eq!(refused.code.as_deref(), Some("08001"));
        assert!(refused.hint.unwrap().contains("is the server running"));
        let missing = try_connect(&[("host", "/nonexistent")]).await.unwrap_err();
        assert!(missing.hint.unwrap().contains("/nonexistent/.s.PGSQL."));
        let unknown = try_connect(&[("dbname", "nope")]).await.unwrap_err();
        assert_eq!(unknown.code.as_deref(), Some("3D000"));
        // The second host is tried when the first is down.
        let hosts = format!("/nonexistent,{}", server().socket_dir());
        assert!(try_connect(&[("host", &hosts)]).await.is_ok());
        assert!(
            try_connect(&[("target_session_attrs", "primary")])
                .await
                .is_ok()
        );
        assert!(
            try_connect(&[("target_session_attrs", "prefer-standby")])
                .await
                .is_ok()
        );
        let standby = try_connect(&[("target_session_attrs", "standby")])
            .await
            .unwrap_err();
        assert!(standby.message.contains("it is a primary"), "{standby}");
        // A port that accepts and says nothing.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = silent.local_addr().unwrap().port().to_string();
        let timeout = try_connect(&[
            ("host", "127.0.0.1"),
            ("port", &port),
            ("connect_timeout", "0.2"),
        ])
        .await
        .unwrap_err();
        assert!(
            timeout.message.contains("no answer within 200ms"),
            "{timeout}"
        );
    });
}

#[test]
fn a_lost_server_is_explained() {
    run(async {
        let (victim, killer) = (connect().await, connect().await);
        killer
            .query(
                "SELECT pg_terminate_backend($1)",
                &[Value::Int(victim.backend_pid().into())],
            )
            .await
            .unwrap();
        let error = victim.query("SELECT 1", &[]).await.unwrap_err();
        let failure = Failure::from(error);
        assert_eq!(failure.code.as_deref(), Some("57P01"), "{failure:?}");
        assert!(failure.retryable);
        assert!(victim.is_closed());
    });
}

#[test]
fn pool_hands_out_clean_sessions() {
    run(async {
        let pool = Pool::new(server().settings(&[]), 2);
        let a = pool.get().await.unwrap();
        let b = pool.get().await.unwrap();
        assert!(
            tokio::time::timeout(Duration::from_millis(20), pool.get())
                .await
                .is_err()
        );
        a.exec("BEGIN; CREATE TEMP TABLE p(i int)").await.unwrap();
        let (pid_a, pid_b) = (a.backend_pid(), b.backend_pid());
        drop(a);
        let a = pool.get().await.unwrap();
        assert_eq!(a.backend_pid(), pid_a);
        assert_eq!(a.transaction_status().await.unwrap(), TxStatus::Idle);
        // Nothing but the server can say that the table is gone with its transaction.
        assert!(a.query("SELECT * FROM p", &[]).await.is_err());
        assert!(
            tokio::time::timeout(
                Duration::from_millis(20),
                a.query("SELECT pg_sleep(600)", &[])
            )
            .await
            .is_err()
        );
        drop(a);
        let a = pool.get().await.unwrap();
        assert_eq!(one(&a, "SELECT 1").await, "1");
        a.query(
            "SELECT pg_terminate_backend($1)",
            &[Value::Int(pid_b.into())],
        )
        .await
        .unwrap();
        drop(b);
        eventually("a broken session is replaced", || async {
            let b = pool.get().await.unwrap();
            let fresh = b.backend_pid() != pid_b;
            if !fresh {
                let _ = b.query("SELECT 1", &[]).await;
            }
            fresh
        })
        .await;
        drop(a);
        pool.close().await;
        assert!(pool.get().await.is_err());
    });
}
