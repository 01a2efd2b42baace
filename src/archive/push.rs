//! Puts one file into an archive, for PostgreSQL's `archive_command`.
//!
//! A name is visible only with its whole, durable content: temporary file, fsync, link under the
//! final name (which fails when the name exists, so racing pushers cannot overwrite each other),
//! fsync of the directory. Pushing the same content again succeeds, because PostgreSQL retries
//! after a crash; different content is refused.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::fcntl::{Flock, FlockArg};

use super::{Error, identity};
use crate::wal::{FileName, Identity, PageHeader, parse_history};

const TEMP_PREFIX: &str = ".rpitr-tmp.";

/// What a push did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pushed {
    pub bytes: u64,
    /// The same content was there already.
    pub already: bool,
}

/// Archives `source` under `name`.
pub fn push(source: &Path, archive: &Path, name: &str) -> Result<Pushed, Error> {
    let parsed = FileName::parse(name).ok_or_else(|| Error::Name {
        name: name.to_string(),
    })?;
    let file = File::open(source).map_err(|e| Error::io("open", source, e))?;
    let bytes = file
        .metadata()
        .map_err(|e| Error::io("read", source, e))?
        .len();
    let found = check(&file, source, bytes, name, parsed)?;
    // A missing mount must not become a directory that is lost with the next boot.
    fs::read_dir(archive).map_err(|e| Error::io("open archive", archive, e))?;
    if let Some(found) = found {
        identity::compare(name, found, identity::claim(archive, found)?)?;
    }
    let target = archive.join(name);
    if target.symlink_metadata().is_ok() {
        return same(&file, &target, name, bytes, archive);
    }
    if clean_up_now(parsed) {
        remove_leftovers(archive);
    }
    let temp = Temp::create(archive, name)?;
    temp.fill(&file, source)?;
    match fs::hard_link(&temp.path, &target) {
        Ok(()) => {
            drop(temp);
            sync_dir(archive)?;
            Ok(Pushed {
                bytes,
                already: false,
            })
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            drop(temp);
            same(&file, &target, name, bytes, archive)
        }
        Err(error) => Err(Error::io("write", target, error)),
    }
}

/// Whether the file is what its name says. Returns the identity a segment carries.
fn check(
    file: &File,
    source: &Path,
    bytes: u64,
    name: &str,
    parsed: FileName,
) -> Result<Option<Identity>, Error> {
    let bad_text = |problem: String| Error::BadText {
        name: name.to_string(),
        problem,
    };
    match parsed {
        FileName::History { timeline } => {
            let text = fs::read(source).map_err(|e| Error::io("read", source, e))?;
            parse_history(timeline, &String::from_utf8_lossy(&text))
                .map_err(|e| bad_text(e.to_string()))?;
            Ok(None)
        }
        FileName::Backup { .. } => {
            let text = fs::read(source).map_err(|e| Error::io("read", source, e))?;
            if text.starts_with(b"START WAL LOCATION") {
                Ok(None)
            } else {
                Err(bad_text("it is not a backup history file".to_string()))
            }
        }
        FileName::Segment { timeline, .. } | FileName::Partial { timeline, .. } => {
            let no_header = || Error::NoHeader {
                name: name.to_string(),
            };
            if bytes == 0 {
                return Err(Error::WrongSize {
                    name: name.to_string(),
                    found: 0,
                    expected: crate::wal::SegmentSize::DEFAULT.bytes(),
                });
            }
            let identity = Identity::of_file(source)?.ok_or_else(no_header)?;
            let mut first = [0u8; 64];
            file.read_exact_at(&mut first, 0)
                .map_err(|e| Error::io("read", source, e))?;
            let header = PageHeader::parse(&first).ok_or_else(no_header)?;
            let size = identity.segment_size;
            if bytes != size.bytes() {
                return Err(Error::WrongSize {
                    name: name.to_string(),
                    found: bytes,
                    expected: size.bytes(),
                });
            }
            let expected = parsed.number(size).map(|number| size.start(number));
            if expected != Some(header.address) {
                return Err(Error::Misnamed {
                    name: name.to_string(),
                    found: header.address,
                    expected: expected.unwrap_or_default(),
                });
            }
            if header.timeline > timeline {
                return Err(Error::Timeline {
                    name: name.to_string(),
                    found: header.timeline,
                });
            }
            Ok(Some(identity))
        }
    }
}

/// The name exists: fine when the content is the same. It is made durable again, because the
/// push that wrote it may have died before it could.
fn same(
    source: &File,
    target: &Path,
    name: &str,
    bytes: u64,
    archive: &Path,
) -> Result<Pushed, Error> {
    let there = File::open(target).map_err(|e| Error::io("open", target, e))?;
    if !equal(source, &there).map_err(|e| Error::io("compare", target, e))? {
        return Err(Error::Conflict {
            name: name.to_string(),
        });
    }
    there.sync_all().map_err(|e| Error::io("sync", target, e))?;
    sync_dir(archive)?;
    Ok(Pushed {
        bytes,
        already: true,
    })
}

fn equal(a: &File, b: &File) -> io::Result<bool> {
    if a.metadata()?.len() != b.metadata()?.len() {
        return Ok(false);
    }
    let (mut x, mut y) = (vec![0u8; 1 << 20], vec![0u8; 1 << 20]);
    let mut offset = 0;
    loop {
        let got = a.read_at(&mut x, offset)?;
        if got == 0 {
            return Ok(true);
        }
        if b.read_exact_at(&mut y[..got], offset).is_err() || x[..got] != y[..got] {
            return Ok(false);
        }
        offset += got as u64;
    }
}

pub(super) fn sync_dir(dir: &Path) -> Result<(), Error> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|e| Error::io("sync", dir, e))
}

/// A unique name that no reader of archives takes for a WAL file.
pub(super) fn temp_name(name: &str) -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!(
        "{TEMP_PREFIX}{name}.{}.{}.{count}",
        std::process::id(),
        now.as_nanos()
    )
}

/// A temporary file, locked while its push lives and removed when dropped.
struct Temp {
    path: PathBuf,
    lock: Flock<File>,
}

impl Temp {
    fn create(archive: &Path, name: &str) -> Result<Temp, Error> {
        let path = archive.join(temp_name(name));
        let file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o640)
            .open(&path)
            .map_err(|e| Error::io("create", &path, e))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Temp { path, lock }),
            Err((_, errno)) => {
                let _ = fs::remove_file(&path);
                Err(Error::io("lock", path, errno.into()))
            }
        }
    }

    fn fill(&self, source: &File, from: &Path) -> Result<(), Error> {
        let mut source = source;
        let mut target: &File = &self.lock;
        let mut buffer = vec![0u8; 1 << 20];
        loop {
            let got = match source.read(&mut buffer) {
                Ok(0) => break,
                Ok(got) => got,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Error::io("read", from, e)),
            };
            target
                .write_all(&buffer[..got])
                .map_err(|e| Error::io("write", &self.path, e))?;
        }
        target
            .sync_all()
            .map_err(|e| Error::io("sync", &self.path, e))
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Listing a large archive costs more than a push, so leftovers are looked for now and then.
fn clean_up_now(name: FileName) -> bool {
    match name {
        FileName::Segment { low, .. } => low.is_multiple_of(16),
        _ => true,
    }
}

/// Removes temporary files of pushes that died: those nobody holds a lock on.
fn remove_leftovers(archive: &Path) {
    let Ok(entries) = fs::read_dir(archive) else {
        return;
    };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(TEMP_PREFIX) {
            continue;
        }
        // A push that has created its file but not locked it yet is younger than this.
        let old = entry
            .metadata()
            .and_then(|m| m.modified())
            .is_ok_and(|t| t.elapsed().is_ok_and(|age| age.as_secs() >= 10));
        if let (true, Ok(file)) = (old, File::open(entry.path()))
            && Flock::lock(file, FlockArg::LockExclusiveNonblock).is_ok()
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}
