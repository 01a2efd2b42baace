//! What can go wrong with a standing environment.

use std::path::PathBuf;

use crate::failure::{Failure, Kind};

/// An error of a standing environment.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no environment named \"{name}\"")]
    Unknown { name: String },
    #[error("docker compose is not installed")]
    NoCompose { tried: Vec<String> },
    #[error("{command} failed")]
    Failed { command: String, output: String },
    #[error("cannot make the credentials of environment {name}")]
    Credentials { name: String, output: String },
    #[error("cannot {doing} {path}: {source}")]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("environment {name} is not up: no container of project {project} exists")]
    NotUp { name: String, project: String },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        let new = |kind, code: &str| Failure::new(kind, message.clone()).code(code);
        match error {
            Error::Unknown { .. } => new(Kind::Arg, "usage").hint(format!(
                "the environments are {}",
                super::NAMES.join(" and ")
            )),
            Error::NoCompose { tried } => new(Kind::Environment, "no_compose")
                .detail(format!("tried {}", tried.join("\n      ")))
                .hint("install docker's compose plugin, or docker-compose"),
            Error::Failed { output, .. } => explain(&message, &output),
            Error::Credentials { output, .. } => new(Kind::Io, "credentials").detail(output),
            Error::Io {
                doing,
                path,
                source,
            } => Failure::io(doing, path, &source),
            Error::NotUp { name, .. } => {
                new(Kind::State, "not_up").hint(format!("rpitr lab up {name} brings it up"))
            }
        }
    }
}

/// Compose tells its errors in words only.
fn explain(message: &str, output: &str) -> Failure {
    let lower = output.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let lines: Vec<&str> = output
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let last = lines[lines.len().saturating_sub(15)..].join("\n");
    let new = |code: &str| {
        Failure::new(Kind::Environment, message)
            .code(code)
            .detail(last.clone())
    };
    if has(&["port is already allocated", "address already in use"]) {
        return new("port_taken").hint(
            "a server listens there already: stop it, or set another port (PRIMARY_PORT, REPLICA_PORT ...) \
             in the environment's .env or in the environment of this command",
        );
    }
    if has(&[
        "cannot connect to the docker daemon",
        "couldn't connect to docker daemon",
    ]) {
        return new("no_engine").hint("start Docker, or point DOCKER_HOST at an engine");
    }
    if has(&["permission denied while trying to connect"]) {
        return new("no_engine").hint(
            "you may not use this engine: be a member of the docker group, or run a rootless one",
        );
    }
    if has(&[
        "yaml:",
        "yaml.",
        "is invalid because",
        "additional propert",
        "validating ",
        "unsupported config option",
        "parsing_error",
    ]) {
        return new("compose_file")
            .hint("correct the compose file; `docker compose config` checks it");
    }
    if has(&[
        "pull access denied",
        "manifest unknown",
        "no such host",
        "failed to resolve",
    ]) {
        return new("no_image").hint(
            "where no image can be pulled, compose/image/build MAJOR makes one from Debian packages; \
             RPITR_POSTGRES_IMAGE names it",
        );
    }
    if has(&["volume is in use", "has active endpoints"]) {
        return new("in_use").hint("other containers use it: docker ps -a shows them; rpitr lab gc removes what dead runs left");
    }
    new("compose")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_compose_says_becomes_a_code_and_a_hint() {
        for (said, code) in [
            (
                "driver failed: Bind for 127.0.0.1:5433 failed: port is already allocated",
                "port_taken",
            ),
            (
                "ERROR: yaml.scanner.ScannerError: mapping values",
                "compose_file",
            ),
            (
                "yaml: line 3: mapping values are not allowed",
                "compose_file",
            ),
            (
                "Cannot connect to the Docker daemon at unix:///x",
                "no_engine",
            ),
            ("something else", "compose"),
        ] {
            let failure = explain("docker compose up failed", said);
            assert_eq!(failure.code.as_deref(), Some(code));
            assert_eq!(failure.detail.as_deref(), Some(said));
        }
    }
}
