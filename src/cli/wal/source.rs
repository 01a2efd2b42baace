//! What `DIR` stands for: a folder, or the archive of a node, wherever it runs. What lies in a
//! container's volume is mirrored to this machine first.

use std::path::{Path, PathBuf};

use crate::archive::Listing;
use crate::failure::{Failure, Kind};
use crate::runtime::{Lab, LocalRuntime, local_view};
use crate::wal::{Options, Wal};

/// An archive that can be read.
#[derive(Debug)]
pub struct Source {
    /// The folder that holds the files.
    pub dir: PathBuf,
    /// Where the base backups of the same lab lie, when it is one.
    pub backups: Option<PathBuf>,
}

impl Source {
    pub fn listing(&self) -> Result<Listing, Failure> {
        Ok(Listing::read(&self.dir)?)
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

/// Finds what a reference stands for.
pub fn open(reference: &str) -> Result<Source, Failure> {
    let dir = Path::new(reference);
    match reference.split_once(':') {
        Some((lab, node)) if !dir.exists() => on_a_runtime(node_archive(lab, node)),
        _ => folder(dir),
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
                "name a folder of WAL files, or LAB:NODE for the archive of a lab's node; rpitr lab ls lists them",
            ),
        );
    }
    Ok(Source {
        dir: dir.to_path_buf(),
        backups: None,
    })
}

fn on_a_runtime<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Kind::Internal, error.to_string()))?;
    tokio::task::LocalSet::new().block_on(&runtime, work)
}

/// The archive of a node of a lab: `lab` is a lab's id, the start of one, or the word `lab` for
/// the newest that has such a node.
async fn node_archive(lab: &str, node: &str) -> Result<Source, Failure> {
    let runtime = LocalRuntime::from_env().or_else(|_| LocalRuntime::for_containers())?;
    let id = if lab == "lab" {
        newest_lab(&runtime, node)?
    } else {
        lab.to_string()
    };
    let lab = Lab::open(&runtime, &id)?;
    // Connects to the engine that holds the lab's volumes, and names the node when there is none.
    lab.member(node).await?;
    let root = lab.dir().join("archive");
    local_view(&root).await?;
    let dir = archives_of(&root, node)?.pop().map(|(_, dir)| dir);
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
    })
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
