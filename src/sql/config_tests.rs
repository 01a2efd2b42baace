//! Tests of settings: precedence, defaults, and that no password can be read out of them.

use std::os::unix::fs::PermissionsExt;

use super::config::*;
use super::error::Result;
use crate::failure::{Failure, Kind};

fn env(vars: &[(&str, &str)]) -> Env {
    Env {
        vars: vars
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect(),
        os_user: Some("osuser".into()),
        home: None,
        socket_dir: "/sock".into(),
    }
}

fn resolve(text: &str, overrides: &[(&str, &str)], env: &Env) -> Result<Settings> {
    let overrides: Vec<_> = overrides
        .iter()
        .map(|(k, v)| (k.to_string(), v.to_string()))
        .collect();
    Settings::resolve(Some(text), &overrides, env)
}

#[test]
fn defaults() {
    let settings = resolve("", &[], &env(&[])).unwrap();
    assert_eq!(settings.describe(), "osuser@/sock:5432/osuser");
    assert_eq!(settings.sslmode, SslMode::Prefer);
    assert_eq!(resolve("user=a", &[], &env(&[])).unwrap().dbname, "a");
}

#[test]
fn precedence() {
    let directory = tempfile::tempdir().unwrap();
    let services = directory.path().join("services");
    std::fs::write(
        &services,
        "[s]\nhost=from-service\nport=2\nuser=from-service\n",
    )
    .unwrap();
    let env = env(&[
        ("PGSERVICEFILE", services.to_str().unwrap()),
        ("PGSERVICE", "s"),
        ("PGHOST", "from-env"),
        ("PGUSER", "from-env"),
        ("PGDATABASE", "from-env"),
        ("PGAPPNAME", "app"),
    ]);
    let settings = resolve("user=from-string port=3", &[("port", "4")], &env).unwrap();
    assert_eq!(settings.describe(), "from-string@from-service:4/from-env");
    assert_eq!(settings.application_name.as_deref(), Some("app"));
    let error = resolve("service=t", &[], &env).unwrap_err().to_string();
    assert!(error.contains("no service \"t\""), "{error}");
}

#[test]
fn several_hosts() {
    let settings = resolve("postgresql://a:1,[::1],%2Ftmp:3/db", &[], &env(&[])).unwrap();
    assert_eq!(settings.describe(), "osuser@a:1,[::1]:5432,/tmp:3/db");
    assert!(resolve("host=a,b,c port=1,2", &[], &env(&[])).is_err());
    assert!(resolve("host=a,b hostaddr=127.0.0.1", &[], &env(&[])).is_err());
}

#[test]
fn bad_settings_name_the_key_and_the_nearest() {
    let cases = [
        (
            "hots=x",
            "unknown connection setting \"hots\"",
            "did you mean \"host\"?",
        ),
        (
            "databse=x",
            "unknown connection setting \"databse\"",
            "did you mean \"dbname\"?",
        ),
        ("port=http", "port \"http\" is not a number", ""),
        ("port=0", "port \"0\" is not a number", ""),
        ("sslmode=on", "sslmode \"on\" is not known", "verify-full"),
        ("host=@x", "abstract", ""),
        ("sslcrl=x", "not supported", ""),
        ("client_encoding=latin1", "not supported", ""),
        ("sslrootcert=system sslmode=require", "verify-full", ""),
        ("connect_timeout=soon", "connect_timeout", ""),
    ];
    for (text, message, hint) in cases {
        let failure = Failure::from(resolve(text, &[], &env(&[])).unwrap_err());
        assert_eq!(failure.kind, Kind::Arg);
        assert!(failure.message.contains(message), "{text}: {failure}");
        assert!(failure.hint.unwrap_or_default().contains(hint), "{text}");
    }
}

#[test]
fn aliases_and_empty_values() {
    let env = env(&[("PGHOST", "h")]);
    let settings = resolve("", &[("db", "x"), ("host", "")], &env).unwrap();
    assert_eq!(settings.describe(), "osuser@h:5432/x");
}

#[test]
fn password_file_counts_a_default_socket_as_localhost() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pass");
    std::fs::write(&file, "localhost:5432:*:*:local\nother:*:*:*:far\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let env = env(&[("PGPASSFILE", file.to_str().unwrap())]);
    let settings = resolve("host=/sock,other,/elsewhere", &[], &env).unwrap();
    let passwords: Vec<_> = settings
        .endpoints
        .iter()
        .map(|e| settings.password_for(e).map(|s| s.reveal().to_string()))
        .collect();
    assert_eq!(passwords, [Some("local".into()), Some("far".into()), None]);
    let explicit = resolve("password=mine", &[], &env).unwrap();
    assert_eq!(
        explicit
            .password_for(&explicit.endpoints[0])
            .unwrap()
            .reveal(),
        "mine"
    );
}

#[test]
fn passwords_are_never_shown() {
    let settings = resolve("postgresql://u:sesame@h/d", &[], &env(&[])).unwrap();
    for text in [
        format!("{settings:?}"),
        format!("{settings:#?}"),
        format!("{settings}"),
        settings.describe(),
        format!("{:?}", settings.endpoints),
    ] {
        assert!(!text.contains("sesame"), "{text}");
    }
    for bad in [
        "password=sesame port=x",
        "password=sesame hots=x",
        "password=sesame x",
    ] {
        let error = resolve(bad, &[], &env(&[])).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("sesame"));
    }
}
