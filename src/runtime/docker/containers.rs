//! The containers of a lab: making one for a node, finding it, starting it again.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, EndpointSettings, HealthConfig, HostConfig, Mount, MountType,
    NetworkingConfig, PortBinding,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder,
};

use futures_util::future::try_join3;

use super::error::status;
use super::lab::LABEL_LAB;
use super::{DockerLab, Error, archive};
use crate::runtime::{ContainerRecord, NodeRecord};

/// The server's port inside every container.
pub(super) const SERVER_PORT: u16 = 5432;
/// Where the server's socket is.
pub(super) const SOCKET_DIR: &str = "/tmp";
/// What a container must have been made with to be used as it is.
const LABEL_SHAPE: &str = "rpitr.shape";
const KEEPER: &str = "keeper";

/// The first process of a container: gives the node's folder to the server's user, idles, and reaps what
/// the server leaves behind.
const IDLE: &str = r#"trap 'exit 0' TERM INT
if [ -n "$1" ]; then chmod 700 "$1"; chgrp "$(id -g postgres)" "$1"; chown postgres "$1"; fi
while :; do sleep 86400 & wait $!; done"#;

/// Waits until the first process has done so.
const OWNED: &str = r#"n=0
until [ -O "$1" ]; do
  n=$((n + 1)); [ $n -le 500 ] || { echo "$1 does not belong to the server's user" >&2; exit 1; }
  sleep 0.02
done"#;

/// Prepares the lab's volume and finds PostgreSQL. The two lines of input are the superuser's password and
/// its pass file entry.
const PREPARE: &str = r#"set -eu
lab=$1
IFS= read -r password || :
IFS= read -r pgpass || :
umask 077
own() { chown postgres "$@" && chgrp "$(id -g postgres)" "$@"; }
own "$lab"
for d in archive backup bin; do
  mkdir -p "$lab/$d"; own "$lab/$d"
done
chmod 700 "$lab"
put() {
  [ -e "$1" ] && return 0
  printf '%s\n' "$2" >"$1.new"; own "$1.new"; mv "$1.new" "$1"
}
if [ -n "$password" ]; then put "$lab/password" "$password"; put "$lab/pgpass" "$pgpass"; fi
put "$lab/bin/rpitr-archive" "$2"
found=
for p in "$(command -v postgres || :)" /usr/lib/postgresql/*/bin/postgres /usr/pgsql-*/bin/postgres \
  /usr/local/pgsql/bin/postgres /opt/*/postgresql/bin/postgres; do
  if [ -n "$p" ] && [ -x "$p" ]; then found=$p; break; fi
done
[ -n "$found" ] || { echo "no program named postgres was found" >&2; exit 3; }
found=$(readlink -f "$found")
dirname "$found"
"$found" --version"#;

/// What the engine says about a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub running: bool,
    pub paused: bool,
}

/// What a container's preparation found out.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub bin_dir: String,
    /// `15.14`
    pub version: String,
    pub major: u32,
}

impl DockerLab {
    /// The state of a container; `None` when there is none.
    pub(super) async fn inspect(&self, container: &str) -> Result<Option<Seen>, Error> {
        Ok(self.look(container).await?.map(|(seen, _)| seen))
    }

    async fn look(&self, container: &str) -> Result<Option<(Seen, String)>, Error> {
        let found = match self.engine.docker.inspect_container(container, None).await {
            Ok(found) => found,
            Err(error) if status(&error) == Some(404) => return Ok(None),
            Err(error) => return Err(Error::api("inspect container", container)(error)),
        };
        let state = found.state.unwrap_or_default();
        let labels = found.config.and_then(|config| config.labels);
        let shape = labels.and_then(|mut labels| labels.remove(LABEL_SHAPE));
        let seen = Seen {
            running: state.running == Some(true),
            paused: state.paused == Some(true),
        };
        Ok(Some((seen, shape.unwrap_or_default())))
    }

    /// Makes the container of a node, or another one if it was made for another port or network, and
    /// sees to it that it runs. One that was removed behind our back is made anew: its data is in
    /// volumes.
    pub(super) async fn ensure_node(
        &self,
        node: &NodeRecord,
    ) -> Result<(String, Option<Found>), Error> {
        let name = self.container(&node.name);
        let wanted = shape(node);
        match self.look(&name).await? {
            Some((seen, found)) if found == wanted => {
                if !seen.running {
                    self.start_container(&name, node.port).await?;
                }
                Ok((name, None))
            }
            there => {
                if there.is_some() {
                    self.remove_container(&name).await?;
                }
                let found = self.make_node(&name, node, wanted).await?;
                Ok((name, Some(found)))
            }
        }
    }

    async fn make_node(
        &self,
        name: &str,
        node: &NodeRecord,
        shape: String,
    ) -> Result<Found, Error> {
        self.must_exist()?;
        let made = node.container.clone().unwrap_or_default();
        let (volume, store) = (self.data_volume(&node.name), self.store());
        let (network, _, _) = try_join3(
            self.ensure_network(made.private),
            self.ensure_volume(&store, "store"),
            self.ensure_volume(&volume, "data"),
        )
        .await?;
        let dir = node.dir.display().to_string();
        let mut body = self.body(&made, &node.role, &dir);
        if let Some(labels) = &mut body.labels {
            labels.insert(LABEL_SHAPE.into(), shape);
        }
        body.hostname = Some(node.name.clone());
        let port = format!("{SERVER_PORT}/tcp");
        body.exposed_ports = Some(vec![port.clone()]);
        let endpoint = EndpointSettings {
            aliases: Some(vec![node.name.clone()]),
            ..EndpointSettings::default()
        };
        body.networking_config = Some(NetworkingConfig {
            endpoints_config: Some(HashMap::from([(network.clone(), endpoint)])),
        });
        if let Some(host) = &mut body.host_config {
            let published = PortBinding {
                host_ip: Some(self.engine.publish_on()?),
                host_port: Some(node.port.to_string()),
            };
            host.network_mode = Some(network);
            host.port_bindings = Some(HashMap::from([(port, Some(vec![published]))]));
            let mounts = host.mounts.get_or_insert_default();
            mounts.push(mount(volume, dir.clone()));
            for other in &made.reads {
                let target = self.lab_dir.join(other).display().to_string();
                mounts.push(Mount {
                    read_only: Some(true),
                    ..mount(self.data_volume(other), target)
                });
            }
        }
        self.create_and_start(name, body, node.port).await?;
        let known = self.found.borrow().get(&made.image).cloned();
        let found = match known {
            Some(found) => found,
            None => self.prepare(name, &made.image).await?,
        };
        let what = ("prepare", dir.as_str());
        self.engine.must(name, what, OWNED, &[&dir], None).await?;
        Ok(found)
    }

    /// What every container of the lab has in common.
    fn body(&self, made: &ContainerRecord, role: &str, dir: &str) -> ContainerCreateBody {
        let in_memory = |path: &String| (path.clone(), "size=16m".to_string());
        let mut mounts = vec![mount(self.store(), self.lab_dir.display().to_string())];
        mounts.extend(self.standing_archive().map(|(volume, path)| Mount {
            read_only: Some(true),
            ..mount(volume, path)
        }));
        ContainerCreateBody {
            image: Some(made.image.clone()),
            entrypoint: Some(vec!["/bin/sh".into(), "-c".into(), IDLE.into()]),
            cmd: Some(vec!["rpitr".into(), dir.into()]),
            user: Some("0".into()),
            working_dir: Some("/".into()),
            env: Some(vec![format!("RPITR_LAB={}", self.id)]),
            labels: Some(self.labels(role)),
            stop_signal: Some("SIGTERM".into()),
            // The image's own check would look for a server that its entrypoint did not start.
            healthcheck: Some(HealthConfig {
                test: Some(vec!["NONE".into()]),
                ..HealthConfig::default()
            }),
            host_config: Some(HostConfig {
                mounts: Some(mounts),
                // Volumes the image declares would be left behind without a name.
                tmpfs: Some(made.volumes.iter().map(in_memory).collect()),
                shm_size: Some(256 << 20),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        }
    }

    async fn create_and_start(
        &self,
        name: &str,
        body: ContainerCreateBody,
        port: u16,
    ) -> Result<(), Error> {
        let options = CreateContainerOptionsBuilder::new().name(name).build();
        let created = self
            .engine
            .docker
            .create_container(Some(options), body)
            .await;
        created.map_err(Error::api("create container", name))?;
        self.start_container(name, port).await
    }

    pub(super) async fn start_container(&self, name: &str, port: u16) -> Result<(), Error> {
        let started = self.engine.docker.start_container(name, None).await;
        started.map_err(|error| {
            let reason = error.to_string();
            let taken = ["port is already allocated", "address already in use"];
            match taken.iter().any(|text| reason.contains(text)) {
                true => Error::PortTaken { port, reason },
                false => Error::api("start container", name)(error),
            }
        })
    }

    async fn prepare(&self, container: &str, image: &str) -> Result<Found, Error> {
        let read = |name| std::fs::read_to_string(self.lab_dir.join(name)).unwrap_or_default();
        let (password, pgpass) = (read("password"), read("pgpass"));
        let lines = format!("{}\n{}\n", password.trim_end(), pgpass.trim_end());
        let lab_dir = self.lab_dir.display().to_string();
        let args = [lab_dir.as_str(), archive::SCRIPT];
        let output = self
            .engine
            .script_as("0", container, PREPARE, &args, Some(lines.into_bytes()))
            .await?;
        let bad = |reason: String| Error::BadImage {
            image: image.to_string(),
            reason,
        };
        if output.code != 0 {
            return Err(bad(String::from_utf8_lossy(&output.stderr)
                .trim()
                .to_string()));
        }
        let text = output.text();
        let mut lines = text.lines();
        let bin_dir = lines.next().unwrap_or_default().to_string();
        // postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)
        let said = lines.next().unwrap_or_default();
        let version = said.split(' ').nth(2).unwrap_or_default().to_string();
        let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
        let Ok(major) = digits.parse() else {
            return Err(bad(format!("it says \"{said}\"")));
        };
        let found = Found {
            bin_dir,
            version,
            major,
        };
        let mut known = self.found.borrow_mut();
        known.insert(image.to_string(), found.clone());
        Ok(found)
    }

    pub(super) async fn remove_container(&self, name: &str) -> Result<(), Error> {
        remove_container(&self.engine, name).await
    }

    /// A container that can reach the archive and the backups: a node's that runs, or one of their own.
    pub(super) async fn any_container(&self) -> Result<String, Error> {
        let filters = HashMap::from([
            ("label", vec![format!("{LABEL_LAB}={}", self.id)]),
            ("status", vec!["running".to_string()]),
        ]);
        let options = ListContainersOptionsBuilder::new()
            .filters(&filters)
            .build();
        let running = self.engine.docker.list_containers(Some(options)).await;
        let running = running.map_err(Error::api("list", "containers"))?;
        let usable = running.into_iter().find_map(|container| {
            let paused = container.status.is_some_and(|text| text.contains("Paused"));
            (!paused).then_some(container.id).flatten()
        });
        match usable {
            Some(id) => Ok(id),
            None => self.keeper().await,
        }
    }

    async fn keeper(&self) -> Result<String, Error> {
        let name = self.container(KEEPER);
        if self.inspect(&name).await?.is_some() {
            self.remove_container(&name).await?;
        }
        let (made, _) = self.node_image(None).await?;
        self.ensure_volume(&self.store(), "store").await?;
        let mut body = self.body(&made, KEEPER, "");
        if let Some(host) = &mut body.host_config {
            host.network_mode = Some("none".into());
        }
        self.create_and_start(&name, body, 0).await?;
        self.prepare(&name, &made.image).await?;
        Ok(name)
    }
}

/// Removes a container with its unnamed volumes; one that is gone, or going, is fine.
pub(super) async fn remove_container(engine: &super::Engine, name: &str) -> Result<(), Error> {
    let options = RemoveContainerOptionsBuilder::new()
        .force(true)
        .v(true)
        .build();
    engine.sessions.forget(name);
    match engine.docker.remove_container(name, Some(options)).await {
        Err(error) if !matches!(status(&error), Some(404 | 409)) => {
            Err(Error::api("remove container", name)(error))
        }
        _ => Ok(()),
    }
}

fn mount(volume: String, target: String) -> Mount {
    Mount {
        source: Some(volume),
        target: Some(target),
        typ: Some(MountType::VOLUME),
        ..Mount::default()
    }
}

/// What cannot be changed on a container that exists.
fn shape(node: &NodeRecord) -> String {
    let made = node.container.clone().unwrap_or_default();
    format!("{} {} {}", made.image, node.port, made.private)
}
