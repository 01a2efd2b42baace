//! Removing what rpitr's labels mark, and nothing else.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::{Duration, Instant};

use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptionsBuilder,
    RemoveVolumeOptionsBuilder,
};

use futures_util::future::{join, join_all};

use super::containers::remove_container;
use super::error::status;
use super::lab::{LABEL_HOST, LABEL_LAB, LABEL_STATE, this_host};
use super::{Engine, Error};

/// Volumes and networks are in use for a moment after their containers are gone.
const SETTLE: Duration = Duration::from_secs(15);

/// What a lab has on an engine.
#[derive(Debug, Default)]
struct Marked {
    containers: Vec<String>,
    networks: Vec<String>,
    volumes: Vec<String>,
    labels: HashMap<String, String>,
}

impl Engine {
    /// Everything with rpitr's label, by lab; of one lab if it is given.
    async fn marked(&self, lab: Option<&str>) -> Result<BTreeMap<String, Marked>, Error> {
        let label = match lab {
            Some(lab) => format!("{LABEL_LAB}={lab}"),
            None => LABEL_LAB.to_string(),
        };
        let filters = HashMap::from([("label", vec![label])]);
        let mut found: BTreeMap<String, Marked> = BTreeMap::new();
        let mut add = |labels: HashMap<String, String>,
                       name: String,
                       kind: fn(&mut Marked) -> &mut Vec<String>| {
            // The filter said so; this is what decides.
            if let Some(id) = labels
                .get(LABEL_LAB)
                .filter(|id| lab.is_none_or(|lab| lab == *id))
            {
                let marked = found.entry(id.clone()).or_default();
                kind(marked).push(name);
                marked.labels = labels;
            }
        };
        let options = ListContainersOptionsBuilder::new()
            .all(true)
            .filters(&filters)
            .build();
        let containers = self.docker.list_containers(Some(options)).await;
        for container in containers.map_err(Error::api("list", "containers"))? {
            if let (Some(labels), Some(id)) = (container.labels, container.id) {
                add(labels, id, |marked| &mut marked.containers);
            }
        }
        let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
        let networks = self.docker.list_networks(Some(options)).await;
        for network in networks.map_err(Error::api("list", "networks"))? {
            if let (Some(labels), Some(id)) = (network.labels, network.id) {
                add(labels, id, |marked| &mut marked.networks);
            }
        }
        let options = ListVolumesOptionsBuilder::new().filters(&filters).build();
        let volumes = self.docker.list_volumes(Some(options)).await;
        let volumes = volumes.map_err(Error::api("list", "volumes"))?.volumes;
        for volume in volumes.unwrap_or_default() {
            add(volume.labels, volume.name, |marked| &mut marked.volumes);
        }
        Ok(found)
    }

    /// Removes what a lab has on the engine; returns how many containers there were. Again, if it was cut
    /// short.
    pub async fn remove_lab(&self, lab: &str) -> Result<usize, Error> {
        let mut removed = 0;
        let deadline = Instant::now() + SETTLE;
        loop {
            let Some(marked) = self.marked(Some(lab)).await?.remove(lab) else {
                return Ok(removed);
            };
            removed += marked.containers.len();
            match self.remove_marked(&marked).await {
                Err(error) if Instant::now() >= deadline => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
                Ok(()) => {}
            }
        }
    }

    async fn remove_marked(&self, marked: &Marked) -> Result<(), Error> {
        let gone = marked
            .containers
            .iter()
            .map(|name| remove_container(self, name));
        for outcome in join_all(gone).await {
            outcome?;
        }
        let networks =
            marked
                .networks
                .iter()
                .map(async |name| match self.docker.remove_network(name).await {
                    Err(error) if status(&error) != Some(404) => {
                        Err(Error::api("remove network", name)(error))
                    }
                    _ => Ok(()),
                });
        let volumes = marked.volumes.iter().map(async |name| {
            let options = RemoveVolumeOptionsBuilder::new().build();
            match self.docker.remove_volume(name, Some(options)).await {
                Err(error) if status(&error) != Some(404) => {
                    Err(Error::api("remove volume", name)(error))
                }
                _ => Ok(()),
            }
        });
        let (networks, volumes) = join(join_all(networks), join_all(volumes)).await;
        networks.into_iter().chain(volumes).collect()
    }

    /// Labs this machine made: of this state root, or of one that is gone.
    pub async fn labs_of(&self, state_root: &Path) -> Result<Vec<String>, Error> {
        let here = this_host();
        let ours = |labels: &HashMap<String, String>| {
            let state = labels.get(LABEL_STATE).map(Path::new);
            labels.get(LABEL_HOST) == Some(&here)
                && state.is_some_and(|state| state == state_root || !state.exists())
        };
        let found = self.marked(None).await?.into_iter();
        Ok(found
            .filter(|(_, marked)| ours(&marked.labels))
            .map(|(lab, _)| lab)
            .collect())
    }
}
