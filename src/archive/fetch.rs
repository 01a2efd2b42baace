//! Gets one file out of an archive, for PostgreSQL's `restore_command`.
//!
//! PostgreSQL takes almost any failure of `restore_command`, and any segment it cannot read, for
//! the end of WAL, and then promotes what it has. So a file is handed over only after it was
//! verified, record by record, and "it does not exist" is said only when the archive was listed
//! and nothing in it proves that the file must have existed.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::{Error, Listing, Required, identity, load_identity, load_snapshot, segment_of};
use crate::wal::{
    Chain, End, FileName, Identity, PageHeader, Reader, Reason, Verdict, Wal, parse_history,
};

/// How to fetch.
#[derive(Debug, Clone, Default)]
pub struct FetchOptions {
    /// Refuse WAL of any other cluster than this.
    pub system_id: Option<u64>,
    /// A snapshot of the segment that was being received. It stands in for that segment, where the
    /// segment is proved absent.
    pub tail: Option<PathBuf>,
}

/// Places the verified file at `dest` and returns its length. [`Error::Absent`] means proved
/// absent; see [`Error::fetch_exit_code`].
pub fn fetch(
    archive: &Path,
    name: &str,
    dest: &Path,
    options: &FetchOptions,
) -> Result<u64, Error> {
    let parsed = FileName::parse(name).ok_or_else(|| Error::Name {
        name: name.to_string(),
    })?;
    let mut source = archive.join(name);
    let mut file = match File::open(&source) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            match (absent(archive, name, parsed)?, &options.tail) {
                (Error::Absent { .. }, Some(tail)) if segment_of(tail) == Some(parsed) => {
                    load_snapshot(tail)?;
                    source = tail.clone();
                }
                (error, _) => return Err(error),
            }
            File::open(&source).map_err(|e| Error::io("open", &source, e))?
        }
        Err(error) => return Err(Error::io("open", source, error)),
    };
    let temp = Temp::beside(dest);
    let bytes = copy(&mut file, &source, &temp.0)?;
    // What is checked is the copy: exactly the bytes PostgreSQL gets.
    check(archive, name, parsed, &temp.0, bytes, options)?;
    fs::rename(&temp.0, dest).map_err(|e| Error::io("write", dest, e))?;
    Ok(bytes)
}

/// Decides what the absence of a file means. Only an error while finding out is `Err`.
fn absent(archive: &Path, name: &str, parsed: FileName) -> Result<Error, Error> {
    let mut packed = None;
    for entry in fs::read_dir(archive).map_err(|e| Error::io("list", archive, e))? {
        let entry = entry.map_err(|e| Error::io("list", archive, e))?;
        let found = entry.file_name().to_string_lossy().into_owned();
        if found == name {
            let gone = io::Error::other("it is listed but cannot be opened");
            return Err(Error::io("open", entry.path(), gone));
        }
        let suffix = found
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix('.'));
        if suffix.is_some_and(|s| ["gz", "zst", "lz4", "bz2", "xz"].contains(&s)) {
            packed = Some(found);
        }
    }
    if let Some(found) = packed {
        return Ok(Error::Compressed {
            name: name.to_string(),
            found,
        });
    }
    let listing = Listing::read(archive)?;
    let name = name.to_string();
    Ok(match parsed {
        FileName::History { timeline } => match listing.needs_history(timeline) {
            Some(evidence) => Error::MissingHistory { name, evidence },
            None => Error::Absent { name },
        },
        FileName::Segment { timeline, .. } => {
            let required = parsed
                .number(listing.segment_size())
                .and_then(|number| listing.required(timeline, number));
            match required {
                Some(required) => Error::Hole {
                    name,
                    evidence: required.evidence,
                },
                None => Error::Absent { name },
            }
        }
        FileName::Partial { .. } | FileName::Backup { .. } => Error::Absent { name },
    })
}

/// Checks a copy before it is handed over.
fn check(
    archive: &Path,
    name: &str,
    parsed: FileName,
    copy: &Path,
    bytes: u64,
    options: &FetchOptions,
) -> Result<(), Error> {
    match parsed {
        FileName::Segment { .. } => {
            let expected = expected_identity(archive, copy, name, bytes, options)?;
            let number = parsed.number(expected.segment_size).unwrap_or_default();
            check_segment(archive, name, parsed, copy, bytes, expected, || {
                Ok(Listing::read(archive)?.required(parsed.timeline(), number))
            })
        }
        FileName::History { timeline } => {
            let text = fs::read(copy).map_err(|e| Error::io("read", copy, e))?;
            match parse_history(timeline, &String::from_utf8_lossy(&text)) {
                Ok(_) => Ok(()),
                Err(error) => Err(Error::BadText {
                    name: name.to_string(),
                    problem: error.to_string(),
                }),
            }
        }
        FileName::Partial { .. } | FileName::Backup { .. } => Ok(()),
    }
}

/// Which cluster the file must belong to: what the archive says, else what its segments say.
fn expected_identity(
    archive: &Path,
    copy: &Path,
    name: &str,
    bytes: u64,
    options: &FetchOptions,
) -> Result<Identity, Error> {
    let mut expected = match load_identity(archive)? {
        Some(identity) => identity,
        None => match Identity::of_directory(archive) {
            Ok(identity) => identity,
            Err(_) => Identity::of_file(copy)?.ok_or_else(|| match bytes {
                0 => Error::WrongSize {
                    name: name.to_string(),
                    found: 0,
                    expected: crate::wal::SegmentSize::DEFAULT.bytes(),
                },
                _ => Error::NoHeader {
                    name: name.to_string(),
                },
            })?,
        },
    };
    if let Some(system_id) = options.system_id {
        expected.system_id = system_id;
    }
    Ok(expected)
}

/// Verifies a whole segment where it lies. `Ok` means that every record up to its very end is right:
/// a segment that is complete may not stop short.
pub fn examine(archive: &Path, name: &str, expected: Identity) -> Result<(), Error> {
    let path = archive.join(name);
    let parsed = FileName::parse(name).ok_or_else(|| Error::Name {
        name: name.to_string(),
    })?;
    let bytes = fs::metadata(&path)
        .map_err(|e| Error::io("read", &path, e))?
        .len();
    let number = parsed.number(expected.segment_size).unwrap_or_default();
    check_segment(archive, name, parsed, &path, bytes, expected, || {
        Ok(Some(Required {
            until: expected.segment_size.start(number.saturating_add(1)),
            evidence: "the segment is complete, so its records must reach its end".into(),
        }))
    })
}

/// Verifies one segment: its size, its own header, and every record that lies wholly inside.
fn check_segment(
    archive: &Path,
    name: &str,
    parsed: FileName,
    path: &Path,
    bytes: u64,
    expected: Identity,
    required: impl FnOnce() -> Result<Option<Required>, Error>,
) -> Result<(), Error> {
    let size = expected.segment_size;
    if bytes != size.bytes() {
        return Err(Error::WrongSize {
            name: name.to_string(),
            found: bytes,
            expected: size.bytes(),
        });
    }
    if let Some(found) = Identity::of_file(path)? {
        identity::compare(name, found, expected)?;
    }
    let timeline = parsed.timeline();
    let number = parsed.number(size).ok_or_else(|| Error::Name {
        name: name.to_string(),
    })?;
    let start = size.start(number);
    let header = first_header(path)?;
    if let Some(header) = header.filter(|h| h.magic == expected.magic)
        && header.address != start
    {
        return Err(Error::Misnamed {
            name: name.to_string(),
            found: header.address,
            expected: start,
        });
    }
    let continued = header.is_some_and(|h| h.remaining > 0);
    let before = number
        .checked_sub(1)
        .filter(|_| continued)
        .and_then(|previous| {
            let path = archive.join(size.name(timeline, previous));
            path.exists().then_some((previous, timeline, path))
        });
    let own = (number, timeline, path.to_path_buf());
    let mut end = None;
    if let Some(before) = before {
        // The record that crosses into this segment is checked with the help of the one before;
        // what is wrong there is not this segment's fault.
        let files = [before, own.clone()];
        let wal = Wal::of_files(archive, files, Chain::unknown(timeline), expected);
        let both = last(Reader::new(&wal, size.start(number - 1)).checksums_from(start));
        end = (both.lsn >= start || both.file.as_deref() == Some(path)).then_some(both);
    }
    let end = end.unwrap_or_else(|| {
        let wal = Wal::of_files(archive, [own], Chain::unknown(timeline), expected);
        last(Reader::new(&wal, start))
    });
    let damaged = |evidence: String, end: &End| Error::Damaged {
        name: name.to_string(),
        end: Box::new(end.clone()),
        evidence,
    };
    match (&end.reason, &end.verdict) {
        (Reason::NoMoreSegments { .. }, _) => Ok(()),
        (_, Verdict::Damage { evidence }) => Err(damaged(evidence.clone(), &end)),
        (_, Verdict::Tip) => match required()? {
            Some(required) if required.until > end.lsn => Err(damaged(required.evidence, &end)),
            _ => Ok(()),
        },
    }
}

fn last(mut reader: Reader<'_>) -> Box<End> {
    loop {
        if let Err(end) = reader.read() {
            return end;
        }
    }
}

fn first_header(path: &Path) -> Result<Option<PageHeader>, Error> {
    let mut first = [0u8; 64];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut first));
    match read {
        Ok(()) => Ok(PageHeader::parse(&first)),
        Err(error) => Err(Error::io("read", path, error)),
    }
}

fn copy(source: &mut File, from: &Path, to: &Path) -> Result<u64, Error> {
    let mut target = File::create(to).map_err(|e| Error::io("create", to, e))?;
    let mut buffer = vec![0u8; 1 << 20];
    let mut bytes = 0;
    loop {
        let got = match source.read(&mut buffer) {
            Ok(0) => return Ok(bytes),
            Ok(got) => got,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(Error::io("read", from, e)),
        };
        target
            .write_all(&buffer[..got])
            .map_err(|e| Error::io("write", to, e))?;
        bytes += got as u64;
    }
}

/// A temporary file beside the destination, removed when dropped.
struct Temp(PathBuf);

impl Temp {
    fn beside(dest: &Path) -> Temp {
        let mut name = dest.as_os_str().to_os_string();
        name.push(format!(".rpitr-tmp.{}", std::process::id()));
        Temp(name.into())
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
