//! Containers of a standing environment: compose made them, rpitr only looks at them, runs programs in
//! them, and stops and starts them. They are found by their labels.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use bollard::models::{ContainerInspectResponse, EndpointSettings, NetworkConnectRequest};
use bollard::query_parameters::{
    DownloadFromContainerOptionsBuilder, KillContainerOptionsBuilder, ListContainersOptionsBuilder,
    LogsOptionsBuilder, UploadToContainerOptionsBuilder,
};
use futures_util::StreamExt;

use super::error::status;
use super::exec::Exec;
use super::{DockerLab, DockerNode, Engine, Error, tar};
use crate::runtime::{self, ContainerRecord, ToolOptions, ToolOutput};

/// Which environment a container belongs to, and what it is for.
const LABEL_ENVIRONMENT: &str = "rpitr.environment";
const LABEL_SERVICE: &str = "rpitr.service";
const LABEL_PROJECT: &str = "com.docker.compose.project";
const LABEL_NAME: &str = "com.docker.compose.service";
/// The server's port inside.
const PORT: &str = "5432/tcp";
const POLL: Duration = Duration::from_millis(50);

/// A container of an environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Service {
    pub environment: String,
    pub project: String,
    /// As the compose file calls it.
    pub name: String,
    /// `primary`, `standby`, `receiver`, `target` or `inspector`.
    pub role: String,
    pub container: String,
    pub image: String,
    /// `running`, `paused`, `exited` ...
    pub state: String,
    pub exit_code: i64,
    /// `healthy`, `unhealthy`, `starting`; empty without a check.
    pub health: String,
    /// The published port of the server, and the host it is on.
    pub port: Option<u16>,
    pub host: String,
    pub env: BTreeMap<String, String>,
    /// Volumes by where they are mounted.
    pub volumes: BTreeMap<String, String>,
    pub networks: Vec<String>,
}

/// What a lab takes from the environment it works beside.
#[derive(Debug, Clone)]
pub struct Standing {
    image: ContainerRecord,
    major: u32,
    archive: String,
}

/// What a lab works beside, if anything.
pub(super) type Beside = OnceCell<Standing>;

impl Engine {
    /// The containers of one environment, by its name and project, or of all on the engine.
    pub async fn services(&self, of: Option<(&str, &str)>) -> Result<Vec<Service>, Error> {
        let labels = match of {
            Some((name, project)) => vec![
                format!("{LABEL_ENVIRONMENT}={name}"),
                format!("{LABEL_PROJECT}={project}"),
            ],
            None => vec![LABEL_ENVIRONMENT.to_string()],
        };
        let filters = HashMap::from([("label", labels)]);
        let options = ListContainersOptionsBuilder::new()
            .all(true)
            .filters(&filters)
            .build();
        let listed = self.docker.list_containers(Some(options)).await;
        let mut services = Vec::new();
        for container in listed.map_err(Error::api("list", "containers"))? {
            let id = container.id.unwrap_or_default();
            match self.docker.inspect_container(&id, None).await {
                Ok(found) => services.push(self.service(found)),
                Err(error) if status(&error) == Some(404) => {}
                Err(error) => return Err(Error::api("inspect container", id)(error)),
            }
        }
        services
            .sort_by(|a, b| (&a.project, rank(a), &a.name).cmp(&(&b.project, rank(b), &b.name)));
        Ok(services)
    }

    fn service(&self, found: ContainerInspectResponse) -> Service {
        let config = found.config.unwrap_or_default();
        let labels = config.labels.unwrap_or_default();
        let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
        let state = found.state.unwrap_or_default();
        let health = state.health.and_then(|health| health.status);
        let ports = found
            .host_config
            .and_then(|host| host.port_bindings)
            .unwrap_or_default();
        let published = ports.get(PORT).cloned().flatten().unwrap_or_default();
        let env = config.env.unwrap_or_default();
        let settings = found.network_settings.unwrap_or_default();
        let mounts = found.mounts.unwrap_or_default();
        Service {
            environment: label(LABEL_ENVIRONMENT),
            project: label(LABEL_PROJECT),
            name: label(LABEL_NAME),
            role: label(LABEL_SERVICE),
            container: found.name.unwrap_or_default().trim_matches('/').into(),
            image: config.image.unwrap_or_default(),
            state: state
                .status
                .map(|status| status.to_string())
                .unwrap_or_default(),
            exit_code: state.exit_code.unwrap_or(0),
            health: health.map(|health| health.to_string()).unwrap_or_default(),
            port: published
                .iter()
                .find_map(|binding| binding.host_port.as_ref()?.parse().ok()),
            host: self.host(),
            env: env
                .iter()
                .filter_map(|line| line.split_once('='))
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
            volumes: mounts
                .into_iter()
                .filter_map(|mount| Some((mount.destination?, mount.name?)))
                .collect(),
            networks: settings.networks.unwrap_or_default().into_keys().collect(),
        }
    }

    /// Runs a program in a container of an environment, as the server's user.
    pub async fn run_in(
        &self,
        container: &str,
        program: &str,
        arguments: &[String],
        options: ToolOptions,
    ) -> Result<ToolOutput, runtime::Error> {
        let started = Instant::now();
        let mut command = vec![program.to_string()];
        command.extend_from_slice(arguments);
        let exec = Exec {
            user: "postgres",
            command,
            env: options
                .env
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
            cwd: Some("/".into()),
            stdin: options.stdin.clone(),
            kill_on_drop: true,
        };
        let work = self.exec(container, exec);
        let output = match options.timeout {
            None => work.await?,
            Some(after) => tokio::time::timeout(after, work).await.map_err(|_| {
                let program = program.to_string();
                runtime::Error::ToolTimeout { program, after }
            })??,
        };
        Ok(ToolOutput {
            program: program.to_string(),
            status: output.status(),
            stdout: output.stdout,
            stderr: output.stderr,
            elapsed: started.elapsed(),
        })
    }

    pub async fn start_service(&self, container: &str) -> Result<(), Error> {
        let started = self.docker.start_container(container, None).await;
        started.map_err(Error::api("start container", container))
    }

    /// Sends a signal to the first process of a container and waits until the container has ended.
    pub async fn end_service(
        &self,
        container: &str,
        signal: &str,
        timeout: Duration,
    ) -> Result<(), runtime::Error> {
        let started = Instant::now();
        let options = KillContainerOptionsBuilder::new().signal(signal).build();
        match self.docker.kill_container(container, Some(options)).await {
            // It does not run.
            Err(error) if status(&error) == Some(409) => return Ok(()),
            result => result.map_err(Error::api("signal container", container))?,
        }
        loop {
            let seen = self.docker.inspect_container(container, None).await;
            let seen = seen.map_err(Error::api("inspect container", container))?;
            if seen.state.and_then(|state| state.running) != Some(true) {
                return Ok(());
            }
            if started.elapsed() >= timeout {
                return Err(runtime::Error::Unresponsive {
                    what: format!("container {container}"),
                    waited: timeout,
                    pids: Vec::new(),
                });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    pub async fn freeze_service(&self, container: &str, freeze: bool) -> Result<(), Error> {
        let done = match freeze {
            true => self.docker.pause_container(container).await,
            false => self.docker.unpause_container(container).await,
        };
        done.map_err(Error::api(
            if freeze { "pause" } else { "resume" },
            container,
        ))
    }

    /// What the container's first process wrote, both streams in order.
    pub async fn service_log(&self, container: &str) -> Result<String, Error> {
        let options = LogsOptionsBuilder::new().stdout(true).stderr(true).build();
        let mut stream = std::pin::pin!(self.docker.logs(container, Some(options)));
        let mut log = Vec::new();
        while let Some(part) = stream.next().await {
            let part = part.map_err(Error::api("read the log of", container))?;
            log.extend_from_slice(part.as_ref());
        }
        Ok(String::from_utf8_lossy(&log).into_owned())
    }

    /// A file of a container in any state.
    pub async fn service_file(
        &self,
        container: &str,
        path: &str,
    ) -> Result<Option<Vec<u8>>, Error> {
        let archive = self.service_tar(container, path).await?;
        Ok(archive.and_then(|archive| tar::first_file(&archive).map(<[u8]>::to_vec)))
    }

    /// Replaces a file of a container in any state; owner and mode stay.
    pub async fn replace_service_file(
        &self,
        container: &str,
        path: &str,
        contents: &[u8],
    ) -> Result<(), Error> {
        let old = self.service_tar(container, path).await?;
        let new = old.and_then(|old| tar::replaced(&old, contents));
        let (Some(new), Some((folder, _))) = (new, path.rsplit_once('/')) else {
            return Err(Error::Answer {
                what: format!("{path} in container {container}"),
                reason: "there is no such file".into(),
            });
        };
        let options = UploadToContainerOptionsBuilder::new().path(folder).build();
        let body = bollard::body_full(new.into());
        let sent = self
            .docker
            .upload_to_container(container, Some(options), body)
            .await;
        sent.map_err(Error::api("write", path))
    }

    async fn service_tar(&self, container: &str, path: &str) -> Result<Option<Vec<u8>>, Error> {
        let options = DownloadFromContainerOptionsBuilder::new()
            .path(path)
            .build();
        let download = self
            .docker
            .download_from_container(container, Some(options));
        let mut stream = std::pin::pin!(download);
        let mut bytes = Vec::new();
        while let Some(part) = stream.next().await {
            match part {
                Ok(part) => bytes.extend_from_slice(&part),
                Err(error) if status(&error) == Some(404) => return Ok(None),
                Err(error) => return Err(Error::api("read", path)(error)),
            }
        }
        Ok(Some(bytes))
    }

    /// An image of PostgreSQL this engine holds already, for an environment nobody chose one for.
    pub async fn image_at_hand(&self) -> Result<Option<String>, Error> {
        match self.newest().await? {
            Some(major) => Ok(Some(self.image(Some(major)).await?.name)),
            None => Ok(None),
        }
    }
}

/// The primary first, whoever follows it next.
fn rank(service: &Service) -> usize {
    let order = ["primary", "standby", "receiver", "target"];
    let known = order.iter().position(|role| *role == service.role);
    known.unwrap_or(order.len())
}

impl DockerLab {
    /// Has the lab work beside an environment: nodes are made from the same image, and see the
    /// environment's archive, which they cannot write to.
    pub(in crate::runtime) async fn work_beside(&self, primary: &Service) -> Result<(), Error> {
        let missing = |what: &str| Error::Answer {
            what: format!("container {}", primary.container),
            reason: format!("it has no {what}"),
        };
        let image = self.engine.inspect_image(&primary.image).await?;
        let image = image.ok_or_else(|| missing("image"))?;
        let archive = primary.volumes.get("/archive");
        let _ = self.beside.set(Standing {
            archive: archive.ok_or_else(|| missing("archive"))?.clone(),
            major: image.major,
            image: ContainerRecord {
                image: image.name,
                volumes: image.volumes,
                ..ContainerRecord::default()
            },
        });
        Ok(())
    }

    /// What a node's container is made from.
    pub(in crate::runtime) async fn node_image(
        &self,
        major: Option<u32>,
    ) -> Result<(ContainerRecord, u32), Error> {
        match self.beside.get() {
            Some(standing) => Ok((standing.image.clone(), standing.major)),
            None => self.engine.node_image(major).await,
        }
    }

    /// The volume of the environment's archive, and where the lab's containers see it.
    pub(super) fn standing_archive(&self) -> Option<(String, String)> {
        let standing = self.beside.get()?;
        let path = self.lab_dir.join(ARCHIVE_FOLDER).display().to_string();
        Some((standing.archive.clone(), path))
    }
}

/// Where a lab sees the archive of the environment it works beside.
pub const ARCHIVE_FOLDER: &str = "archive/standing";

impl DockerNode {
    /// Plugs the node into one more network.
    pub async fn join(&self, network: &str) -> Result<(), runtime::Error> {
        let request = NetworkConnectRequest {
            container: self.container(),
            endpoint_config: Some(EndpointSettings::default()),
        };
        let joined = self
            .lab
            .engine
            .docker
            .connect_network(network, request)
            .await;
        Ok(joined.map_err(Error::api("connect a container to", network))?)
    }
}
