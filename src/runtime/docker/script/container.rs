//! A script's containers, and the networks and volumes it makes for them.

use std::collections::HashMap;
use std::time::Duration;

use bollard::body_full;
use bollard::models::{
    ContainerCreateBody, EndpointSettings, HostConfig, Mount, MountType, NetworkCreateRequest,
    NetworkingConfig, PortBinding,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, DownloadFromContainerOptionsBuilder,
    KillContainerOptionsBuilder, LogsOptionsBuilder, RemoveVolumeOptionsBuilder,
    RestartContainerOptionsBuilder, StopContainerOptionsBuilder, UploadToContainerOptionsBuilder,
};
use futures_util::StreamExt;

use super::super::Error;
use super::super::containers::remove_container;
use super::super::error::status;
use super::program::part;
use super::{Parts, ROLE, ScriptContainers};

/// A port to publish on 127.0.0.1; the engine picks a free one unless it is given.
#[derive(Debug, Clone, Copy)]
pub struct Published {
    pub port: u16,
    pub host: Option<u16>,
}

/// A container to make.
#[derive(Debug, Clone, Default)]
pub struct NewContainer {
    pub image: String,
    /// Default: made from the lab's id.
    pub name: String,
    pub command: Option<Vec<String>>,
    pub entrypoint: Option<Vec<String>>,
    /// `NAME=value`.
    pub env: Vec<String>,
    pub user: Option<String>,
    pub cwd: Option<String>,
    pub ports: Vec<Published>,
    /// Path in the container, name of the volume.
    pub volumes: HashMap<String, String>,
    pub network: Option<String>,
    pub aliases: Vec<String>,
    /// Bytes.
    pub memory: Option<i64>,
}

/// What can be done to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    Start,
    /// Seconds until it is killed.
    Stop(i32),
    /// A signal's name.
    Kill(String),
    Restart(i32),
    Pause,
    Unpause,
    Remove,
}

impl ScriptContainers {
    /// The full name of something a script calls `name`.
    pub fn full_name(&self, name: &str) -> String {
        format!("{}-{name}", self.lab.id)
    }

    /// Makes a container; it is not started.
    pub async fn create(&self, new: NewContainer) -> Result<String, Error> {
        let ports = |each: &Published| format!("{}/tcp", each.port);
        let bindings = new.ports.iter().map(|each| {
            let binding = PortBinding {
                host_ip: Some("127.0.0.1".into()),
                host_port: Some(each.host.map(|port| port.to_string()).unwrap_or_default()),
            };
            (ports(each), Some(vec![binding]))
        });
        let mounts = new.volumes.iter().map(|(path, volume)| Mount {
            target: Some(path.clone()),
            source: Some(volume.clone()),
            typ: Some(MountType::VOLUME),
            ..Mount::default()
        });
        let endpoint = EndpointSettings {
            aliases: Some(new.aliases.clone()),
            ..EndpointSettings::default()
        };
        let network = new.network.clone();
        let body = ContainerCreateBody {
            image: Some(new.image.clone()),
            cmd: new.command.clone(),
            entrypoint: new.entrypoint.clone(),
            env: Some(new.env.clone()),
            user: new.user.clone(),
            working_dir: new.cwd.clone(),
            labels: Some(self.lab.labels(ROLE)),
            exposed_ports: Some(new.ports.iter().map(ports).collect()),
            networking_config: network.clone().map(|network| NetworkingConfig {
                endpoints_config: Some(HashMap::from([(network, endpoint)])),
            }),
            host_config: Some(HostConfig {
                network_mode: network,
                port_bindings: Some(bindings.collect()),
                mounts: Some(mounts.collect()),
                memory: new.memory,
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let options = CreateContainerOptionsBuilder::new().name(&new.name).build();
        match self.docker().create_container(Some(options), body).await {
            Ok(made) => Ok(made.id),
            Err(error) if status(&error) == Some(404) => Err(Error::NoImage {
                image: new.image,
                tried: vec![error.to_string()],
            }),
            Err(error) => Err(Error::api("create container", new.name)(error)),
        }
    }

    /// Does something to a container. Removing one that is gone is done already.
    pub async fn act(&self, container: &str, action: Action) -> Result<(), Error> {
        let docker = self.docker();
        let (doing, done) = match action {
            Action::Start => ("start", docker.start_container(container, None).await),
            Action::Stop(seconds) => {
                let options = StopContainerOptionsBuilder::new().t(seconds).build();
                (
                    "stop",
                    docker.stop_container(container, Some(options)).await,
                )
            }
            Action::Restart(seconds) => {
                let options = RestartContainerOptionsBuilder::new().t(seconds).build();
                (
                    "restart",
                    docker.restart_container(container, Some(options)).await,
                )
            }
            Action::Kill(signal) => {
                let options = KillContainerOptionsBuilder::new().signal(&signal).build();
                (
                    "kill",
                    docker.kill_container(container, Some(options)).await,
                )
            }
            Action::Pause => ("pause", docker.pause_container(container).await),
            Action::Unpause => ("unpause", docker.unpause_container(container).await),
            Action::Remove => return remove_container(self.engine(), container).await,
        };
        done.map_err(|error| match error.to_string() {
            text if text.contains("port is already allocated")
                || text.contains("address already in use") =>
            {
                Error::PublishedPortTaken { reason: text }
            }
            _ => self.gone_or(doing, container, container, error),
        })
    }

    /// What the engine knows of a container, as JSON.
    pub async fn inspect(&self, container: &str) -> Result<serde_json::Value, Error> {
        let found = self.docker().inspect_container(container, None).await;
        let found = found.map_err(|error| self.gone_or("inspect", container, container, error))?;
        serde_json::to_value(found).map_err(|error| Error::Answer {
            what: container.to_string(),
            reason: error.to_string(),
        })
    }

    /// What the container's first process wrote. `follow`: and what it writes, until it ends.
    pub fn logs(&self, container: &str, follow: bool, tail: Option<u64>) -> Parts {
        let (docker, container) = (self.docker().clone(), container.to_string());
        Parts::of(move || {
            let tail = tail.map_or_else(|| "all".into(), |lines| lines.to_string());
            let options = LogsOptionsBuilder::new()
                .stdout(true)
                .stderr(true)
                .follow(follow)
                .tail(&tail)
                .build();
            let lines = docker.logs(&container, Some(options));
            lines.map(move |line| {
                line.map(part)
                    .map_err(Error::api("read the log of", &container))
            })
        })
    }

    /// Unpacks a tar archive below a folder of the container.
    pub async fn upload(&self, container: &str, folder: &str, tar: Vec<u8>) -> Result<(), Error> {
        let options = UploadToContainerOptionsBuilder::new().path(folder).build();
        let body = body_full(tar.into());
        let done = self
            .docker()
            .upload_to_container(container, Some(options), body)
            .await;
        done.map_err(|error| file_error("copy into", container, folder, error))
    }

    /// A file or folder of the container, as a tar archive.
    pub async fn download(&self, container: &str, path: &str) -> Result<Vec<u8>, Error> {
        let options = DownloadFromContainerOptionsBuilder::new()
            .path(path)
            .build();
        let mut stream = std::pin::pin!(
            self.docker()
                .download_from_container(container, Some(options))
        );
        let mut bytes = Vec::new();
        while let Some(part) = stream.next().await {
            let part = part.map_err(|error| file_error("copy from", container, path, error))?;
            bytes.extend_from_slice(&part);
        }
        Ok(bytes)
    }

    /// Makes a network of containers.
    pub async fn create_network(&self, name: &str, internal: bool) -> Result<(), Error> {
        let request = NetworkCreateRequest {
            name: name.to_string(),
            driver: Some("bridge".into()),
            internal: Some(internal),
            labels: Some(self.lab.labels(ROLE)),
            ..NetworkCreateRequest::default()
        };
        let made = self.docker().create_network(request).await;
        made.map(|_| ()).map_err(Error::api("create network", name))
    }

    pub async fn create_volume(&self, name: &str) -> Result<(), Error> {
        self.lab.ensure_volume(name, ROLE).await
    }

    /// Removes a network; one that is gone is removed already.
    pub async fn remove_network(&self, name: &str) -> Result<(), Error> {
        match self.docker().remove_network(name).await {
            Err(error) if status(&error) != Some(404) => {
                Err(Error::api("remove network", name)(error))
            }
            _ => Ok(()),
        }
    }

    /// Removes a volume; one that is gone is removed already.
    pub async fn remove_volume(&self, name: &str) -> Result<(), Error> {
        let options = RemoveVolumeOptionsBuilder::new().build();
        match self.docker().remove_volume(name, Some(options)).await {
            Err(error) if status(&error) != Some(404) => {
                Err(Error::api("remove volume", name)(error))
            }
            _ => Ok(()),
        }
    }
}

/// Whether a published port has a server behind it. The engine's own proxy accepts connections for a port
/// nobody listens on, and closes them at once.
pub async fn answers(address: &str, port: u16) -> bool {
    const PATIENCE: Duration = Duration::from_secs(1);
    const HANG_UP: Duration = Duration::from_millis(50);
    let connect = tokio::net::TcpStream::connect((address, port));
    let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, connect).await else {
        return false;
    };
    let mut byte = [0u8; 1];
    match tokio::time::timeout(HANG_UP, stream.peek(&mut byte)).await {
        Ok(Ok(read)) => read > 0,
        Ok(Err(_)) => false,
        Err(_) => true,
    }
}

/// A missing path and a missing container are both 404; the message tells.
fn file_error(
    doing: &'static str,
    container: &str,
    path: &str,
    error: bollard::errors::Error,
) -> Error {
    let what = format!("{path} of container {container}");
    match status(&error) {
        Some(404) if error.to_string().contains("No such container:") => Error::Gone {
            container: container.to_string(),
        },
        _ => Error::api(doing, what)(error),
    }
}
