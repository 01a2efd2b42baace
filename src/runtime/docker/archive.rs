//! Archiving from inside a container: a shell script does the work, and because a shell cannot verify
//! WAL, this machine reads the archive before a recovery and leaves its verdict on every file.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::view::Mirror;
use super::{DockerLab, Error};
use crate::archive::{self, FetchOptions, Listing};

/// What `archive_command` and `restore_command` run.
pub(super) const SCRIPT: &str = include_str!("../../../compose/common/archive.sh");

/// The most names, beside those that exist, that are judged: holes between segments.
const MOST_HOLES: u64 = 20_000;

/// The verdicts on one archive.
#[derive(Debug, Clone, Default)]
pub(super) struct Verdicts {
    system_id: Option<u64>,
    /// A snapshot that stands in for the segment that was being received.
    tail: Option<PathBuf>,
    /// The files they are about, by their identity in the volume.
    basis: BTreeMap<String, String>,
    lines: BTreeMap<String, String>,
}

impl DockerLab {
    /// The program and first arguments of an `archive_command`.
    pub fn push_command(&self, archive: &Path) -> Vec<String> {
        let script = self.lab_dir.join("bin/rpitr-archive");
        ["/bin/sh", &text(&script), "archive-push", &text(archive)]
            .map(String::from)
            .into()
    }

    /// The program and first arguments of a `restore_command`. The archive is read now, and again
    /// whenever a server of the lab starts.
    pub async fn fetch_command(
        &self,
        archive: &Path,
        log: &Path,
        system_id: Option<u64>,
        tail: Option<&Path>,
    ) -> Result<Vec<String>, Error> {
        let mut mirror = self.mirror.lock().await;
        let known = mirror.verdicts.entry(archive.to_path_buf()).or_default();
        if known.system_id != system_id || known.tail.as_deref() != tail {
            *known = Verdicts {
                system_id,
                tail: tail.map(Path::to_path_buf),
                ..Verdicts::default()
            };
        }
        self.judge(&mut mirror, archive).await?;
        let script = self.lab_dir.join("bin/rpitr-archive");
        let verdicts = self.verdicts_file(archive);
        Ok([
            "/bin/sh",
            &text(&script),
            "archive-fetch",
            &text(archive),
            &text(&verdicts),
            &text(log),
        ]
        .map(String::from)
        .into())
    }

    fn verdicts_file(&self, archive: &Path) -> PathBuf {
        let name = archive.strip_prefix(&self.lab_dir).unwrap_or(archive);
        let name = name.display().to_string().replace('/', "-");
        self.lab_dir.join("bin").join(format!("verdicts-{name}"))
    }

    /// Brings the verdicts up to date that some server may ask for.
    pub(super) async fn refresh_verdicts(&self) -> Result<(), Error> {
        let mut mirror = self.mirror.lock().await;
        let archives: Vec<PathBuf> = mirror.verdicts.keys().cloned().collect();
        for archive in archives {
            self.judge(&mut mirror, &archive).await?;
        }
        Ok(())
    }

    async fn judge(&self, mirror: &mut Mirror, archive: &Path) -> Result<(), Error> {
        self.view_into(mirror, archive).await?;
        let basis = basis_of(mirror, archive);
        let old = mirror.verdicts.get(archive).cloned().unwrap_or_default();
        if let Some(folder) = old.tail.as_ref().and_then(|tail| tail.parent()) {
            self.view_into(mirror, folder).await?;
        }
        if old.basis == basis && !old.basis.is_empty() {
            return Ok(());
        }
        let folder = archive.to_path_buf();
        let work = tokio::task::spawn_blocking(move || judge_all(&folder, basis, &old));
        let failed = |reason: String| Error::Answer {
            what: format!("archive {}", archive.display()),
            reason,
        };
        let verdicts = work
            .await
            .map_err(|error| failed(error.to_string()))?
            .map_err(|error| failed(error.to_string()))?;
        let mut report = String::new();
        for (name, line) in &verdicts.lines {
            report.push_str(&format!("{name} {line}\n"));
        }
        mirror.verdicts.insert(archive.to_path_buf(), verdicts);
        let target = text(&self.verdicts_file(archive));
        let container = self.any_container().await?;
        let script = "umask 077; cat >\"$1.new\" && mv -f \"$1.new\" \"$1\"";
        self.engine
            .must(
                &container,
                ("write", &target),
                script,
                &[&target],
                Some(report.into_bytes()),
            )
            .await?;
        Ok(())
    }
}

fn basis_of(mirror: &Mirror, archive: &Path) -> BTreeMap<String, String> {
    let own = |path: &&PathBuf| path.parent() == Some(archive);
    let names = mirror.seen.keys().filter(own);
    names
        .filter_map(|path| {
            let name = path.file_name()?.to_string_lossy().into_owned();
            Some((name, mirror.seen.get(path)?.clone()))
        })
        .collect()
}

/// Fetches every file as a recovery on this machine would, and notes how that went.
fn judge_all(
    archive: &Path,
    basis: BTreeMap<String, String>,
    old: &Verdicts,
) -> Result<Verdicts, archive::Error> {
    let options = FetchOptions {
        system_id: old.system_id,
        tail: old.tail.clone(),
    };
    let listing = Listing::read(archive)?;
    let scratch = archive.with_file_name(format!(
        ".judge-{}-{:08x}",
        std::process::id(),
        rand::random::<u32>()
    ));
    let mut lines = BTreeMap::new();
    let last: HashMap<u32, String> = listing
        .segments
        .iter()
        .filter_map(|(timeline, numbers)| {
            let size = listing.segment_size();
            Some((*timeline, size.name(*timeline, *numbers.last()?)))
        })
        .collect();
    for name in basis.keys().filter(|name| !name.starts_with('.')) {
        // The newest segment may have been judged when nothing came after it.
        let settled =
            old.basis.get(name) == basis.get(name) && !last.values().any(|tip| tip == name);
        let before = old
            .lines
            .get(name)
            .filter(|line| settled && line.starts_with("ok "));
        let line = match before {
            Some(line) => line.clone(),
            None => judge(archive, name, &scratch, &options),
        };
        lines.insert(name.clone(), line);
    }
    for name in absent_names(&listing) {
        let line = judge(archive, &name, &scratch, &options);
        lines.entry(name).or_insert(line);
    }
    // What stands in for a segment lies elsewhere; its verdict says where.
    if let Some(tail) = &old.tail
        && let Some(name) = segment_name(tail)
        && !basis.contains_key(&name)
    {
        let line = judge(archive, &name, &scratch, &options);
        let line = match line.strip_prefix("ok ") {
            Some(rest) => format!("tail {rest} {}", text(tail)),
            None => line,
        };
        lines.insert(name, line);
    }
    let _ = std::fs::remove_file(&scratch);
    Ok(Verdicts {
        system_id: old.system_id,
        tail: old.tail.clone(),
        basis,
        lines,
    })
}

/// Names between the first and the last segment, on every timeline, and of histories, that do not exist.
fn absent_names(listing: &Listing) -> Vec<String> {
    let size = listing.segment_size();
    let numbers = || listing.segments.values().flatten().copied();
    let (first, last) = (numbers().min().unwrap_or(0), numbers().max().unwrap_or(0));
    let newest = listing
        .segments
        .keys()
        .chain(listing.histories.keys())
        .max();
    let newest = newest.copied().unwrap_or(1);
    let mut names = Vec::new();
    for (timeline, there) in &listing.segments {
        let missing = (first..=last).filter(|number| !there.contains(number));
        names.extend(
            missing
                .take(MOST_HOLES as usize)
                .map(|number| size.name(*timeline, number)),
        );
    }
    let missing =
        (1..=newest.saturating_add(1)).filter(|timeline| !listing.histories.contains_key(timeline));
    names.extend(missing.map(|timeline| format!("{timeline:08X}.history")));
    names
}

fn segment_name(snapshot: &Path) -> Option<String> {
    archive::segment_of(snapshot)?;
    Some(snapshot.file_name()?.to_str()?.get(..24)?.to_string())
}

/// What follows a name in the verdicts.
fn judge(archive: &Path, name: &str, scratch: &Path, options: &FetchOptions) -> String {
    let one_line = |text: String| text.replace(['\n', '\r', '\\'], " ");
    match archive::fetch(archive, name, scratch, options) {
        Ok(bytes) => match archive::sha256(scratch) {
            Ok(sum) => format!("ok {bytes} {sum}"),
            Err(error) => format!("no io {}", one_line(error.to_string())),
        },
        Err(archive::Error::Absent { .. }) => "absent".into(),
        Err(error @ (archive::Error::Hole { .. } | archive::Error::MissingHistory { .. })) => {
            format!("gone {} {}", error.code(), one_line(error.to_string()))
        }
        Err(error) => format!("no {} {}", error.code(), one_line(error.to_string())),
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
