//! What only a container can do: pull its network cable, limit its resources, be looked at.

use bollard::models::{
    ContainerUpdateBody, EndpointIpamConfig, EndpointSettings, NetworkConnectRequest,
    NetworkDisconnectRequest,
};

use super::error::status;
use super::node::DockerNode;
use crate::runtime::Error;

/// Limits of a node's container; `None` leaves one as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Limits {
    /// Bytes, swap included.
    pub memory: Option<i64>,
    pub cpus: Option<f64>,
    pub pids: Option<i64>,
}

/// What the engine knows of a node's container.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inspection {
    pub container: String,
    pub image: String,
    pub running: bool,
    pub paused: bool,
    pub oom_killed: bool,
    pub exit_code: Option<i64>,
    /// Networks, each with the node's address in it.
    pub networks: Vec<(String, String)>,
    pub memory: Option<i64>,
}

impl DockerNode {
    fn network(&self) -> String {
        let private = self
            .record
            .borrow()
            .container
            .as_ref()
            .map(|made| made.private);
        self.lab.network(private.unwrap_or(false))
    }

    /// Pulls the network cable: other nodes and the script lose the server, connections hang.
    pub async fn disconnect(&self) -> Result<(), Error> {
        let (container, network) = (self.container(), self.network());
        let seen = self.inspection().await?;
        let address = seen.networks.into_iter().find(|(name, _)| *name == network);
        let Some((_, address)) = address else {
            return Ok(());
        };
        self.address.replace(Some(address));
        let request = NetworkDisconnectRequest {
            container: container.clone(),
            force: Some(true),
        };
        let done = self
            .lab
            .engine
            .docker
            .disconnect_network(&network, request)
            .await;
        Ok(done.map_err(super::Error::api("disconnect container", container))?)
    }

    /// The address it had in its network, for a handle that did not take it off.
    pub fn remember_address(&self, address: Option<String>) {
        self.address.replace(address);
    }

    /// This machine's address in the lab's network: what the nodes reach a proxy at.
    pub async fn gateway(&self) -> Result<Option<String>, Error> {
        let network = self.network();
        let found = self.lab.engine.docker.inspect_network(&network, None).await;
        let found = found.map_err(super::Error::api("inspect network", &network))?;
        let configs = found.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
        Ok(configs.into_iter().find_map(|config| config.gateway))
    }

    /// Plugs it in again: the same names, the same published port, the same address unless somebody has
    /// taken it.
    pub async fn reconnect(&self) -> Result<(), Error> {
        let (container, network) = (self.container(), self.network());
        let seen = self.inspection().await?;
        if seen.networks.iter().any(|(name, _)| *name == network) {
            return Ok(());
        }
        let address = self.address.take().filter(|address| !address.is_empty());
        let mut failed = None;
        for address in [address, None] {
            let wanted = address.map(|address| EndpointIpamConfig {
                ipv4_address: Some(address),
                ..EndpointIpamConfig::default()
            });
            let request = NetworkConnectRequest {
                container: container.clone(),
                endpoint_config: Some(EndpointSettings {
                    aliases: Some(vec![self.name()]),
                    ipam_config: wanted,
                    ..EndpointSettings::default()
                }),
            };
            match self
                .lab
                .engine
                .docker
                .connect_network(&network, request)
                .await
            {
                Ok(()) => return Ok(()),
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) => Err(super::Error::api("reconnect container", container)(error).into()),
            None => Ok(()),
        }
    }

    /// Limits memory, processors or processes of the running node.
    pub async fn limit(&self, limits: Limits) -> Result<(), Error> {
        let container = self.up().await?;
        let body = ContainerUpdateBody {
            memory: limits.memory,
            memory_swap: limits.memory,
            nano_cpus: limits.cpus.map(|cpus| (cpus * 1e9) as i64),
            pids_limit: limits.pids,
            ..ContainerUpdateBody::default()
        };
        let done = self
            .lab
            .engine
            .docker
            .update_container(&container, body)
            .await;
        Ok(done.map_err(super::Error::api("limit container", container))?)
    }

    /// What the engine knows of the container.
    pub async fn inspection(&self) -> Result<Inspection, Error> {
        let container = self.container();
        let found = match self
            .lab
            .engine
            .docker
            .inspect_container(&container, None)
            .await
        {
            Ok(found) => found,
            Err(error) if status(&error) == Some(404) => {
                return Err(super::Error::Gone { container }.into());
            }
            Err(error) => return Err(super::Error::api("inspect", container)(error).into()),
        };
        let state = found.state.unwrap_or_default();
        let networks = found
            .network_settings
            .and_then(|settings| settings.networks);
        let address = |(name, endpoint): (String, EndpointSettings)| {
            (name, endpoint.ip_address.unwrap_or_default())
        };
        Ok(Inspection {
            container,
            image: found
                .config
                .and_then(|config| config.image)
                .unwrap_or_default(),
            running: state.running == Some(true),
            paused: state.paused == Some(true),
            oom_killed: state.oom_killed == Some(true),
            exit_code: state.exit_code,
            networks: networks
                .unwrap_or_default()
                .into_iter()
                .map(address)
                .collect(),
            memory: found.host_config.and_then(|host| host.memory),
        })
    }
}
