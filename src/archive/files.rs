//! The WAL files of a directory, one by one, with the positions each covers.

use std::path::Path;
use std::time::SystemTime;
use std::{fs, io};

use super::Error;
use crate::wal::{FileName, Lsn, Packing, SegmentSize};

/// A file with a WAL name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalFile {
    pub name: String,
    pub parsed: FileName,
    pub timeline: u32,
    /// The positions a segment covers; for a `.backup` file the position the backup began at.
    pub start: Option<Lsn>,
    pub end: Option<Lsn>,
    pub bytes: u64,
    pub modified: Option<SystemTime>,
}

impl WalFile {
    /// What kind of file it is, in one word.
    pub fn kind(&self) -> &'static str {
        match self.parsed {
            FileName::Segment { .. } => "segment",
            FileName::Partial { .. } => "partial",
            FileName::History { .. } => "history",
            FileName::Backup { .. } => "backup",
        }
    }
}

/// Lists the files of a directory that have a WAL name, compressed or not, in the order of their names.
pub fn files(dir: &Path, size: SegmentSize) -> Result<Vec<WalFile>, Error> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(|e| Error::io("list", dir, e))? {
        let entry = entry.map_err(|e| Error::io("list", dir, e))?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let Some((parsed, _)) = Packing::parse(&name) else {
            continue;
        };
        let metadata = match fs::metadata(entry.path()) {
            Ok(metadata) => metadata,
            // Removed by its server while the directory was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io("look at", entry.path(), error)),
        };
        let first = parsed.number(size).map(|number| size.start(number));
        let (start, end) = match parsed {
            FileName::Backup { offset, .. } => (first.map(|lsn| lsn.plus(offset.into())), None),
            FileName::History { .. } => (None, None),
            _ => (first, first.map(|lsn| lsn.plus(size.bytes()))),
        };
        found.push(WalFile {
            timeline: parsed.timeline(),
            start,
            end,
            bytes: metadata.len(),
            modified: metadata.modified().ok(),
            parsed,
            name,
        });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}
