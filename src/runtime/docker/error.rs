//! What can go wrong with a Docker engine.

use crate::failure::{Failure, Kind};

/// An error of the Docker runtime.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no Docker engine answers")]
    NoEngine { tried: Vec<String> },
    #[error(
        "the Docker engine at {address} speaks API {version}; rpitr needs 1.41 (Docker 20.10) or newer"
    )]
    TooOld { address: String, version: String },
    #[error("cannot use the Docker engine at {address}: {reason}")]
    BadAddress { address: String, reason: String },
    #[error("the Docker engine at {address} is on another machine")]
    Remote { address: String },
    #[error("the Docker context \"{name}\" cannot be used: {reason}")]
    BadContext { name: String, reason: String },
    #[error("the engine has no image {image}")]
    NoImage { image: String, tried: Vec<String> },
    #[error("image {image} holds no PostgreSQL server: {reason}")]
    BadImage { image: String, reason: String },
    #[error("image {image} holds PostgreSQL {major}, asked for was {wanted}")]
    WrongMajor {
        image: String,
        major: u32,
        wanted: u32,
    },
    #[error("port {port} is taken on the engine's machine")]
    PortTaken { port: u16, reason: String },
    #[error("a port that was asked for is taken on the engine's machine")]
    PublishedPortTaken { reason: String },
    #[error("image {image} cannot be pulled")]
    Pull { image: String, reason: String },
    #[error("image {tag} cannot be built")]
    Build { tag: String, reason: String },
    #[error("lab {lab} is gone: it has been removed")]
    LabGone { lab: String },
    #[error("container {container} is gone: somebody removed it")]
    Gone { container: String },
    #[error("cannot {doing} {what}: {source}")]
    Api {
        doing: &'static str,
        what: String,
        source: bollard::errors::Error,
    },
    /// The container, or the way to it, was lost while a program ran.
    #[error("{what} was cut short")]
    CutShort { what: String },
    /// One of rpitr's own scripts failed inside a container.
    #[error("cannot {doing} {what} in container {container}")]
    Script {
        doing: &'static str,
        what: String,
        container: String,
        stderr: String,
    },
    #[error("the engine's answer about {what} cannot be understood: {reason}")]
    Answer { what: String, reason: String },
}

impl Error {
    pub(super) fn api(
        doing: &'static str,
        what: impl Into<String>,
    ) -> impl FnOnce(bollard::errors::Error) -> Self {
        let what = what.into();
        move |source| Error::Api {
            doing,
            what,
            source,
        }
    }
}

/// The HTTP status of a refusal.
pub(super) fn status(error: &bollard::errors::Error) -> Option<u16> {
    match error {
        bollard::errors::Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        let new = |kind, code: &str| Failure::new(kind, message).code(code);
        match error {
            Error::NoEngine { tried } => new(Kind::Environment, "no_engine")
                .detail(format!("tried {}", tried.join("\n      ")))
                .hint(
                    "start Docker, or point DOCKER_HOST or a docker context at an engine you may use \
                     (on Linux: be a member of the docker group, or run a rootless engine); \
                     --runtime local needs none",
                ),
            Error::TooOld { .. } => new(Kind::Environment, "engine_too_old"),
            Error::BadAddress { .. } | Error::BadContext { .. } => {
                new(Kind::Environment, "engine_address")
                    .hint("docker context ls shows the contexts; DOCKER_HOST overrides them")
            }
            Error::Remote { .. } => new(Kind::Environment, "remote_engine")
                .detail("servers are published on 127.0.0.1, which is out of reach there")
                .hint(
                    "set RPITR_PUBLISH to the address of the engine's machine on which this one may reach them, \
                     or forward the engine's socket and the ports",
                ),
            Error::NoImage { tried, .. } => new(Kind::Environment, "no_image")
                .detail(tried.join("\n"))
                .hint(
                    "where no image can be pulled, compose/image/build MAJOR makes one from Debian packages; \
                     RPITR_POSTGRES_IMAGE names another",
                ),
            Error::BadImage { .. } => new(Kind::Environment, "bad_image")
                .hint("RPITR_POSTGRES_IMAGE must name an image with PostgreSQL's programs and a shell"),
            Error::WrongMajor { .. } => new(Kind::Environment, "wrong_major")
                .hint("RPITR_POSTGRES_IMAGE names the image for every server; unset it, or name another"),
            Error::PortTaken { reason, .. } => Failure {
                retryable: true,
                ..new(Kind::Environment, "port_taken").detail(reason)
            },
            Error::PublishedPortTaken { reason } => {
                new(Kind::Environment, "port_taken").detail(reason)
            }
            Error::Pull { reason, .. } => new(Kind::Environment, "pull_failed")
                .detail(reason)
                .hint(
                    "is the registry reachable from the engine's machine, the name right, and a login needed? \
                     An image that is on the engine already needs no pull",
                ),
            Error::Build { reason, .. } => new(Kind::Script, "build_failed").detail(reason),
            Error::LabGone { .. } => new(Kind::State, "lab_gone"),
            Error::Gone { .. } => new(Kind::State, "container_gone"),
            Error::CutShort { .. } => new(Kind::State, "cut_short")
                .hint("the container was stopped, killed or removed; docker ps -a shows it"),
            Error::Api { ref source, .. } => match status(source) {
                Some(_) => new(Kind::State, "docker"),
                None => new(Kind::Environment, "docker"),
            },
            Error::Script { stderr, .. } => {
                let failure = if stderr.contains("No space left on device") {
                    new(Kind::Environment, "disk_full")
                } else {
                    new(Kind::Io, "container_file")
                };
                failure.detail(stderr.trim_end())
            }
            Error::Answer { .. } => new(Kind::Internal, "docker_answer"),
        }
    }
}
