//! One throw-away server for the test process: Unix socket, TCP on the loopback, TLS, SCRAM.
//!
//! A small shell waits for the end of its standard input, then stops the server and removes
//! its files: that happens on success, on a panic and when the test process is killed.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use rpitr::sql::{Env, Settings};

pub struct Server {
    dir: PathBuf,
    port: u16,
    /// Holds the pipe whose end stops the server.
    _guard: Child,
}

pub fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(Server::start)
}

/// Runs a test on the kind of runtime that rpitr uses.
pub fn run(test: impl Future<Output = ()>) {
    server();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

/// The directory of the server's programs.
fn bin_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("RPITR_PG_BIN") {
        return dir.into();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let mut versions: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .collect();
    versions.sort();
    dirs.extend(versions.into_iter().rev());
    dirs.into_iter()
        .find(|dir| dir.join("initdb").exists() && dir.join("postgres").exists())
        .expect("PostgreSQL's programs: set RPITR_PG_BIN to their directory")
}

/// PostgreSQL refuses to run as root.
fn account() -> Option<(u32, u32)> {
    if !nix::unistd::geteuid().is_root() {
        return None;
    }
    let name = std::env::var("RPITR_PG_USER").unwrap_or_else(|_| "postgres".into());
    let user = nix::unistd::User::from_name(&name)
        .unwrap()
        .expect("an account to run PostgreSQL");
    Some((user.uid.as_raw(), user.gid.as_raw()))
}

fn command(program: impl AsRef<Path>, dir: &Path) -> Command {
    let mut command = Command::new(program.as_ref());
    command.current_dir(dir).env("LC_ALL", "C");
    if let Some((uid, gid)) = account() {
        command.uid(uid).gid(gid);
    }
    command
}

fn check(command: &mut Command) {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
}

impl Server {
    fn start() -> Server {
        // `keep`: the shell removes it.
        let dir = tempfile::Builder::new()
            .prefix("rpitr-sql-")
            .tempdir()
            .unwrap()
            .keep();
        if let Some((uid, gid)) = account() {
            chown(&dir, Some(uid), Some(gid)).unwrap();
        }
        fs::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
        let bin = bin_dir();
        let data = dir.join("data");
        check(
            command(bin.join("initdb"), &dir)
                .args([
                    "--no-sync",
                    "-U",
                    "postgres",
                    "-A",
                    "trust",
                    "-E",
                    "UTF8",
                    "--locale=C",
                    "-D",
                ])
                .arg(&data),
        );
        certificates(&dir);
        fs::write(
            data.join("pg_hba.conf"),
            "local all all trust\n\
             hostssl all cert all cert\n\
             host all scram all scram-sha-256\n\
             host all md5 all md5\n\
             host all clear all password\n\
             hostnossl all plain all scram-sha-256\n",
        )
        .unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let settings = [
            format!("unix_socket_directories={}", dir.display()),
            format!("port={port}"),
            "listen_addresses=127.0.0.1".into(),
            "fsync=off".into(),
            "ssl=on".into(),
            format!("ssl_cert_file={}", dir.join("server.crt").display()),
            format!("ssl_key_file={}", dir.join("server.key").display()),
            format!("ssl_ca_file={}", dir.join("ca.crt").display()),
            "autovacuum=off".into(),
        ];
        let mut guard = command("/bin/sh", &dir);
        guard
            .arg("-c")
            .arg("dir=$1; shift; \"$@\" >\"$dir/log\" 2>&1 </dev/null & pid=$!; echo started; read -r line; kill -INT $pid; wait $pid; rm -rf \"$dir\"")
            .arg("sh")
            .arg(&dir)
            .arg(bin.join("postgres"))
            .arg("-D")
            .arg(&data);
        for setting in settings {
            guard.arg("-c").arg(setting);
        }
        // Its own group: Ctrl-C at the terminal must not kill the shell before it cleaned up.
        let mut guard = guard
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(guard.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let server = Server {
            dir,
            port,
            _guard: guard,
        };
        server.wait_ready();
        server
    }

    fn wait_ready(&self) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let setup = "CREATE ROLE cert LOGIN; CREATE ROLE plain LOGIN PASSWORD 'open sesame';
            CREATE ROLE scram LOGIN PASSWORD 'open sesame'; CREATE ROLE clear LOGIN PASSWORD 'open sesame';
            SET password_encryption = md5; CREATE ROLE md5 LOGIN PASSWORD 'open sesame'";
        runtime.block_on(async {
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
            loop {
                match rpitr::sql::Connection::connect(&self.settings(&[])).await {
                    Ok(connection) => {
                        connection.exec(setup).await.unwrap();
                        return;
                    }
                    Err(error) if std::time::Instant::now() > deadline => {
                        let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
                        panic!("the server does not start: {error}\n{log}");
                    }
                    Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
                }
            }
        });
    }

    /// Settings for the socket as superuser, unless the pairs say otherwise.
    pub fn settings(&self, pairs: &[(&str, &str)]) -> Settings {
        let mut all = vec![
            ("host".to_string(), self.socket_dir()),
            ("port".to_string(), self.port.to_string()),
            ("user".to_string(), "postgres".to_string()),
        ];
        all.extend(pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())));
        Settings::resolve(
            None,
            &all,
            &Env {
                socket_dir: self.dir.clone(),
                ..Env::default()
            },
        )
        .unwrap()
    }

    pub fn socket_dir(&self) -> String {
        self.file("").trim_end_matches('/').to_string()
    }

    pub fn file(&self, name: &str) -> String {
        self.dir.join(name).to_str().unwrap().to_string()
    }
}

/// A CA with a server certificate for `db.test` and a client certificate, and another CA.
fn certificates(dir: &Path) {
    let script = "set -e
        key() { openssl ecparam -name prime256v1 -genkey -noout -out $1.key; chmod 600 $1.key; }
        ca() { key $1; openssl req -x509 -new -key $1.key -subj /CN=$1 -days 2 -out $1.crt; }
        leaf() { key $1; openssl req -new -key $1.key -subj /CN=$2 -out $1.csr; printf \"$3\" > $1.ext
                 openssl x509 -req -in $1.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile $1.ext -out $1.crt; }
        ca ca; ca other
        leaf server db.test 'subjectAltName=DNS:db.test'
        leaf client cert 'extendedKeyUsage=clientAuth'";
    check(command("/bin/sh", dir).arg("-c").arg(script));
}
