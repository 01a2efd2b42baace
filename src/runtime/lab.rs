//! Creating, opening and destroying labs.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use chrono::{SecondsFormat, Utc};

use super::docker::{DockerLab, Engine};
use super::marker::Marker;
use super::process::{self, Wanted};
use super::tool::Launcher;
use super::{
    Error, LabRecord, LocalNode, NodeRecord, ProcessId, Registry, SOCKET_PATH_LIMIT, ServerUser,
    StateRoot, Ties, Use, Visit, helper, ports,
};
use crate::postgres::Install;

/// Where socket directories are made: a path that is always short.
pub(super) const SOCKET_ROOT: &str = "/tmp";

/// What killing a lab's processes may take.
const KILL_TIMEOUT: Duration = Duration::from_secs(15);

/// This machine as a place for labs: a state root and the account servers run as.
#[derive(Debug, Clone)]
pub struct LocalRuntime {
    pub state: StateRoot,
    pub user: ServerUser,
}

impl LocalRuntime {
    /// As the environment of this process says.
    pub fn from_env() -> Result<Self, Error> {
        Self::new(&StateRoot::default_path()?, ServerUser::from_env()?)
    }

    /// For labs whose servers run elsewhere: nothing here needs another account.
    pub fn for_containers() -> Result<Self, Error> {
        Self::new(&StateRoot::default_path()?, ServerUser::myself())
    }

    pub fn new(state_root: &Path, user: ServerUser) -> Result<Self, Error> {
        Ok(LocalRuntime {
            state: StateRoot::prepare(state_root, &user)?,
            user,
        })
    }

    pub fn registry(&self) -> Registry {
        self.state.registry()
    }

    /// The marker of a lab of this state root.
    pub(super) fn marker(&self, lab: &str) -> Marker {
        Marker {
            lab: lab.to_string(),
            state_root: self.state.path().to_path_buf(),
        }
    }
}

/// What a new lab is for.
#[derive(Debug, Clone, Default)]
pub struct LabOptions {
    /// The id of the run.
    pub run: String,
    pub script: Option<String>,
    pub keep: bool,
}

/// A node to add.
#[derive(Debug, Clone)]
pub struct NodeSpec {
    /// Lower-case letters, digits, `-` and `_`.
    pub name: String,
    pub role: String,
    pub install: Install,
    /// Default: a free one.
    pub port: Option<u16>,
}

/// What destroying a lab did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destroyed {
    pub id: String,
    /// Processes that had to be killed, and containers that were removed.
    pub killed: usize,
}

/// A lab: a set of nodes under one entry of the registry.
#[derive(Debug)]
pub struct Lab {
    pub(super) runtime: LocalRuntime,
    pub(super) record: RefCell<LabRecord>,
    /// Connected when it is needed.
    pub(super) docker: tokio::sync::OnceCell<Rc<DockerLab>>,
    /// Held while this process works on a lab it does not own.
    visit: RefCell<Option<Visit>>,
}

impl Lab {
    /// Creates an empty lab; the registry knows it before anything else does.
    pub fn create(runtime: &LocalRuntime, options: LabOptions) -> Result<Self, Error> {
        Self::create_at(runtime, options, None)
    }

    pub(super) fn create_at(
        runtime: &LocalRuntime,
        options: LabOptions,
        engine: Option<String>,
    ) -> Result<Self, Error> {
        let (id, socket_dir) = loop {
            let id = format!("rpitr-{:06x}", rand::random::<u32>() & 0xFF_FFFF);
            let socket_dir = Path::new(SOCKET_ROOT).join(&id);
            let lab_dir = runtime.state.labs_dir().join(&id);
            if !socket_dir.exists() && !lab_dir.exists() {
                break (id, socket_dir);
            }
        };
        let record = LabRecord {
            schema: LabRecord::current_schema(),
            run: options.run,
            script: options.script,
            created_at: Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true),
            owner: ProcessId::owner(),
            keep: options.keep,
            user: runtime.user.name.clone(),
            uid: runtime.user.uid,
            gid: runtime.user.gid,
            lab_dir: runtime.state.labs_dir().join(&id),
            socket_dir,
            helper: None,
            engine,
            run_folder: None,
            nodes: Vec::new(),
            archives: 0,
            removing: None,
            id,
        };
        runtime.registry().write(&record)?;
        let marker = runtime.marker(&record.id);
        let made = marker
            .create_dir(&record.lab_dir, &runtime.user)
            .and_then(|()| marker.create_dir(&record.socket_dir, &runtime.user));
        if let Err(error) = made {
            // What stays behind is found by its record; without leftovers the record goes, too.
            let lab = marker.remove_dir(&record.lab_dir);
            let sockets = marker.remove_dir(&record.socket_dir);
            if lab.is_ok() && sockets.is_ok() {
                runtime.registry().remove(&record.id)?;
            }
            return Err(error);
        }
        Ok(Lab {
            runtime: runtime.clone(),
            record: RefCell::new(record),
            docker: tokio::sync::OnceCell::new(),
            visit: RefCell::default(),
        })
    }

    /// Opens a lab that some rpitr made, by its id or the start of it.
    pub fn open(runtime: &LocalRuntime, id: &str) -> Result<Self, Error> {
        Ok(Lab {
            record: RefCell::new(runtime.registry().load(id)?),
            runtime: runtime.clone(),
            docker: tokio::sync::OnceCell::new(),
            visit: RefCell::default(),
        })
    }

    /// Opens a lab to work on it: until this is dropped, or its process ends, nobody but the lab's owner
    /// removes it.
    pub fn attach(runtime: &LocalRuntime, id: &str) -> Result<Self, Error> {
        let lab = Lab::open(runtime, id)?;
        let visit = runtime.registry().visit(&lab.id())?;
        lab.visit.replace(Some(visit));
        if !lab.dir().exists() {
            return Err(Error::LabGone { id: lab.id() });
        }
        Ok(lab)
    }

    pub fn id(&self) -> String {
        self.record.borrow().id.clone()
    }

    pub fn dir(&self) -> PathBuf {
        self.record.borrow().lab_dir.clone()
    }

    /// What the registry says about the lab.
    pub fn record(&self) -> LabRecord {
        self.record.borrow().clone()
    }

    pub fn runtime(&self) -> &LocalRuntime {
        &self.runtime
    }

    /// A copy of the rpitr program that the lab's servers can run.
    pub fn helper(&self) -> Result<PathBuf, Error> {
        let path = helper::ensure(&self.runtime.state)?;
        if self.record.borrow().helper.as_ref() != Some(&path) {
            self.update(|record| {
                record.helper = Some(path.clone());
                Ok(())
            })?;
        }
        Ok(path)
    }

    /// Adds a node: its folder, a port, a socket. The data directory is for the caller to make
    /// (`initdb`, `pg_basebackup`, a copy).
    pub fn add_node(&self, spec: NodeSpec) -> Result<LocalNode, Error> {
        check_name(&spec.name)?;
        let lab = self.record();
        let port = match spec.port {
            Some(port) => port,
            None => self.free_port()?,
        };
        let dir = lab.lab_dir.join(&spec.name);
        let node = NodeRecord {
            name: spec.name,
            role: spec.role,
            major: spec.install.major,
            version: spec.install.version,
            bin_dir: spec.install.bin_dir,
            data_dir: dir.join("data"),
            log: dir.join("server.log"),
            port,
            socket_dir: lab.socket_dir.clone(),
            container: None,
            ties: Ties::default(),
            dir,
        };
        check_socket(&node)?;
        self.enter(&node)?;
        let node = self.node_from(node);
        let dir = node.record().dir;
        std::fs::create_dir(&dir).map_err(Error::io("create", &dir))?;
        std::fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o700))
            .map_err(Error::io("change the mode of", &dir))?;
        self.runtime.user.own(&dir)?;
        Ok(node)
    }

    pub(super) fn free_port(&self) -> Result<u16, Error> {
        ports::allocate(&self.runtime.registry().reserved_ports()?)
    }

    /// Gives a node another port, for when starting it failed with `port_taken`.
    pub fn change_port(&self, node: &LocalNode) -> Result<u16, Error> {
        let port = self.free_port()?;
        let mut changed = node.record();
        changed.port = port;
        self.update(|record| {
            for known in &mut record.nodes {
                if known.name == changed.name {
                    known.port = port;
                }
            }
            Ok(())
        })?;
        node.set_record(changed);
        Ok(port)
    }

    /// A node by its name.
    pub fn node(&self, name: &str) -> Result<LocalNode, Error> {
        let record = self.record.borrow();
        match record.nodes.iter().find(|node| node.name == name) {
            Some(node) => Ok(self.node_from(node.clone())),
            None => Err(Error::UnknownNode {
                lab: record.id.clone(),
                node: name.to_string(),
            }),
        }
    }

    /// All nodes.
    pub fn nodes(&self) -> Vec<LocalNode> {
        let nodes = self.record.borrow().nodes.clone();
        nodes.into_iter().map(|node| self.node_from(node)).collect()
    }

    pub(super) fn node_from(&self, node: NodeRecord) -> LocalNode {
        let record = self.record.borrow();
        // A lab stays with the account it was made for, whatever this run would use.
        let user = ServerUser {
            name: record.user.clone(),
            uid: record.uid,
            gid: record.gid,
            ..self.runtime.user.clone()
        };
        LocalNode::new(node, user, &record.id, &record.lab_dir)
    }

    /// Kills a node's processes, removes its folder and takes it out of the registry.
    pub async fn remove_node(&self, name: &str) -> Result<(), Error> {
        let node = self.node(name)?;
        match self.docker().await? {
            Some(docker) => {
                docker.remove_node(name).await?;
                // What was mirrored of it.
                crate::runtime::marker::remove_any(&node.record().dir)?;
            }
            None => {
                node.kill().await?;
                let dir = node.record().dir;
                node.remove_tree(&dir).await?;
            }
        }
        self.update(|record| {
            record.nodes.retain(|node| node.name != name);
            Ok(())
        })
    }

    /// Kills everything that belongs to the lab, removes its files, then its entry in the registry. Works
    /// on whatever a crash left, and again if it was cut short.
    pub async fn destroy(&self) -> Result<Destroyed, Error> {
        // What visitors do meanwhile fails; that is for them to notice.
        let registry = self.runtime.registry();
        match registry.claim(&self.id(), Use::any) {
            Err(Error::LabGone { .. }) => {}
            claimed => drop(claimed?),
        }
        destroy(&self.runtime, &self.record()).await
    }

    /// Destroys the lab unless somebody uses it.
    pub async fn destroy_unused(&self) -> Result<Destroyed, Error> {
        let (id, mut user) = (self.id(), None);
        let unused = |used: &Use| {
            user = used.pid();
            used.is_none()
        };
        match self.runtime.registry().claim(&id, unused) {
            Err(Error::LabGone { .. }) => {}
            claimed => drop(claimed?),
        }
        match user {
            Some(pid) => Err(Error::LabInUse { id, pid }),
            None => destroy(&self.runtime, &self.record()).await,
        }
    }
}

/// Destroys the lab of a record.
pub(super) async fn destroy(runtime: &LocalRuntime, lab: &LabRecord) -> Result<Destroyed, Error> {
    let mut killed = 0;
    if let Some(address) = &lab.engine {
        killed += Engine::at(address).await?.remove_lab(&lab.id).await?;
    }
    killed += kill_processes(&lab.id, &lab.lab_dir).await?;
    let marker = runtime.marker(&lab.id);
    let (lab_dir, socket_dir) = (lab.lab_dir.clone(), lab.socket_dir.clone());
    tokio::task::spawn_blocking(move || {
        let sockets = marker.remove_dir(&socket_dir);
        marker.remove_dir(&lab_dir)?;
        sockets
    })
    .await
    .map_err(|error| Error::Worker(error.to_string()))??;
    runtime.registry().remove(&lab.id)?;
    Ok(Destroyed {
        id: lab.id.clone(),
        killed,
    })
}

/// Kills every process of a lab: by the marker in its environment, and servers by where they work.
pub(super) async fn kill_processes(id: &str, lab_dir: &Path) -> Result<usize, Error> {
    let wanted = Wanted {
        env: Some(Launcher::marker(id)),
        dir: Some(lab_dir.to_path_buf()),
        pids: Vec::new(),
    };
    process::kill_all(&format!("lab {id}"), &wanted, KILL_TIMEOUT).await
}

pub(super) fn check_name(name: &str) -> Result<(), Error> {
    let good = name.len() <= 40
        && name.starts_with(|char: char| char.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'));
    match good {
        true => Ok(()),
        false => Err(Error::BadNodeName { name: name.into() }),
    }
}

fn check_socket(node: &NodeRecord) -> Result<(), Error> {
    let path = node.socket_dir.join(format!(".s.PGSQL.{}", node.port));
    match path.as_os_str().len() <= SOCKET_PATH_LIMIT {
        true => Ok(()),
        false => Err(Error::SocketPath {
            path,
            limit: SOCKET_PATH_LIMIT,
        }),
    }
}
