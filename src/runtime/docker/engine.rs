//! The connection to the engine.

use std::fmt;
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, Docker};

use super::Error;
use super::place::{Place, Surroundings};
use super::session::Sessions;

/// What one request may take; pulling an image sends something all the time.
const REQUEST_SECONDS: u64 = 300;
/// What an engine may take to say who it is.
const GREETING: Duration = Duration::from_secs(10);
/// Docker 20.10.
const OLDEST_API: (usize, usize) = (1, 41);

/// A Docker engine that answered.
#[derive(Clone)]
pub struct Engine {
    pub(super) docker: Docker,
    pub address: String,
    pub(super) sessions: Sessions,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Engine({})", self.address)
    }
}

impl Engine {
    /// The engine the environment of this process asks for.
    pub async fn from_env() -> Result<Self, Error> {
        Self::first(Surroundings::from_env().places()?).await
    }

    /// The engine a lab was made on: with the environment's certificates if it needs any.
    pub async fn at(address: &str) -> Result<Self, Error> {
        let mut here = Surroundings::from_env();
        let same = |place: &Place| place.address == address;
        if let Some(place) = here.places().unwrap_or_default().into_iter().find(same) {
            return Self::first(vec![place]).await;
        }
        here.docker_host = Some(address.to_string());
        Self::first(here.places()?).await
    }

    async fn first(places: Vec<Place>) -> Result<Self, Error> {
        let mut tried = Vec::new();
        for place in places {
            let reason = match place.socket() {
                Some(socket) if !socket.exists() => "there is no such socket".into(),
                _ => match connect(&place)?.negotiate().await {
                    Ok(engine) => return engine.check(),
                    Err(reason) => reason,
                },
            };
            tried.push(format!("{} ({}): {reason}", place.address, place.from));
        }
        Err(Error::NoEngine { tried })
    }

    async fn negotiate(self) -> Result<Self, String> {
        match tokio::time::timeout(GREETING, self.docker.negotiate_version()).await {
            Ok(Ok(docker)) => Ok(Engine { docker, ..self }),
            Ok(Err(error)) => Err(why(&error)),
            Err(_) => Err(format!("no answer within {GREETING:?}")),
        }
    }

    fn check(self) -> Result<Self, Error> {
        let version = self.docker.client_version();
        if (version.major_version, version.minor_version) < OLDEST_API {
            return Err(Error::TooOld {
                address: self.address,
                version: version.to_string(),
            });
        }
        Ok(self)
    }

    /// The host the engine runs on, as this machine reaches it.
    pub fn host(&self) -> String {
        let remote = ["tcp://", "http://", "https://"]
            .iter()
            .find_map(|scheme| self.address.strip_prefix(scheme))
            .and_then(|rest| rest.rsplit_once(':').map(|(host, _)| host.to_string()));
        remote.unwrap_or_else(|| "127.0.0.1".into())
    }

    /// Refuses an engine whose servers would be out of reach.
    pub(in crate::runtime) fn check_reach(&self) -> Result<(), Error> {
        self.publish_on().map(|_| ())
    }

    /// The address of the engine's machine that ports are published on: 127.0.0.1, unless that is another
    /// machine; then `RPITR_PUBLISH` must say which, for nobody's servers are put on a network unasked.
    pub(super) fn publish_on(&self) -> Result<String, Error> {
        let asked = std::env::var("RPITR_PUBLISH").unwrap_or_default();
        publish_on(&self.host(), &asked).ok_or_else(|| Error::Remote {
            address: self.address.clone(),
        })
    }
}

fn publish_on(host: &str, asked: &str) -> Option<String> {
    let bare = host.trim_matches(['[', ']']);
    let local = bare == "localhost"
        || bare
            .parse()
            .is_ok_and(|address: std::net::IpAddr| address.is_loopback());
    match (local, asked.is_empty()) {
        (_, false) => Some(asked.to_string()),
        (true, true) => Some("127.0.0.1".into()),
        (false, true) => None,
    }
}

fn connect(place: &Place) -> Result<Engine, Error> {
    let address = place.address.clone();
    let bad = |reason: String| Error::BadAddress {
        address: place.address.clone(),
        reason,
    };
    let docker = if let Some(socket) = place.socket() {
        Docker::connect_with_unix(
            &socket.display().to_string(),
            REQUEST_SECONDS,
            API_DEFAULT_VERSION,
        )
    } else if let Some(folder) = &place.certificates {
        let file = |name| folder.join(name);
        Docker::connect_with_ssl(
            &address,
            &file("key.pem"),
            &file("cert.pem"),
            &file("ca.pem"),
            REQUEST_SECONDS,
            API_DEFAULT_VERSION,
        )
    } else if address.starts_with("tcp://") || address.starts_with("http://") {
        Docker::connect_with_http(&address, REQUEST_SECONDS, API_DEFAULT_VERSION)
    } else {
        return Err(bad(
            "only unix://, tcp:// and https:// are supported; for ssh, forward the socket \
             (ssh -L /path/docker.sock:/var/run/docker.sock HOST)"
                .into(),
        ));
    };
    match docker {
        Ok(docker) => Ok(Engine {
            docker,
            address,
            sessions: Sessions::default(),
        }),
        Err(error) => Err(bad(error.to_string())),
    }
}

/// The innermost reason: "Permission denied" rather than "client error (Connect)".
fn why(error: &bollard::errors::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_stay_on_the_loopback_interface_unless_somebody_asks() {
        assert_eq!(publish_on("127.0.0.1", ""), Some("127.0.0.1".into()));
        assert_eq!(publish_on("localhost", ""), Some("127.0.0.1".into()));
        assert_eq!(publish_on("[::1]", ""), Some("127.0.0.1".into()));
        assert_eq!(publish_on("far.example", ""), None);
        assert_eq!(
            publish_on("far.example", "10.1.2.3"),
            Some("10.1.2.3".into())
        );
    }
}
