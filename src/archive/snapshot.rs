//! A snapshot of the segment that is being received (`.partial`): the newest WAL there is, for a restore.
//!
//! The file changes while it is copied, and its end may be torn. So the copy is read record by record,
//! everything behind the last good record becomes zeros, and a file beside it says where it comes from,
//! how far it goes, and what it must hash to. Archive recovery never asks for a `.partial`; `fetch` hands
//! out a snapshot under the segment's own name, and only where the whole segment is proved absent.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use chrono::{SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use super::{Error, Listing, push};
use crate::wal::{self, Event, FileName, Identity, Lsn, PageHeader, Wal};

const SUFFIX: &str = "snapshot";

/// A commit, as the description of a snapshot names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastCommit {
    pub xid: u32,
    pub lsn: String,
    pub time: String,
}

/// Where a snapshot comes from and what it holds; stored beside it as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    pub version: u32,
    /// The segment it stands for.
    pub segment: String,
    /// The file it was copied from.
    pub source: String,
    pub taken_at: String,
    /// Text, because JSON numbers lose digits of 64-bit values in many readers.
    pub system_id: String,
    pub major: u16,
    pub timeline: u32,
    pub segment_size: u64,
    /// The segment's first position.
    pub begins: String,
    /// The end of the last good record.
    pub upto: String,
    pub last_record: Option<String>,
    /// Transactions that committed in it.
    pub commits: u64,
    pub last_commit: Option<LastCommit>,
    /// Why reading ended there.
    pub ended: String,
    pub sha256: String,
}

/// The segment a snapshot stands for, by its name: `SEGMENT.upto-X-Y.snapshot`.
pub fn segment_of(snapshot: &Path) -> Option<FileName> {
    let name = snapshot.file_name()?.to_str()?;
    if !name.ends_with(&format!(".{SUFFIX}")) {
        return None;
    }
    FileName::parse(name.get(..24)?)
}

/// Where the description of a snapshot is.
pub fn description(snapshot: &Path) -> PathBuf {
    let mut path = snapshot.as_os_str().to_os_string();
    path.push(".json");
    path.into()
}

/// Copies the segment that is being received into the folder `into`, up to its last good record. `None`
/// when nothing is being received, or not a whole record of it is there yet.
pub fn snapshot(archive: &Path, into: &Path) -> Result<Option<(PathBuf, Snapshot)>, Error> {
    let listing = Listing::read(archive)?;
    let (Some(identity), Some((timeline, number))) = (listing.identity, newest(&listing)) else {
        return Ok(None);
    };
    let size = identity.segment_size;
    let segment = size.name(timeline, number);
    let source = archive.join(format!("{segment}.partial"));
    let temp = Temp(into.join(push::temp_name(&segment)));
    if !copy(&source, &temp.0, size.bytes())? {
        return Ok(None);
    }
    let Some(found) = read(&listing, identity, timeline, number, &temp.0)? else {
        return Ok(None);
    };
    let sha256 = cut(&temp.0, size.offset(found.upto), size.bytes())?;
    let snapshot = Snapshot {
        version: 1,
        segment: segment.clone(),
        source: source.display().to_string(),
        taken_at: Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true),
        system_id: identity.system_id.to_string(),
        major: identity.major(),
        timeline,
        segment_size: size.bytes(),
        begins: size.start(number).to_string(),
        upto: found.upto.to_string(),
        last_record: found.last_record.map(|lsn| lsn.to_string()),
        commits: found.commits,
        last_commit: found.last_commit,
        ended: found.ended,
        sha256,
    };
    let upto = snapshot.upto.replace('/', "-");
    let path = into.join(format!("{segment}.upto-{upto}.{SUFFIX}"));
    let text = serde_json::to_string_pretty(&snapshot).unwrap_or_default() + "\n";
    // The description first: a snapshot without one is not used.
    let described = description(&path);
    File::create(&described)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .map_err(|e| Error::io("write", &described, e))?;
    fs::rename(&temp.0, &path).map_err(|e| Error::io("write", &path, e))?;
    push::sync_dir(into)?;
    Ok(Some((path, snapshot)))
}

/// Reads the description of a snapshot and holds the snapshot against it.
pub fn load_snapshot(path: &Path) -> Result<Snapshot, Error> {
    let bad = |problem: String| Error::BadSnapshot {
        path: path.to_path_buf(),
        problem,
    };
    let described = description(path);
    let text = fs::read(&described).map_err(|e| Error::io("read", &described, e))?;
    let snapshot: Snapshot = serde_json::from_slice(&text).map_err(|e| bad(e.to_string()))?;
    let named = segment_of(path).ok_or_else(|| bad("its name names no segment".into()))?;
    if FileName::parse(&snapshot.segment) != Some(named) {
        return Err(bad(format!("it is described as {}", snapshot.segment)));
    }
    let found = sha256(path)?;
    if found != snapshot.sha256 {
        return Err(bad(format!(
            "its SHA-256 is {found}, it was {} when it was taken",
            snapshot.sha256
        )));
    }
    Ok(snapshot)
}

/// The newest segment that is not whole yet.
fn newest(listing: &Listing) -> Option<(u32, u64)> {
    let (timeline, numbers) = listing.partials.last_key_value()?;
    let number = *numbers.last()?;
    let whole = listing.segments.get(timeline);
    let past = whole.is_some_and(|whole| whole.range(number..).next().is_some());
    let branched = listing.segments.keys().any(|other| other > timeline);
    (!past && !branched).then_some((*timeline, number))
}

/// Copies a file to the length of a segment; `false` when it is gone: it was completed meanwhile.
fn copy(source: &Path, target: &Path, size: u64) -> Result<bool, Error> {
    let mut from = match File::open(source) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(Error::io("open", source, error)),
    };
    let mut to = File::create(target).map_err(|e| Error::io("create", target, e))?;
    io::copy(&mut (&mut from).take(size), &mut to).map_err(|e| Error::io("copy", source, e))?;
    to.set_len(size)
        .map_err(|e| Error::io("write", target, e))?;
    Ok(true)
}

/// What reading a copy found out.
struct Found {
    upto: Lsn,
    last_record: Option<Lsn>,
    commits: u64,
    last_commit: Option<LastCommit>,
    ended: String,
}

fn read(
    listing: &Listing,
    identity: Identity,
    timeline: u32,
    number: u64,
    copy: &Path,
) -> Result<Option<Found>, Error> {
    let size = identity.segment_size;
    let start = size.start(number);
    let chain = listing.chain(timeline);
    let mut files = vec![(number, timeline, copy.to_path_buf())];
    // A record that crosses into the segment is right or wrong only together with its beginning.
    let mut from = start;
    if continued(copy)?
        && let Some(previous) = number.checked_sub(1)
        && let Some(before) = chain.serving(previous, size).map(|(t, _)| t).find(|t| {
            listing
                .segments
                .get(t)
                .is_some_and(|there| there.contains(&previous))
        })
    {
        files.push((
            previous,
            before,
            listing.dir.join(size.name(before, previous)),
        ));
        from = size.start(previous);
    }
    let wal = Wal::of_files(&listing.dir, files, chain, identity);
    let mut commits = 0;
    let summary = wal::scan(&wal, from, |event| {
        if let Event::Xact(detail) = event
            && detail.xact.kind.is_commit()
            && detail.xact.end > start
        {
            commits += 1;
        }
    })?;
    let end = summary.end;
    if end.lsn < start {
        // The segment before it cannot be read: recovery would not come this far.
        return Err(Error::Damaged {
            name: end.file_name(),
            evidence: format!("{} goes on from it", size.name(timeline, number)),
            end: Box::new(end),
        });
    }
    if end.lsn == start || end.last_record.is_none() {
        return Ok(None);
    }
    let last_commit = summary.last_commit.filter(|xact| xact.end > start);
    Ok(Some(Found {
        upto: end.lsn,
        last_record: end.last_record,
        commits,
        last_commit: last_commit.map(|xact| LastCommit {
            xid: xact.xid,
            lsn: xact.start.to_string(),
            time: chrono::DateTime::from_timestamp_micros(xact.unix_us)
                .map_or_else(String::new, |t| {
                    t.to_rfc3339_opts(SecondsFormat::Micros, true)
                }),
        }),
        ended: end.reason.to_string(),
    }))
}

/// Whether the first page begins with the rest of a record.
fn continued(path: &Path) -> Result<bool, Error> {
    let mut first = [0u8; 64];
    File::open(path)
        .and_then(|file| file.read_exact_at(&mut first, 0))
        .map_err(|e| Error::io("read", path, e))?;
    Ok(PageHeader::parse(&first).is_some_and(|header| header.remaining > 0))
}

/// Makes everything behind `offset` zeros, durably, and returns what the file then hashes to.
fn cut(path: &Path, offset: u64, size: u64) -> Result<String, Error> {
    let file = File::options().write(true).open(path);
    // An offset of zero is the end of the segment.
    let offset = if offset == 0 { size } else { offset };
    file.and_then(|file| {
        file.set_len(offset)?;
        file.set_len(size)?;
        file.sync_all()
    })
    .map_err(|e| Error::io("write", path, e))?;
    sha256(path)
}

fn sha256(path: &Path) -> Result<String, Error> {
    super::sha256(path).map_err(|e| Error::io("read", path, e))
}

/// A temporary file, removed when dropped.
struct Temp(PathBuf);

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
