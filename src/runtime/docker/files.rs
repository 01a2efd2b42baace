//! The files of a node, read and written by the container itself; nothing is mounted from the host.
//! Relative paths start in the data directory. Changes are made only inside the lab.

use std::path::{Component, Path, PathBuf};
use std::time::Instant;

use bollard::query_parameters::DownloadFromContainerOptionsBuilder;
use futures_util::StreamExt;

use super::error::status;
use super::node::DockerNode;
use super::{DockerLab, tar};
use crate::runtime::{Copied, CopyOptions, DirEntry, DiskSpace, Error, Symlinks, TreeSize};

const WRITE: &str = r#"set -e
umask 077
t="$1.rpitr-new"
if [ -e "$t" ] || [ -L "$t" ]; then rm -f -- "$t"; fi
cat >"$t"
[ "$(wc -c <"$t")" -eq "$3" ] || { rm -f -- "$t"; echo "the input was cut short" >&2; exit 1; }
[ "$2" = 600 ] || chmod "$2" "$t"
mv -f -- "$t" "$1""#;
const COPY: &str = r#"set -e
umask 077
from=$1 to=$2
if [ "$3" = refuse ]; then
  link=$(find "$from" -type l | head -n 1)
  [ -z "$link" ] || { printf '%s\n%s\n' "$link" "$(readlink "$link")"; exit 9; }
fi
if [ -e "$to" ] && [ -n "$(ls -A "$to")" ]; then echo "$to exists" >&2; exit 1; fi
mkdir -p "$to"
cp -a "$from/." "$to/"
[ "$4" = no ] || sync "$to"
echo "$(find "$to" -type f | wc -l) $(find "$to" -type d | wc -l)"
find "$to" -type f -exec stat -c %s {} + | awk '{ s += $1 } END { printf "%.0f\n", s }'"#;
const SIZE: &str = r#"[ -e "$1" ] || exit 2
find "$1" -type f -exec stat -c %s {} + 2>/dev/null | awk '{ n += 1; s += $1 } END { printf "%d %.0f\n", n, s }'"#;
const LIST: &str = r#"cd "$1" || exit 1
for f in * .[!.]* ..?*; do [ -e "$f" ] || [ -L "$f" ] || continue
  stat -c '%F/%s/%n' -- "$f"; done"#;
const FROM: &str = r#"[ -e "$1" ] || exit 2
s=$(stat -c %s -- "$1") o=$2
[ "$o" -le "$s" ] || o=0
echo "$o"
tail -c "+$((o + 1))" -- "$1""#;

impl DockerLab {
    /// A file of a container in any state, by the engine's archive API.
    pub(super) async fn download(
        &self,
        container: &str,
        path: &str,
    ) -> Result<Option<Vec<u8>>, super::Error> {
        let options = DownloadFromContainerOptionsBuilder::new()
            .path(path)
            .build();
        let mut stream = std::pin::pin!(
            self.engine
                .docker
                .download_from_container(container, Some(options))
        );
        let mut bytes = Vec::new();
        while let Some(part) = stream.next().await {
            match part {
                Ok(part) => bytes.extend_from_slice(&part),
                Err(error) if status(&error) == Some(404) => return Ok(None),
                Err(error) => return Err(super::Error::api("read", path)(error)),
            }
        }
        Ok(tar::first_file(&bytes).map(<[u8]>::to_vec))
    }

    /// Whether a container can run programs now.
    pub(super) async fn is_usable(&self, container: &str) -> Result<bool, super::Error> {
        let seen = self.inspect(container).await?;
        Ok(seen.is_some_and(|seen| seen.running && !seen.paused))
    }
}

impl DockerNode {
    pub(super) fn inside(&self, path: &Path) -> Result<String, Error> {
        let path = self.path(path);
        let lab_dir = &self.lab.lab_dir;
        match path.starts_with(lab_dir)
            && !path.components().any(|part| part == Component::ParentDir)
        {
            true => Ok(path.display().to_string()),
            false => Err(Error::OutsideLab {
                path,
                lab_dir: lab_dir.clone(),
            }),
        }
    }

    async fn must(
        &self,
        (doing, what): (&'static str, &str),
        script: &str,
        args: &[&str],
        stdin: Option<Vec<u8>>,
    ) -> Result<String, Error> {
        let container = self.up().await?;
        let engine = &self.lab.engine;
        let output = engine
            .must(&container, (doing, what), script, args, stdin)
            .await?;
        Ok(output.text())
    }

    fn missing(doing: &'static str, path: &str) -> Error {
        Error::io(doing, path)(std::io::ErrorKind::NotFound.into())
    }

    /// A file from an offset on, and where that was; `None` when there is none. Works on a paused or
    /// killed node, too.
    pub(super) async fn read_from(
        &self,
        path: &Path,
        offset: u64,
    ) -> Result<Option<(Vec<u8>, u64)>, Error> {
        let path = path.display().to_string();
        let container = self.container();
        let engine = &self.lab.engine;
        if !self.lab.is_usable(&container).await? && self.lab.inspect(&container).await?.is_some() {
            let Some(mut bytes) = self.lab.download(&container, &path).await? else {
                return Ok(None);
            };
            let from = usize::try_from(offset).unwrap_or(0);
            let from = if from > bytes.len() { 0 } else { from };
            return Ok(Some((bytes.split_off(from), from as u64)));
        }
        let container = self.up().await?;
        let output = engine
            .script(&container, FROM, &[&path, &offset.to_string()], None)
            .await?;
        match output.code {
            0 => {}
            2 => return Ok(None),
            _ => {
                return Err(super::Error::Script {
                    doing: "read",
                    what: path,
                    container,
                    stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
                }
                .into());
            }
        }
        let mut stdout = output.stdout;
        let end = stdout.iter().position(|byte| *byte == b'\n').unwrap_or(0);
        let rest = stdout.split_off((end + 1).min(stdout.len()));
        let from = String::from_utf8_lossy(&stdout).trim().parse().unwrap_or(0);
        Ok(Some((rest, from)))
    }

    /// Whether a path is a directory, and its size; `None` when there is nothing.
    pub(super) async fn stat(&self, path: &Path) -> Result<Option<(bool, u64)>, Error> {
        let text = path.display().to_string();
        let container = self.container();
        if !self.lab.is_usable(&container).await? && self.lab.inspect(&container).await?.is_some() {
            return Ok(self.lab.stat_at_rest(&container, &text).await?);
        }
        let container = self.up().await?;
        let script = "stat -c '%F/%s' -- \"$1\" 2>/dev/null";
        let said = self
            .lab
            .engine
            .script(&container, script, &[&text], None)
            .await?
            .text();
        Ok(said
            .trim_end()
            .split_once('/')
            .map(|(kind, size)| (kind == "directory", size.parse().unwrap_or(0))))
    }

    pub async fn read_file(&self, path: impl AsRef<Path>) -> Result<Vec<u8>, Error> {
        let path = self.path(path);
        let read = self.read_from(&path, 0).await?;
        read.map(|(bytes, _)| bytes)
            .ok_or_else(|| Self::missing("read", &path.display().to_string()))
    }

    /// Writes a whole file in one step: readers see the old contents or the new ones.
    pub async fn write_file(
        &self,
        path: impl AsRef<Path>,
        contents: &[u8],
        mode: u32,
    ) -> Result<(), Error> {
        let path = self.inside(path.as_ref())?;
        let args = [
            path.as_str(),
            &format!("{mode:o}"),
            &contents.len().to_string(),
        ];
        self.must(("write", &path), WRITE, &args, Some(contents.to_vec()))
            .await?;
        Ok(())
    }

    /// Adds to the end of a file, which is created if it is missing.
    pub async fn append_file(&self, path: impl AsRef<Path>, contents: &[u8]) -> Result<(), Error> {
        let path = self.inside(path.as_ref())?;
        let script = "umask 077; cat >>\"$1\"";
        self.must(("write", &path), script, &[&path], Some(contents.to_vec()))
            .await?;
        Ok(())
    }

    /// Removes a file or a link; `false` when there was none.
    pub async fn remove_file(&self, path: impl AsRef<Path>) -> Result<bool, Error> {
        let path = self.inside(path.as_ref())?;
        let script = "[ -e \"$1\" ] || [ -L \"$1\" ] || { echo none; exit 0; }; rm -f -- \"$1\"";
        Ok(self
            .must(("remove", &path), script, &[&path], None)
            .await?
            .is_empty())
    }

    pub async fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<(), Error> {
        let (from, to) = (self.inside(from.as_ref())?, self.inside(to.as_ref())?);
        self.must(
            ("rename", &from),
            "mv -T -- \"$1\" \"$2\" 2>/dev/null || mv -- \"$1\" \"$2\"",
            &[&from, &to],
            None,
        )
        .await?;
        Ok(())
    }

    /// Makes a private directory, with those above it; an existing one is fine.
    pub async fn mkdir(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = self.inside(path.as_ref())?;
        self.must(
            ("create", &path),
            "umask 077; mkdir -p -- \"$1\"",
            &[&path],
            None,
        )
        .await?;
        Ok(())
    }

    pub async fn list_dir(&self, path: impl AsRef<Path>) -> Result<Vec<DirEntry>, Error> {
        let path = self.path(path).display().to_string();
        let text = self.must(("read", &path), LIST, &[&path], None).await?;
        let entry = |line: &str| {
            let mut parts = line.splitn(3, '/');
            Some(DirEntry {
                is_dir: parts.next()? == "directory",
                size: parts.next()?.parse().ok()?,
                name: parts.next()?.to_string(),
            })
        };
        let mut entries: Vec<DirEntry> = text.lines().filter_map(entry).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    pub async fn exists(&self, path: impl AsRef<Path>) -> bool {
        let path = self.path(path);
        matches!(self.stat(&path).await, Ok(Some(_)))
    }

    /// The length of a file in bytes.
    pub async fn file_size(&self, path: impl AsRef<Path>) -> Result<u64, Error> {
        let path = self.path(path);
        let found = self.stat(&path).await?;
        found
            .map(|(_, size)| size)
            .ok_or_else(|| Self::missing("read", &path.display().to_string()))
    }

    /// Files and bytes of a tree.
    pub async fn tree_size(&self, path: impl AsRef<Path>) -> Result<TreeSize, Error> {
        let path = self.path(path).display().to_string();
        let text = self.must(("measure", &path), SIZE, &[&path], None).await?;
        let mut numbers = text.split_whitespace().filter_map(|word| word.parse().ok());
        Ok(TreeSize {
            files: numbers.next().unwrap_or(0),
            bytes: numbers.next().unwrap_or(0),
        })
    }

    /// Copies a tree of the lab; the copy must not exist yet.
    pub async fn copy_tree(
        &self,
        from: impl AsRef<Path>,
        to: impl AsRef<Path>,
        options: CopyOptions,
    ) -> Result<Copied, Error> {
        let started = Instant::now();
        let (from, to) = (
            self.path(from).display().to_string(),
            self.inside(to.as_ref())?,
        );
        let links = if options.symlinks == Symlinks::Refuse {
            "refuse"
        } else {
            "keep"
        };
        let sync = if options.fsync { "yes" } else { "no" };
        let container = self.up().await?;
        let output = self
            .lab
            .engine
            .exec(
                &container,
                super::exec::Exec {
                    cwd: Some("/".into()),
                    ..self.command(
                        "/bin/sh",
                        &["-c", COPY, "rpitr", &from, &to, links, sync],
                        &Default::default(),
                    )
                },
            )
            .await?;
        let text = output.text();
        match output.code {
            0 => {}
            9 => {
                let mut lines = text.lines().map(PathBuf::from);
                return Err(Error::Symlink {
                    path: lines.next().unwrap_or_default(),
                    target: lines.next().unwrap_or_default(),
                });
            }
            _ => {
                return Err(super::Error::Script {
                    doing: "copy",
                    what: format!("{from} to {to}"),
                    container,
                    stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
                }
                .into());
            }
        }
        let mut numbers = text.split_whitespace().filter_map(|word| word.parse().ok());
        Ok(Copied {
            files: numbers.next().unwrap_or(0),
            dirs: numbers.next().unwrap_or(0),
            bytes: numbers.next().unwrap_or(0),
            elapsed: started.elapsed(),
        })
    }

    /// Removes a tree inside the node's own volume or the lab's store; `false` when there was none.
    pub async fn remove_tree(&self, path: impl AsRef<Path>) -> Result<bool, Error> {
        let path = self.inside(path.as_ref())?;
        let lab_dir = self.lab.lab_dir.clone();
        if Path::new(&path) == lab_dir || Path::new(&path) == self.record.borrow().dir {
            return Err(Error::OutsideLab {
                path: path.into(),
                lab_dir,
            });
        }
        let script = "[ -e \"$1\" ] || [ -L \"$1\" ] || { echo none; exit 0; }; rm -rf -- \"$1\"";
        Ok(self
            .must(("remove", &path), script, &[&path], None)
            .await?
            .is_empty())
    }

    /// Space on the disk that holds the node's data.
    pub async fn disk_space(&self) -> Result<DiskSpace, Error> {
        let dir = self.record.borrow().dir.display().to_string();
        let text = self
            .must(
                ("measure", &dir),
                "df -Pk -- \"$1\" | tail -n 1",
                &[&dir],
                None,
            )
            .await?;
        let mut numbers = text
            .split_whitespace()
            .skip(1)
            .filter_map(|word| word.parse::<u64>().ok());
        let total = numbers.next().unwrap_or(0) * 1024;
        Ok(DiskSpace {
            total,
            available: numbers.nth(1).unwrap_or(0) * 1024,
        })
    }
}
