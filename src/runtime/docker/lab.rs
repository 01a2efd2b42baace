//! What the nodes of one lab share: the engine, names, labels, networks, the volume with archive and
//! backups.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest, VolumeCreateRequest};

use bollard::query_parameters::RemoveVolumeOptionsBuilder;

use super::containers::Found;
use super::error::status;
use super::view::Mirror;
use super::{Engine, Error};
use crate::runtime::{LabRecord, StateRoot};

/// Everything rpitr makes carries these.
pub(super) const LABEL_LAB: &str = "rpitr.lab";
pub(super) const LABEL_RUN: &str = "rpitr.run";
pub(super) const LABEL_ROLE: &str = "rpitr.role";
/// The state root whose registry knows the lab, and its machine: an engine may serve several.
pub(super) const LABEL_STATE: &str = "rpitr.state";
pub(super) const LABEL_HOST: &str = "rpitr.host";

/// A lab on a Docker engine.
#[derive(Debug)]
pub struct DockerLab {
    pub(super) engine: Engine,
    pub(super) id: String,
    run: String,
    pub(super) lab_dir: PathBuf,
    state_root: PathBuf,
    /// Networks and volumes that are there.
    made: RefCell<HashSet<String>>,
    /// What the images used so far hold.
    pub(super) found: RefCell<HashMap<String, Found>>,
    pub(super) mirror: tokio::sync::Mutex<Mirror>,
    pub(super) beside: super::standing::Beside,
}

static MAKING_NETWORK: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

impl DockerLab {
    /// The lab of a record. It is known to [`super::local_view`] as long as somebody holds it.
    pub(in crate::runtime) fn new(
        engine: Engine,
        record: &LabRecord,
        state_root: &Path,
    ) -> Rc<Self> {
        let lab = Rc::new(DockerLab {
            engine,
            id: record.id.clone(),
            run: record.run.clone(),
            lab_dir: record.lab_dir.clone(),
            state_root: state_root.to_path_buf(),
            made: RefCell::default(),
            found: RefCell::default(),
            mirror: tokio::sync::Mutex::default(),
            beside: super::standing::Beside::new(),
        });
        super::view::remember(&lab);
        lab
    }

    /// Refuses to make anything for a lab that another process has removed meanwhile: nobody would find it.
    pub(super) fn must_exist(&self) -> Result<(), Error> {
        let registry = StateRoot::registry_of(&self.state_root);
        match registry.knows(&self.id) {
            true => Ok(()),
            false => Err(Error::LabGone {
                lab: self.id.clone(),
            }),
        }
    }

    pub(super) fn container(&self, node: &str) -> String {
        format!("{}-{node}", self.id)
    }

    /// The volume of the archive and the backups.
    pub(super) fn store(&self) -> String {
        format!("{}-store", self.id)
    }

    pub(super) fn data_volume(&self, node: &str) -> String {
        format!("{}-{node}-data", self.id)
    }

    /// Nodes reach each other in one network. A sandbox is in another: nothing in it can reach, or be
    /// reached by, what it was restored from.
    pub(super) fn network(&self, private: bool) -> String {
        match private {
            true => format!("{}-private", self.id),
            false => self.id.clone(),
        }
    }

    pub(super) fn labels(&self, role: &str) -> HashMap<String, String> {
        let state = self.state_root.display().to_string();
        [
            (LABEL_LAB, self.id.clone()),
            (LABEL_RUN, self.run.clone()),
            (LABEL_ROLE, role.to_string()),
            (LABEL_STATE, state),
            (LABEL_HOST, this_host()),
        ]
        .map(|(name, value)| (name.to_string(), value))
        .into()
    }

    /// Makes the network if it is not there.
    pub(super) async fn ensure_network(&self, private: bool) -> Result<String, Error> {
        let name = self.network(private);
        if self.made.borrow().contains(&name) {
            return Ok(name);
        }
        // The engine makes two networks of one name when two sandboxes ask at once.
        let _one = MAKING_NETWORK.lock().await;
        let there = match self.engine.docker.inspect_network(&name, None).await {
            Ok(_) => true,
            Err(error) if status(&error) == Some(404) => false,
            Err(error) => return Err(Error::api("inspect network", &name)(error)),
        };
        if !there {
            self.create_network(&name, None).await?;
            if !private && let Some(ipam) = self.subnet(&name).await? {
                let gone = self.engine.docker.remove_network(&name).await;
                gone.map_err(Error::api("remove network", &name))?;
                if self.create_network(&name, Some(ipam)).await.is_err() {
                    self.create_network(&name, None).await?;
                }
            }
        }
        self.made.borrow_mut().insert(name.clone());
        Ok(name)
    }

    async fn create_network(&self, name: &str, ipam: Option<Ipam>) -> Result<(), Error> {
        let request = NetworkCreateRequest {
            name: name.to_string(),
            driver: Some("bridge".into()),
            labels: Some(self.labels("network")),
            ipam,
            ..NetworkCreateRequest::default()
        };
        let made = self.engine.docker.create_network(request).await;
        made.map(|_| ()).map_err(Error::api("create network", name))
    }

    /// The subnet the engine chose, to be asked for: only in a network whose subnet was asked for can a
    /// container that was disconnected have its address back.
    async fn subnet(&self, name: &str) -> Result<Option<Ipam>, Error> {
        let found = self.engine.docker.inspect_network(name, None).await;
        let ipam = found.map_err(Error::api("inspect network", name))?.ipam;
        let config = ipam.and_then(|ipam| ipam.config).unwrap_or_default();
        let config: Vec<IpamConfig> = config
            .into_iter()
            .filter(|config| config.subnet.is_some())
            .collect();
        Ok((!config.is_empty()).then(|| Ipam {
            config: Some(config),
            ..Ipam::default()
        }))
    }

    /// Makes a volume; one of that name that is there already is the lab's own.
    pub(super) async fn ensure_volume(&self, name: &str, role: &str) -> Result<(), Error> {
        if self.made.borrow().contains(name) {
            return Ok(());
        }
        let request = VolumeCreateRequest {
            name: Some(name.to_string()),
            labels: Some(self.labels(role)),
            ..VolumeCreateRequest::default()
        };
        let made = self.engine.docker.create_volume(request).await;
        made.map_err(Error::api("create volume", name))?;
        self.made.borrow_mut().insert(name.to_string());
        Ok(())
    }

    /// Removes what is a node's own: its container and the volume with its data.
    pub(in crate::runtime) async fn remove_node(&self, node: &str) -> Result<(), Error> {
        self.remove_container(&self.container(node)).await?;
        let volume = self.data_volume(node);
        let options = RemoveVolumeOptionsBuilder::new().build();
        self.made.borrow_mut().remove(&volume);
        match self
            .engine
            .docker
            .remove_volume(&volume, Some(options))
            .await
        {
            Err(error) if status(&error) != Some(404) => {
                Err(Error::api("remove volume", volume)(error))
            }
            _ => Ok(()),
        }
    }

    /// Makes a folder below the archive or the backups.
    pub async fn make_dir(&self, path: &Path) -> Result<(), Error> {
        let container = self.any_container().await?;
        let text = path.display().to_string();
        self.engine
            .must(
                &container,
                ("create", &text),
                "umask 077; mkdir -p -- \"$1\"",
                &[&text],
                None,
            )
            .await?;
        Ok(())
    }
}

/// This machine, as labels name it.
pub(super) fn this_host() -> String {
    nix::unistd::gethostname()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}
