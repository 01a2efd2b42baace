//! The local view of a lab's folders: what the host reads of an archive or a backup is mirrored from the
//! volume to the same path on this machine, only what changed, and only when it is read.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::rc::{Rc, Weak};

use bollard::query_parameters::ContainerArchiveInfoOptionsBuilder;

use super::archive::Verdicts;
use super::error::status;
use super::{DockerLab, Engine, Error};
use crate::runtime;

thread_local! {
    static LABS: RefCell<Vec<Weak<DockerLab>>> = const { RefCell::new(Vec::new()) };
}

pub(super) fn remember(lab: &Rc<DockerLab>) {
    LABS.with_borrow_mut(|labs| {
        labs.retain(|lab| lab.strong_count() > 0);
        labs.push(Rc::downgrade(lab));
    });
}

fn lab_of(path: &Path) -> Option<Rc<DockerLab>> {
    LABS.with_borrow(|labs| {
        let mut labs = labs.iter().filter_map(Weak::upgrade);
        labs.find(|lab| path.starts_with(&lab.lab_dir))
    })
}

/// Makes what is at `path` readable on this machine under that very path: a file, or the files directly in
/// a folder. Paths of local labs, and outside of labs, are what they are.
pub async fn local_view(path: &Path) -> Result<(), runtime::Error> {
    match lab_of(path) {
        Some(lab) => Ok(lab.view(path).await?),
        None => Ok(()),
    }
}

/// Sends what is at `path` on this machine now, or that it is gone, to where [`local_view`] got it from.
pub async fn local_store(path: &Path) -> Result<(), runtime::Error> {
    match lab_of(path) {
        Some(lab) => lab.store_back(path).await,
        None => Ok(()),
    }
}

/// What is mirrored: the identity of each file in its volume, and what is known about archives.
#[derive(Debug, Default)]
pub struct Mirror {
    pub(super) seen: HashMap<PathBuf, String>,
    pub(super) verdicts: HashMap<PathBuf, Verdicts>,
}

/// Prints D, F or N, then for a folder or a file a line for each: kind, size, identity, name. Inode, size
/// and both times change when the contents do.
pub(super) const LIST: &str = r#"p=$1
if [ -d "$p" ]; then
  echo D; cd "$p" || exit 1
  set -- * .[!.]*
  stat -c '%F/%s/%i %s %y %z/%n' -- "$@" 2>/dev/null || :
elif [ -e "$p" ]; then
  echo F; cd "${p%/*}/" && stat -c '%F/%s/%i %s %y %z/%n' -- "${p##*/}"
else echo N
fi"#;
/// Sends files: a line with name and length, then the bytes.
const SEND: &str = r#"cd "$1" || exit 1
shift
for f; do
  [ -f "$f" ] || continue
  s=$(stat -c %s -- "$f") || continue
  printf '%s %s\n' "$s" "$f"
  head -c "$s" -- "$f"
done"#;
/// How much is sent at a time.
pub(super) const BATCH: u64 = 64 << 20;

impl DockerLab {
    /// The container that sees a path, or `None` when the path is this machine's own.
    async fn container_for(&self, path: &Path) -> Result<Option<String>, Error> {
        let below = path.strip_prefix(&self.lab_dir).unwrap_or(Path::new(""));
        let first = below.components().next();
        let Some(Component::Normal(first)) = first else {
            return Ok(None);
        };
        let first = first.to_string_lossy();
        if matches!(first.as_ref(), "archive" | "backup") {
            return self.any_container().await.map(Some);
        }
        let container = self.container(&first);
        Ok(self.inspect(&container).await?.map(|_| container))
    }

    async fn store_back(&self, path: &Path) -> Result<(), runtime::Error> {
        let mut mirror = self.mirror.lock().await;
        let Some(container) = self.container_for(path).await? else {
            return Ok(());
        };
        mirror.seen.remove(path);
        let text = path.display().to_string();
        let what = ("write", text.as_str());
        match std::fs::read(path) {
            Ok(bytes) => {
                // In place: owner and mode stay.
                let script = "umask 077; cat >\"$1\"";
                let stdin = Some(bytes);
                self.engine
                    .must(&container, what, script, &[&text], stdin)
                    .await?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let script = "rm -f -- \"$1\"";
                self.engine
                    .must(&container, what, script, &[&text], None)
                    .await?;
            }
            Err(error) => return Err(runtime::Error::io("read", path)(error)),
        }
        Ok(())
    }

    async fn view(&self, path: &Path) -> Result<(), Error> {
        let mut mirror = self.mirror.lock().await;
        self.view_into(&mut mirror, path).await
    }

    pub(super) async fn view_into(&self, mirror: &mut Mirror, path: &Path) -> Result<(), Error> {
        let Some(container) = self.container_for(path).await? else {
            return Ok(());
        };
        let text = path.display().to_string();
        if !self.is_usable(&container).await? {
            let folder = self.stat_at_rest(&container, &text).await?;
            if folder.is_some_and(|(is_folder, _)| is_folder) {
                // Switched on again, to read its disk; nothing runs in it until somebody starts it.
                let paused = self
                    .inspect(&container)
                    .await?
                    .is_some_and(|seen| seen.paused);
                if paused {
                    return Err(Error::Answer {
                        what: text,
                        reason: format!(
                            "container {container} is paused, so its files cannot be listed"
                        ),
                    });
                }
                self.start_container(&container, 0).await?;
                return Box::pin(self.view_into(mirror, path)).await;
            }
            // Frozen or off: one file at a time is what the engine offers.
            return match self.download(&container, &text).await? {
                Some(bytes) => store(path, &bytes),
                None => Ok(()),
            };
        }
        let listing = self
            .engine
            .must(&container, ("list", &text), LIST, &[&text], None)
            .await?
            .text();
        let mut lines = listing.lines();
        let folder = match lines.next() {
            Some("D") => path,
            Some("F") => path.parent().unwrap_or(path),
            _ => {
                mirror.seen.retain(|known, _| !known.starts_with(path));
                return remove(path);
            }
        };
        let is_folder = folder == path;
        make_folder(folder)?;
        let (mut wanted, mut names) = (Vec::new(), Vec::new());
        for (kind, size, identity, name) in lines.filter_map(parse) {
            names.push(name.to_string());
            let target = folder.join(name);
            if kind == "directory" {
                make_folder(&target)?;
            } else if kind.starts_with("regular")
                && !name.starts_with(".rpitr-tmp.")
                && mirror
                    .seen
                    .get(&target)
                    .is_none_or(|known| known != identity)
            {
                wanted.push((name.to_string(), size, identity.to_string()));
            }
        }
        self.fetch(mirror, &container, folder, wanted).await?;
        if is_folder {
            forget_others(mirror, folder, &names)?;
        }
        Ok(())
    }

    async fn fetch(
        &self,
        mirror: &mut Mirror,
        container: &str,
        folder: &Path,
        wanted: Vec<(String, u64, String)>,
    ) -> Result<(), Error> {
        let mut rest = wanted.as_slice();
        while !rest.is_empty() {
            let mut total = 0;
            let fits = rest.iter().take_while(|(_, size, _)| {
                total += size;
                total <= BATCH
            });
            let (batch, later) = rest.split_at(fits.count().clamp(1, rest.len().min(500)));
            let names: Vec<&str> = batch.iter().map(|(name, _, _)| name.as_str()).collect();
            let folder_text = folder.display().to_string();
            for (name, bytes) in self.fetch_files(container, &folder_text, &names).await? {
                let target = folder.join(&name);
                store(&target, &bytes)?;
                let identity = batch.iter().find(|(known, _, _)| *known == name);
                if let Some((_, _, identity)) = identity {
                    mirror.seen.insert(target, identity.clone());
                }
            }
            rest = later;
        }
        Ok(())
    }

    pub(super) async fn fetch_files(
        &self,
        container: &str,
        folder: &str,
        names: &[&str],
    ) -> Result<Vec<(String, Vec<u8>)>, Error> {
        fetch_files(&self.engine, container, folder, names).await
    }

    /// Whether a path of a container that does not run is a directory, and its size.
    pub(super) async fn stat_at_rest(
        &self,
        container: &str,
        path: &str,
    ) -> Result<Option<(bool, u64)>, Error> {
        let options = ContainerArchiveInfoOptionsBuilder::new().path(path).build();
        let found = self
            .engine
            .docker
            .get_container_archive_info(container, Some(options))
            .await;
        match found {
            // Go's bit for a directory.
            Ok(found) => Ok(Some((
                found.file_mode & (1 << 31) != 0,
                u64::try_from(found.size).unwrap_or(0),
            ))),
            Err(error) if status(&error) == Some(404) => Ok(None),
            Err(error) => Err(Error::api("look at", path)(error)),
        }
    }
}

/// The contents of those of the named files that exist.
pub(super) async fn fetch_files(
    engine: &Engine,
    container: &str,
    folder: &str,
    names: &[&str],
) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let mut args = vec![folder];
    args.extend(names);
    let output = engine
        .must(container, ("read", folder), SEND, &args, None)
        .await?;
    let broken = || Error::Answer {
        what: format!("the files of {folder}"),
        reason: "a file changed while it was read".into(),
    };
    let mut files = Vec::new();
    let mut rest = output.stdout.as_slice();
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let line = std::str::from_utf8(&rest[..end]).map_err(|_| broken())?;
        let (size, name) = line.split_once(' ').ok_or_else(broken)?;
        let size: usize = size.parse().map_err(|_| broken())?;
        let bytes = rest.get(end + 1..end + 1 + size).ok_or_else(broken)?;
        files.push((name.to_string(), bytes.to_vec()));
        rest = &rest[end + 1 + size..];
    }
    Ok(files)
}

pub(super) fn parse(line: &str) -> Option<(&str, u64, &str, &str)> {
    let mut parts = line.splitn(4, '/');
    let (kind, size) = (parts.next()?, parts.next()?.parse().ok()?);
    Some((kind, size, parts.next()?, parts.next()?))
}

fn local(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.display().to_string();
    move |error| Error::Answer {
        what: format!("{path}: cannot {doing} its copy on this machine"),
        reason: error.to_string(),
    }
}

pub(super) fn make_folder(path: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(path).map_err(local("create", path))
}

pub(super) fn store(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut temp = path.to_path_buf();
    temp.as_mut_os_string().push(".rpitr-new");
    if let Some(parent) = path.parent() {
        make_folder(parent)?;
    }
    std::fs::write(&temp, bytes)
        .and_then(|()| std::fs::rename(&temp, path))
        .map_err(local("write", path))
}

pub(super) fn remove(path: &Path) -> Result<(), Error> {
    runtime::marker::remove_any(path).map_err(|error| Error::Answer {
        what: path.display().to_string(),
        reason: error.to_string(),
    })
}

/// Removes copies of what is not in the volume any more.
fn forget_others(mirror: &mut Mirror, folder: &Path, names: &[String]) -> Result<(), Error> {
    for entry in std::fs::read_dir(folder)
        .map_err(local("read", folder))?
        .flatten()
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !names.contains(&name) {
            remove(&entry.path())?;
            mirror
                .seen
                .retain(|known, _| !known.starts_with(entry.path()));
        }
    }
    Ok(())
}
