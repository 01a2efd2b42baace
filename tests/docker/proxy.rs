//! The proxy in front of the engine, for tests that cut the line or go another way.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::bench::{docker, text};

/// A running proxy; dropping it cuts every connection.
pub struct Proxy(Child);

impl Proxy {
    pub fn start(listen: &str, extra: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/docker/proxy.py");
        let mut child = Command::new("python3")
            .arg(script)
            .args([listen, &engine_socket()])
            .args(extra)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "the proxy did not start");
        Proxy(child)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The socket the docker command uses.
fn engine_socket() -> String {
    let host = std::env::var("DOCKER_HOST").unwrap_or_else(|_| {
        let shown = docker(&["context", "inspect", "-f", "{{.Endpoints.docker.Host}}"]);
        text(&shown).trim().to_string()
    });
    host.strip_prefix("unix://")
        .expect("these tests need an engine behind a socket")
        .to_string()
}
