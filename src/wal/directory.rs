//! A directory of WAL files seen along one chain of timelines.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::page::{Expect, LONG_HEADER, PageHeader};
use super::unpack::{Packing, Source};
use super::{Chain, Error, FileName, Lsn, PAGE_SIZE, SegmentSize, major_of_magic};

/// What all WAL of one cluster and major version has in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    pub system_id: u64,
    pub segment_size: SegmentSize,
    /// The page magic, which stands for the major version.
    pub magic: u16,
}

impl Identity {
    /// The PostgreSQL major version.
    pub fn major(&self) -> u16 {
        major_of_magic(self.magic).unwrap_or(0)
    }

    /// Reads the first page header of a segment. `Ok(None)`: there is no valid header in it.
    pub fn of_file(path: &Path) -> Result<Option<Identity>, Error> {
        let name = path.file_name().and_then(|name| name.to_str());
        let packing = name.and_then(Packing::parse).map_or(Packing::None, |n| n.1);
        let mut source =
            Source::open(path, packing, true).map_err(|e| Error::io("open", path, e))?;
        let mut bytes = [0u8; LONG_HEADER];
        match source.read_at(&mut bytes, 0) {
            Ok(LONG_HEADER) => Identity::of_header(&bytes, path),
            Ok(_) => Ok(None),
            Err(e) => Err(Error::io("read", path, e)),
        }
    }

    /// What most of the segments in a directory say. Fails when none has a readable header.
    pub fn of_directory(dir: &Path) -> Result<Identity, Error> {
        let listed = list_files(dir)?;
        let segments: Vec<_> = listed
            .iter()
            .filter(|file| matches!(file.name, FileName::Segment { .. }))
            .collect();
        majority(dir, &segments)
    }

    fn of_header(bytes: &[u8], path: &Path) -> Result<Option<Identity>, Error> {
        let Some(header) = PageHeader::parse(bytes) else {
            return Ok(None);
        };
        let Some(long) = header.long else {
            return Ok(None);
        };
        let Some(segment_size) = SegmentSize::new(u64::from(long.segment_size)) else {
            return Ok(None);
        };
        if long.page_size as usize != PAGE_SIZE {
            return Err(Error::PageSize {
                path: path.to_path_buf(),
                page_size: long.page_size,
            });
        }
        if major_of_magic(header.magic).is_none() {
            return Err(Error::UnknownMagic {
                path: path.to_path_buf(),
                magic: header.magic,
            });
        }
        Ok(Some(Identity {
            system_id: long.system_id,
            segment_size,
            magic: header.magic,
        }))
    }
}

/// How to look at a directory.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Which timeline to follow; the newest in the directory unless given.
    pub timeline: Option<u32>,
    /// Expect this cluster instead of the one most segments belong to.
    pub identity: Option<Identity>,
    /// The directory is a server's own `pg_wal`, where segments made in advance or kept for
    /// reuse lie behind the end of WAL.
    pub live: bool,
    /// Also read `.partial` files where the whole segment does not exist. Archive recovery
    /// never does.
    pub partials: bool,
    /// A file that stands in for one more segment where that does not exist: a copy of what was being
    /// received, named `SEGMENT.anything`.
    pub tail: Option<PathBuf>,
}

/// The file that serves one segment of the chain.
#[derive(Debug, Clone)]
pub struct SegmentFile {
    pub path: PathBuf,
    pub timeline: u32,
    /// Beyond this position the file is a dead branch.
    pub until: Option<Lsn>,
    pub partial: bool,
    pub packing: Packing,
}

/// The WAL of one cluster along one chain of timelines.
#[derive(Debug, Clone)]
pub struct Wal {
    dir: PathBuf,
    chain: Chain,
    identity: Identity,
    pub(super) files: BTreeMap<u64, SegmentFile>,
    pub(super) live: bool,
}

/// A file with the name of a WAL file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedFile {
    pub name: FileName,
    pub packing: Packing,
    pub path: PathBuf,
}

impl ListedFile {
    pub fn is_partial(&self) -> bool {
        matches!(self.name, FileName::Partial { .. })
    }
}

/// The files of a directory that have a WAL name, compressed ones included, sorted by name;
/// temporary and other files are left out.
pub fn list_files(dir: &Path) -> Result<Vec<ListedFile>, Error> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(|e| Error::io("list", dir, e))? {
        let entry = entry.map_err(|e| Error::io("list", dir, e))?;
        if let Some((name, packing)) = entry.file_name().to_str().and_then(Packing::parse) {
            found.push(ListedFile {
                name,
                packing,
                path: entry.path(),
            });
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

impl Wal {
    /// Opens a directory of segments, plain or compressed: an archive or a `pg_wal`. Where a
    /// segment exists more than once, the whole one and then the plain one is read.
    pub fn open(dir: &Path, options: &Options) -> Result<Wal, Error> {
        let mut listed = list_files(dir)?;
        listed.extend(options.tail.iter().filter_map(|path| {
            let segment = path.file_name()?.to_str()?.get(..24)?;
            Some(ListedFile {
                name: FileName::parse(&format!("{segment}.partial"))?,
                packing: Packing::None,
                path: path.clone(),
            })
        }));
        let is_segment = |file: &&ListedFile| match file.name {
            FileName::Segment { .. } => true,
            FileName::Partial { .. } => {
                options.partials || options.tail.as_ref() == Some(&file.path)
            }
            _ => false,
        };
        let segments: Vec<_> = listed.iter().filter(is_segment).collect();
        if segments.is_empty() {
            return Err(Error::NoSegments {
                dir: dir.to_path_buf(),
            });
        }
        let newest = listed.iter().map(|file| file.name.timeline()).max();
        let chain = Chain::load(dir, options.timeline.or(newest).unwrap_or(1))?;
        let identity = match options.identity {
            Some(identity) => identity,
            None => majority(dir, &segments)?,
        };
        let mut by_number: BTreeMap<u64, Vec<&ListedFile>> = BTreeMap::new();
        for file in &segments {
            if let Some(number) = file.name.number(identity.segment_size) {
                by_number.entry(number).or_default().push(file);
            }
        }
        let mut files = BTreeMap::new();
        for (number, mut candidates) in by_number {
            candidates.sort_by_key(|file| (file.is_partial(), file.packing != Packing::None));
            let mut serving = chain.serving(number, identity.segment_size);
            let file = serving.find_map(|(timeline, until)| {
                let file = candidates.iter().find(|f| f.name.timeline() == timeline)?;
                Some(SegmentFile {
                    path: file.path.clone(),
                    timeline,
                    until,
                    partial: file.is_partial(),
                    packing: file.packing,
                })
            });
            if let Some(file) = file {
                files.insert(number, file);
            }
        }
        Ok(Wal {
            dir: dir.to_path_buf(),
            chain,
            identity,
            files,
            live: options.live,
        })
    }

    /// Segments given by hand, whatever their paths: each number with its timeline and file.
    pub fn of_files(
        dir: &Path,
        files: impl IntoIterator<Item = (u64, u32, PathBuf)>,
        chain: Chain,
        identity: Identity,
    ) -> Wal {
        let files = files
            .into_iter()
            .map(|(number, timeline, path)| {
                let name = path.file_name().and_then(|name| name.to_str());
                let packing = name
                    .and_then(Packing::parse)
                    .map_or(Packing::None, |(_, p)| p);
                let file = SegmentFile {
                    path,
                    timeline,
                    until: None,
                    partial: false,
                    packing,
                };
                (number, file)
            })
            .collect();
        Wal {
            dir: dir.to_path_buf(),
            chain,
            identity,
            files,
            live: false,
        }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    pub fn identity(&self) -> Identity {
        self.identity
    }

    pub fn segment_size(&self) -> SegmentSize {
        self.identity.segment_size
    }

    /// The segments on the chain, by number.
    pub fn files(&self) -> impl Iterator<Item = (u64, &SegmentFile)> {
        self.files.iter().map(|(number, file)| (*number, file))
    }

    /// The start of the first segment on the chain.
    pub fn first(&self) -> Option<Lsn> {
        let number = self.files.keys().next()?;
        Some(self.segment_size().start(*number))
    }

    /// The end of the last segment on the chain.
    pub fn last(&self) -> Option<Lsn> {
        let number = self.files.keys().next_back()?;
        Some(self.segment_size().start(number.saturating_add(1)))
    }

    pub(super) fn expect(&self) -> Expect {
        Expect {
            magic: self.identity.magic,
            system_id: self.identity.system_id,
            segment_size: self.identity.segment_size.bytes(),
        }
    }

    /// The name segment `number` should have on this chain.
    pub(super) fn expected_name(&self, number: u64) -> String {
        let size = self.segment_size();
        let timeline = self
            .chain
            .serving(number, size)
            .next()
            .map_or(self.chain.target(), |(timeline, _)| timeline);
        size.name(timeline, number)
    }

    /// The first segment after `number` that proves WAL existed there.
    pub(super) fn later(&self, number: u64) -> Option<&SegmentFile> {
        self.files
            .range(number.saturating_add(1)..)
            .find(|(number, file)| !self.live || self.begins_right(**number, file))
            .map(|(_, file)| file)
    }

    /// Whether the first page of a file is the page its name promises; in a live `pg_wal` a file
    /// made in advance is not.
    fn begins_right(&self, number: u64, file: &SegmentFile) -> bool {
        let mut bytes = [0u8; LONG_HEADER];
        let read = Source::open(&file.path, file.packing, file.partial)
            .and_then(|mut source| source.read_at(&mut bytes, 0));
        matches!(read, Ok(LONG_HEADER))
            && PageHeader::parse(&bytes).is_some_and(|header| {
                header
                    .check(self.segment_size().start(number), &self.expect())
                    .is_ok()
            })
    }
}

/// The identity most of a sample of the segments share, so that one foreign or damaged file
/// does not decide for all.
fn majority(dir: &Path, segments: &[&ListedFile]) -> Result<Identity, Error> {
    const SAMPLE: usize = 33;
    let step = segments.len().div_ceil(SAMPLE).max(1);
    let mut votes: Vec<(Identity, usize)> = Vec::new();
    let mut problem = None;
    for file in segments.iter().step_by(step) {
        match Identity::of_file(&file.path) {
            Ok(Some(identity)) => match votes.iter_mut().find(|(i, _)| *i == identity) {
                Some((_, count)) => *count += 1,
                None => votes.push((identity, 1)),
            },
            Ok(None) => {}
            Err(error) => problem = Some(error),
        }
    }
    match votes.into_iter().max_by_key(|(_, count)| *count) {
        Some((identity, _)) => Ok(identity),
        None => Err(problem.unwrap_or_else(|| Error::NoReadableHeader {
            dir: dir.to_path_buf(),
        })),
    }
}
