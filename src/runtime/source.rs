//! What the name of an archive stands for: a folder, or the archive of a node, wherever it runs. What lies in a
//! container's volume is mirrored to this machine first.

use std::path::{Path, PathBuf};

use super::{Engine, Lab, LocalRuntime, local_view};
use crate::archive::Listing;
use crate::failure::{Failure, Kind};
use crate::wal::{Options, Wal};

/// An archive that can be read.
#[derive(Debug)]
pub struct Source {
    /// The folder that holds the files.
    pub dir: PathBuf,
    /// Where the base backups of the same lab lie, when it is one.
    pub backups: Option<PathBuf>,
    /// The node of a lab whose WAL it is.
    pub node: Option<String>,
    /// Held, because what lies in its volumes can be mirrored only as long as somebody does.
    _lab: Option<Lab>,
}

impl Source {
    /// The folder of the lab, when it is one's.
    pub fn lab_dir(&self) -> Option<PathBuf> {
        self._lab.as_ref().map(Lab::dir)
    }

    pub fn listing(&self) -> Result<Listing, Failure> {
        Ok(Listing::read(&self.dir)?.with_packed())
    }

    pub fn wal(&self, timeline: Option<u32>) -> Result<Wal, Failure> {
        let options = Options {
            timeline,
            partials: true,
            ..Options::default()
        };
        Ok(Wal::open(&self.dir, &options)?)
    }
}

/// Finds what a reference stands for: a folder, `lab:NODE` (the newest lab with such a node) or
/// `lab:LAB/NODE`, where LAB may be the name of a standing environment. One more kind of reference is one more arm here.
pub async fn open_source(reference: &str) -> Result<Source, Failure> {
    match reference.split_once(':') {
        Some(("lab", place)) => match place.split_once('/') {
            Some((lab, node)) => node_archive(Some(lab), node).await,
            None => node_archive(None, place).await,
        },
        _ => folder(Path::new(reference)),
    }
}

fn folder(dir: &Path) -> Result<Source, Failure> {
    if !dir.is_dir() {
        let what = if dir.exists() {
            "is not a folder"
        } else {
            "does not exist"
        };
        return Err(
            Failure::new(Kind::Arg, format!("{} {what}", dir.display())).hint(
                "name a folder of WAL files, or lab:NODE for the archive of a lab's node; rpitr lab ls lists them",
            ),
        );
    }
    Ok(Source {
        dir: dir.to_path_buf(),
        backups: None,
        node: None,
        _lab: None,
    })
}

/// The archive of a node of a lab: `lab` is a lab's id or the start of one; without it, the newest
/// lab that has such a node.
async fn node_archive(lab: Option<&str>, node: &str) -> Result<Source, Failure> {
    let runtime = LocalRuntime::from_env().or_else(|_| LocalRuntime::for_containers())?;
    let id = match lab {
        Some(id) => id.to_string(),
        None => newest_lab(&runtime, node)?,
    };
    let lab = match Lab::open(&runtime, &id) {
        Ok(lab) => lab,
        Err(unknown) => {
            return environment_archive(&runtime, &id, node)
                .await?
                .ok_or(unknown.into());
        }
    };
    // Connects to the engine that holds the lab's volumes, and names the node when there is none.
    let member = lab.member(node).await?;
    let root = lab.dir().join("archive");
    local_view(&root).await?;
    let dir = match member.is_receiver() {
        true => Some(member.paths().data_dir),
        false => archives_of(&root, node)?.pop().map(|(_, dir)| dir),
    };
    let dir = dir.ok_or_else(|| {
        Failure::new(
            Kind::State,
            format!("node {node} of lab {} archives no WAL", lab.id()),
        )
        .hint("name a node that does; restored and standby servers have no archive of their own")
    })?;
    local_view(&dir).await?;
    let backups = lab.dir().join("backup");
    local_view(&backups).await?;
    Ok(Source {
        dir,
        backups: backups.is_dir().then_some(backups),
        node: Some(node.to_string()),
        _lab: Some(lab),
    })
}

/// The archive a service of a standing environment keeps, copied to the state folder; `None` without such
/// an environment, or an engine to ask.
async fn environment_archive(
    runtime: &LocalRuntime,
    environment: &str,
    service: &str,
) -> Result<Option<Source>, Failure> {
    let Ok(engine) = Engine::from_env().await else {
        return Ok(None);
    };
    let copies = runtime.state.path().join("environments");
    let dir = copies.join(format!("{environment}-{service}"));
    let found = engine.environment_archive(environment, service, &dir).await;
    Ok(found.map_err(super::Error::from)?.then_some(Source {
        dir,
        backups: None,
        node: None,
        _lab: None,
    }))
}

fn newest_lab(runtime: &LocalRuntime, node: &str) -> Result<String, Failure> {
    let (records, _) = runtime.registry().list()?;
    let with_node = records
        .into_iter()
        .filter(|record| record.nodes.iter().any(|known| known.name == node));
    let newest = with_node.max_by(|a, b| a.created_at.cmp(&b.created_at));
    newest.map(|record| record.id).ok_or_else(|| {
        Failure::new(Kind::Arg, format!("no lab has a node named {node}"))
            .hint("rpitr lab ls lists labs and their nodes; --keep keeps the lab of a run")
    })
}

/// The archives a node has filled, oldest first: their names are `NUMBER-NODE`.
fn archives_of(root: &Path, node: &str) -> Result<Vec<(u32, PathBuf)>, Failure> {
    let entries = match std::fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Failure::io("list", root, &error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| Failure::io("list", root, &error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some((number, owner)) = name.split_once('-')
            && owner == node
            && let Ok(number) = number.parse()
        {
            found.push((number, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}
