//! What a lab does with nodes of either runtime.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::docker::{DockerLab, DockerNode, Engine, ScriptContainers, Service};
use super::lab::check_name;
use super::{
    ContainerRecord, Error, Lab, LabOptions, LabRecord, LocalRuntime, Node, NodeRecord, NodeSpec,
    Ties, receiver,
};
use crate::postgres::{Lookup, pick};

/// A node to add, on whatever the lab runs.
#[derive(Debug, Clone)]
pub struct NewNode {
    pub name: String,
    pub role: String,
    /// The major version; default: the newest there is.
    pub version: Option<u32>,
}

impl Lab {
    /// Creates an empty lab whose nodes are containers of the engine the environment asks for.
    pub async fn create_in_containers(
        runtime: &LocalRuntime,
        options: LabOptions,
    ) -> Result<Self, Error> {
        let engine = Engine::from_env().await?;
        engine.check_reach()?;
        let lab = Lab::create_at(runtime, options, Some(engine.address.clone()))?;
        let docker = DockerLab::new(engine, &lab.record(), runtime.state.path());
        let _ = lab.docker.set(docker);
        Ok(lab)
    }

    /// The lab on its engine; `None` when its nodes are processes of this machine.
    pub(super) async fn docker(&self) -> Result<Option<Rc<DockerLab>>, Error> {
        let record = self.record();
        let Some(address) = &record.engine else {
            return Ok(None);
        };
        let connect = async || {
            let engine = Engine::at(address).await?;
            Ok::<_, Error>(DockerLab::new(engine, &record, self.runtime.state.path()))
        };
        self.docker
            .get_or_try_init(connect)
            .await
            .cloned()
            .map(Some)
    }

    /// What a script's own containers are made with; `None` when the lab has no engine.
    pub async fn script_containers(&self) -> Result<Option<ScriptContainers>, Error> {
        Ok(self.docker().await?.map(ScriptContainers::new))
    }

    /// Adds a node. Its data directory is for the caller to make.
    pub async fn add(&self, node: NewNode) -> Result<Node, Error> {
        let Some(docker) = self.docker().await? else {
            let install = pick(&Lookup::from_env(), node.version)?;
            return Ok(self
                .add_node(NodeSpec {
                    name: node.name,
                    role: node.role,
                    install,
                    port: None,
                })?
                .into());
        };
        check_name(&node.name)?;
        let lab = self.record();
        let image = docker.node_image(node.version).await?;
        let dir = lab.lab_dir.join(&node.name);
        let record = NodeRecord {
            major: image.1,
            version: String::new(),
            bin_dir: PathBuf::new(),
            data_dir: dir.join("data"),
            log: dir.join("server.log"),
            port: self.free_port()?,
            socket_dir: DockerNode::socket_dir(),
            container: Some(ContainerRecord {
                private: node.role == "sandbox",
                reads: match node.role.as_str() {
                    "sandbox" => receivers(&lab),
                    _ => Vec::new(),
                },
                ..image.0
            }),
            ties: Ties::default(),
            name: node.name,
            role: node.role,
            dir,
        };
        self.enter(&record)?;
        let node = DockerNode::new(record, docker);
        let made = node.make().await?;
        self.replace(&[made])?;
        Ok(node.into())
    }

    /// Has a lab of containers work beside a standing environment.
    pub async fn work_beside(&self, primary: &Service) -> Result<(), Error> {
        match self.docker().await? {
            Some(docker) => Ok(docker.work_beside(primary).await?),
            None => Ok(()),
        }
    }

    fn replace(&self, changed: &[NodeRecord]) -> Result<(), Error> {
        self.update(|lab| {
            for known in &mut lab.nodes {
                if let Some(node) = changed.iter().find(|node| node.name == known.name) {
                    // Ports, roles, containers; what ties it to others is for `note` to say.
                    *known = NodeRecord {
                        ties: known.ties.clone(),
                        ..node.clone()
                    };
                }
            }
            Ok(())
        })
    }

    async fn node_of(&self, record: NodeRecord) -> Result<Node, Error> {
        Ok(match self.docker().await? {
            Some(docker) => DockerNode::new(record, docker).into(),
            None => self.node_from(record).into(),
        })
    }

    /// A node by its name.
    pub async fn member(&self, name: &str) -> Result<Node, Error> {
        let lab = self.record();
        match lab.nodes.iter().find(|node| node.name == name) {
            Some(node) => self.node_of(node.clone()).await,
            None => Err(Error::UnknownNode {
                lab: lab.id,
                node: name.to_string(),
            }),
        }
    }

    /// All nodes.
    pub async fn members(&self) -> Result<Vec<Node>, Error> {
        let mut nodes = Vec::new();
        for record in self.record().nodes {
            nodes.push(self.node_of(record).await?);
        }
        Ok(nodes)
    }

    /// Two stopped nodes exchange ports, networks and roles: clients that knew the one reach the other.
    pub async fn exchange_places(&self, a: &Node, b: &Node) -> Result<(), Error> {
        let (mut first, mut second) = (a.record(), b.record());
        std::mem::swap(&mut first.port, &mut second.port);
        std::mem::swap(&mut first.role, &mut second.role);
        if let (Some(first), Some(second)) = (&mut first.container, &mut second.container) {
            std::mem::swap(&mut first.private, &mut second.private);
        }
        // Before the registry changes: a container holds on to its port.
        if let (Node::Docker(a), Node::Docker(b)) = (a, b) {
            let (a, b) = tokio::join!(a.remove_container(), b.remove_container());
            a.and(b)?;
        }
        self.replace(&[first.clone(), second.clone()])?;
        for (node, record) in [(a, first), (b, second)] {
            match node {
                Node::Local(node) => node.set_record(record),
                Node::Docker(node) => node.set_record(record),
            }
        }
        Ok(())
    }

    /// Makes a folder in the lab, with those above it, for its servers to write to.
    pub async fn make_dir(&self, path: &Path) -> Result<(), Error> {
        let lab_dir = self.dir();
        let up = path
            .components()
            .any(|part| part == std::path::Component::ParentDir);
        if up || !path.starts_with(&lab_dir) {
            return Err(Error::OutsideLab {
                path: path.to_path_buf(),
                lab_dir,
            });
        }
        if let Some(docker) = self.docker().await? {
            return Ok(docker.make_dir(path).await?);
        }
        let missing: Vec<&Path> = path.ancestors().take_while(|dir| !dir.exists()).collect();
        for dir in missing.into_iter().rev() {
            std::fs::create_dir(dir).map_err(Error::io("create", dir))?;
            std::fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o700))
                .map_err(Error::io("change the mode of", dir))?;
            self.runtime.user.own(dir)?;
        }
        Ok(())
    }

    /// The program and first arguments of an `archive_command`; path and name of the file follow.
    pub async fn push_command(&self, archive: &Path) -> Result<Vec<String>, Error> {
        match self.docker().await? {
            Some(docker) => Ok(docker.push_command(archive)),
            None => Ok(vec![
                text(&self.helper()?),
                "archive-push".into(),
                "--archive".into(),
                text(archive),
            ]),
        }
    }

    /// The program and first arguments of a `restore_command`; name and destination follow.
    pub async fn fetch_command(
        &self,
        archive: &Path,
        log: &Path,
        system_id: Option<u64>,
        tail: Option<&Path>,
    ) -> Result<Vec<String>, Error> {
        if let Some(docker) = self.docker().await? {
            return Ok(docker.fetch_command(archive, log, system_id, tail).await?);
        }
        let mut command = vec![text(&self.helper()?), "archive-fetch".into()];
        command.extend(["--archive".into(), text(archive), "--log".into(), text(log)]);
        if let Some(id) = system_id {
            command.extend(["--system-id".into(), id.to_string()]);
        }
        if let Some(tail) = tail {
            command.extend(["--tail".into(), text(tail)]);
        }
        Ok(command)
    }
}

fn receivers(lab: &LabRecord) -> Vec<String> {
    let nodes = lab.nodes.iter();
    let receivers = nodes.filter(|node| node.role == receiver::ROLE);
    receivers.map(|node| node.name.clone()).collect()
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
