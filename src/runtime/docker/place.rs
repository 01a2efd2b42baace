//! Where the Docker engine is: `DOCKER_HOST`, a context, or one of the usual sockets.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::Error;

/// An address, and the certificates for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// `unix:///path` or `tcp://host:port`.
    pub address: String,
    /// A folder with `ca.pem`, `cert.pem` and `key.pem`: TLS.
    pub certificates: Option<PathBuf>,
    /// How it was found, for messages.
    pub from: String,
}

/// The environment a search looks at.
#[derive(Debug, Default)]
pub(super) struct Surroundings {
    pub docker_host: Option<String>,
    pub docker_context: Option<String>,
    pub tls_verify: bool,
    pub cert_path: Option<PathBuf>,
    pub config_dir: Option<PathBuf>,
    pub runtime_dir: Option<PathBuf>,
    pub home: Option<PathBuf>,
}

impl Surroundings {
    pub fn from_env() -> Self {
        let var = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let text = |name| var(name).map(|value| value.to_string_lossy().into_owned());
        let home = var("HOME").map(PathBuf::from);
        let config_dir = var("DOCKER_CONFIG")
            .map(PathBuf::from)
            .or_else(|| Some(home.clone()?.join(".docker")));
        Surroundings {
            docker_host: text("DOCKER_HOST"),
            docker_context: text("DOCKER_CONTEXT"),
            tls_verify: var("DOCKER_TLS_VERIFY").is_some(),
            cert_path: var("DOCKER_CERT_PATH").map(PathBuf::from),
            config_dir,
            runtime_dir: var("XDG_RUNTIME_DIR").map(PathBuf::from),
            home,
        }
    }

    /// Where to look, best first. One that was asked for is the only one.
    pub fn places(&self) -> Result<Vec<Place>, Error> {
        if let Some(host) = &self.docker_host {
            return Ok(vec![Place {
                address: host.clone(),
                certificates: self.certificates(host),
                from: "DOCKER_HOST".into(),
            }]);
        }
        let context = self
            .docker_context
            .clone()
            .or_else(|| self.current_context());
        if let Some(name) = context.filter(|name| name != "default") {
            return Ok(vec![self.context(&name)?]);
        }
        let mut sockets = vec![PathBuf::from("/var/run/docker.sock")];
        sockets.extend(self.runtime_dir.iter().map(|dir| dir.join("docker.sock")));
        for below in [".docker/run/docker.sock", ".docker/desktop/docker.sock"] {
            sockets.extend(self.home.iter().map(|home| home.join(below)));
        }
        let place = |socket: PathBuf| Place {
            address: format!("unix://{}", socket.display()),
            certificates: None,
            from: "a usual socket".into(),
        };
        Ok(sockets.into_iter().map(place).collect())
    }

    fn certificates(&self, address: &str) -> Option<PathBuf> {
        let tls = self.tls_verify || address.starts_with("https://");
        tls.then(|| self.cert_path.clone().or_else(|| self.config_dir.clone()))
            .flatten()
    }

    fn current_context(&self) -> Option<String> {
        let text = std::fs::read(self.config_dir.as_ref()?.join("config.json")).ok()?;
        let config: serde_json::Value = serde_json::from_slice(&text).ok()?;
        let name = config.get("currentContext")?.as_str()?;
        (!name.is_empty()).then(|| name.to_string())
    }

    /// The engine of a context, as `docker context` stores it.
    fn context(&self, name: &str) -> Result<Place, Error> {
        let bad = |reason: String| Error::BadContext {
            name: name.to_string(),
            reason,
        };
        let root = self.config_dir.clone().unwrap_or_default().join("contexts");
        let id: String = Sha256::digest(name.as_bytes())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let meta = root.join("meta").join(&id).join("meta.json");
        let text =
            std::fs::read(&meta).map_err(|error| bad(format!("{}: {error}", meta.display())))?;
        let stored: serde_json::Value =
            serde_json::from_slice(&text).map_err(|error| bad(error.to_string()))?;
        let address = stored
            .pointer("/Endpoints/docker/Host")
            .and_then(|host| host.as_str())
            .filter(|host| !host.is_empty())
            .ok_or_else(|| bad("it names no engine".into()))?;
        let tls = root.join("tls").join(&id).join("docker");
        Ok(Place {
            address: address.to_string(),
            certificates: tls.join("ca.pem").exists().then_some(tls),
            from: format!("context \"{name}\""),
        })
    }
}

impl Place {
    /// The socket, if it is one.
    pub fn socket(&self) -> Option<&Path> {
        self.address.strip_prefix("unix://").map(Path::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(surroundings: &Surroundings) -> Vec<String> {
        let places = surroundings.places().unwrap();
        places.into_iter().map(|place| place.address).collect()
    }

    #[test]
    fn what_is_asked_for_wins() {
        let temp = tempfile::tempdir().unwrap();
        let config = temp.path().join(".docker");
        let id: String = Sha256::digest(b"far")
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let meta = config.join("contexts/meta").join(id);
        std::fs::create_dir_all(&meta).unwrap();
        let text = r#"{"Name":"far","Endpoints":{"docker":{"Host":"tcp://far:2376"}}}"#;
        std::fs::write(meta.join("meta.json"), text).unwrap();
        let mut here = Surroundings {
            config_dir: Some(config.clone()),
            runtime_dir: Some("/run/user/7".into()),
            home: Some("/h".into()),
            ..Surroundings::default()
        };
        assert_eq!(addresses(&here)[0], "unix:///var/run/docker.sock");
        assert_eq!(addresses(&here)[1], "unix:///run/user/7/docker.sock");
        std::fs::write(config.join("config.json"), r#"{"currentContext":"far"}"#).unwrap();
        assert_eq!(addresses(&here), ["tcp://far:2376"]);
        here.docker_context = Some("nowhere".into());
        assert!(matches!(here.places(), Err(Error::BadContext { .. })));
        here.docker_host = Some("unix:///x.sock".into());
        assert_eq!(addresses(&here), ["unix:///x.sock"]);
    }
}
