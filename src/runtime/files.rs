//! Trees of files: copying a backup or a data directory faithfully and fast, measuring, disk space.

use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::Error;

/// What a copy does with symbolic links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Symlinks {
    /// Fail: a tablespace link followed, or kept, would make the copy share files with the original.
    #[default]
    Refuse,
    /// Copy the link itself.
    Keep,
}

/// How a tree is copied.
#[derive(Debug, Clone, Default)]
pub struct CopyOptions {
    pub symlinks: Symlinks,
    /// Flush every file and directory to disk.
    pub fsync: bool,
    /// Threads; default: one for each processor, at most 4.
    pub threads: Option<usize>,
    /// Give the copy to this user and group instead of the original's.
    pub owner: Option<(u32, u32)>,
}

/// What was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Copied {
    pub files: u64,
    pub dirs: u64,
    pub bytes: u64,
    pub elapsed: Duration,
}

/// The size of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TreeSize {
    pub files: u64,
    pub bytes: u64,
}

/// Space of a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    pub total: u64,
    /// What an ordinary user may still write.
    pub available: u64,
}

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    pub name: String,
    pub is_dir: bool,
    pub size: u64,
}

/// Copies the tree `from` to `to`, which must not exist or be empty: contents, modes and owners, and
/// every file there is. Where the file system can share blocks (Btrfs, XFS, APFS) the system does so
/// by itself. Dropping the future stops the copy.
pub async fn copy_tree(from: &Path, to: &Path, options: CopyOptions) -> Result<Copied, Error> {
    let (from, to) = (from.to_path_buf(), to.to_path_buf());
    let stop = Arc::new(AtomicBool::new(false));
    let _guard = StopOnDrop(stop.clone());
    tokio::task::spawn_blocking(move || copy_blocking(&from, &to, &options, &stop))
        .await
        .map_err(|error| Error::Worker(error.to_string()))?
}

struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct File {
    from: PathBuf,
    to: PathBuf,
    size: u64,
    mode: u32,
    owner: (u32, u32),
}

fn copy_blocking(
    from: &Path,
    to: &Path,
    options: &CopyOptions,
    stop: &AtomicBool,
) -> Result<Copied, Error> {
    let started = Instant::now();
    let (mut files, mut dirs) = (Vec::new(), Vec::new());
    let mut copied = Copied::default();
    for entry in walkdir::WalkDir::new(from).follow_links(false) {
        let entry = entry.map_err(|error| walk_error(from, error))?;
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Worker("the copy was cancelled".into()));
        }
        let relative = entry.path().strip_prefix(from).unwrap_or(Path::new(""));
        let target = match relative.as_os_str().is_empty() {
            true => to.to_path_buf(),
            false => to.join(relative),
        };
        let found = entry.metadata().map_err(|error| walk_error(from, error))?;
        let owner = options.owner.unwrap_or((found.uid(), found.gid()));
        let kind = found.file_type();
        if kind.is_dir() {
            make_dir(&target, relative.as_os_str().is_empty())?;
            dirs.push((target, found.mode(), owner));
            copied.dirs += 1;
        } else if kind.is_file() {
            copied.bytes += found.size();
            copied.files += 1;
            files.push(File {
                from: entry.into_path(),
                to: target,
                size: found.size(),
                mode: found.mode(),
                owner,
            });
        } else if kind.is_symlink() {
            copy_link(entry.path(), &target, owner, options.symlinks)?;
        } else {
            return Err(Error::SpecialFile {
                path: entry.into_path(),
            });
        }
    }
    copy_files(&files, options, stop)?;
    // Deepest first, when nothing is created in them any more: a directory may be read-only.
    for (dir, mode, owner) in dirs.iter().rev() {
        set_owner(dir, *owner)?;
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(mode & 0o7777))
            .map_err(Error::io("change the mode of", dir))?;
        if options.fsync {
            std::fs::File::open(dir)
                .and_then(|dir| dir.sync_all())
                .map_err(Error::io("flush", dir))?;
        }
    }
    copied.elapsed = started.elapsed();
    Ok(copied)
}

fn make_dir(path: &Path, is_root: bool) -> Result<(), Error> {
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        // Only the root of the copy may be there already, and then it is empty.
        Err(error)
            if is_root
                && error.kind() == std::io::ErrorKind::AlreadyExists
                && std::fs::read_dir(path).is_ok_and(|mut dir| dir.next().is_none()) =>
        {
            Ok(())
        }
        made => made.map_err(Error::io("create", path)),
    }
}

fn copy_link(from: &Path, to: &Path, owner: (u32, u32), symlinks: Symlinks) -> Result<(), Error> {
    let target = std::fs::read_link(from).map_err(Error::io("read", from))?;
    match symlinks {
        Symlinks::Refuse => Err(Error::Symlink {
            path: from.to_path_buf(),
            target,
        }),
        Symlinks::Keep => {
            std::os::unix::fs::symlink(target, to).map_err(Error::io("create", to))?;
            set_owner(to, owner)
        }
    }
}

fn set_owner(path: &Path, (uid, gid): (u32, u32)) -> Result<(), Error> {
    let found = std::fs::symlink_metadata(path).map_err(Error::io("read", path))?;
    if (found.uid(), found.gid()) == (uid, gid) {
        return Ok(());
    }
    std::os::unix::fs::lchown(path, Some(uid), Some(gid))
        .map_err(Error::io("change the owner of", path))
}

fn copy_files(files: &[File], options: &CopyOptions, stop: &AtomicBool) -> Result<(), Error> {
    let cores = std::thread::available_parallelism().map_or(1, |count| count.get());
    let threads = options.threads.unwrap_or(cores.min(4)).clamp(1, 16);
    // Large files first, so that no thread ends with one alone.
    let mut order: Vec<&File> = files.iter().collect();
    order.sort_by_key(|file| std::cmp::Reverse(file.size));
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let work = || -> Result<(), Error> {
        let mut buffer = Vec::new();
        while let Some(file) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            if stop.load(Ordering::Relaxed) {
                return Err(Error::Worker("the copy was cancelled".into()));
            }
            if failed.load(Ordering::Relaxed) {
                break; // The thread that failed tells why.
            }
            copy_file(file, options.fsync, &mut buffer)
                .inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut result = work();
        for worker in workers {
            let other = worker
                .join()
                .unwrap_or_else(|_| Err(Error::Worker("a copying thread panicked".into())));
            result = result.and(other);
        }
        result
    })
}

/// Up to this size reading and writing is faster than having the kernel copy (measured: a fresh
/// cluster of 970 files takes two thirds of the time).
const SMALL: u64 = 1 << 20;

fn copy_file(file: &File, fsync: bool, buffer: &mut Vec<u8>) -> Result<(), Error> {
    let mut copy = || -> std::io::Result<()> {
        let target = if file.size <= SMALL {
            buffer.clear();
            std::fs::File::open(&file.from)?.read_to_end(buffer)?;
            let mut target = std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&file.to)?;
            target.write_all(buffer)?;
            target
        } else {
            // `std::fs::copy` has the kernel copy (copy_file_range, fclonefileat), which shares blocks
            // where the file system can.
            std::fs::copy(&file.from, &file.to)?;
            std::fs::File::open(&file.to)?
        };
        let (uid, gid) = file.owner;
        let found = target.metadata()?;
        if (found.uid(), found.gid()) != (uid, gid) {
            std::os::unix::fs::fchown(&target, Some(uid), Some(gid))?;
        }
        // After the owner: changing that takes the set-id bits away.
        if found.mode() & 0o7777 != file.mode & 0o7777 {
            target.set_permissions(std::fs::Permissions::from_mode(file.mode & 0o7777))?;
        }
        if fsync {
            target.sync_all()?;
        }
        Ok(())
    };
    copy().map_err(Error::io("copy to", &file.to))
}

fn walk_error(root: &Path, error: walkdir::Error) -> Error {
    let path = error.path().unwrap_or(root).to_path_buf();
    let source = error
        .into_io_error()
        .unwrap_or_else(|| std::io::Error::other("the tree contains itself"));
    Error::Io {
        doing: "read",
        path,
        source,
    }
}

/// The size of a tree; files that vanish while it is measured do not count.
pub fn tree_size(path: &Path) -> Result<TreeSize, Error> {
    std::fs::symlink_metadata(path).map_err(Error::io("read", path))?;
    let mut size = TreeSize::default();
    for entry in walkdir::WalkDir::new(path).follow_links(false) {
        let found = entry.ok().and_then(|entry| entry.metadata().ok());
        if let Some(found) = found.filter(std::fs::Metadata::is_file) {
            size.files += 1;
            size.bytes += found.size();
        }
    }
    Ok(size)
}

/// The space of the file system that holds `path`.
pub fn disk_space(path: &Path) -> Result<DiskSpace, Error> {
    let found = nix::sys::statvfs::statvfs(path)
        .map_err(|errno| Error::io("measure", path)(errno.into()))?;
    let unit = found.fragment_size();
    // The width of these numbers differs between systems.
    #[allow(clippy::useless_conversion)]
    let (total, available) = (
        u64::from(found.blocks()),
        u64::from(found.blocks_available()),
    );
    Ok(DiskSpace {
        total: total.saturating_mul(unit),
        available: available.saturating_mul(unit),
    })
}

/// The entries of a directory, by name.
pub fn list_dir(path: &Path) -> Result<Vec<DirEntry>, Error> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(path).map_err(Error::io("read", path))? {
        let entry = entry.map_err(Error::io("read", path))?;
        let Ok(found) = entry.metadata() else {
            continue; // Gone meanwhile.
        };
        entries.push(DirEntry {
            name: entry.file_name().to_string_lossy().into_owned(),
            is_dir: found.is_dir(),
            size: found.size(),
        });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}
