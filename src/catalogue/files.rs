//! The files of a directory: what they look like from outside, and what reading them shows.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::{fs, io};

use super::store::now;
use super::{Entry, Error, State};
use crate::archive::{self, Listing};
use crate::wal::{Chain, Identity, Lsn, Reader, SegmentSize, Wal};

/// A file as it was when it was looked at.
pub(super) struct Seen {
    pub name: String,
    pub path: PathBuf,
    pub timeline: u32,
    pub number: u64,
    pub size: u64,
    pub stamp: String,
}

/// The segments of a listing with their sizes and times; partial ones only where the whole one is not.
pub(super) fn look(listing: &Listing) -> Result<(Vec<Seen>, Vec<Seen>), Error> {
    let size = listing.segment_size();
    let stat = |timeline: u32, number: u64, suffix: &str| -> Result<Option<Seen>, Error> {
        let name = size.name(timeline, number);
        let path = listing.dir.join(format!("{name}{suffix}"));
        match fs::metadata(&path) {
            Ok(meta) => Ok(Some(Seen {
                size: meta.len(),
                stamp: stamp(&meta),
                name,
                path,
                timeline,
                number,
            })),
            // Renamed or removed since it was listed: the next scan will see.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(archive::Error::Io {
                doing: "read",
                path,
                error,
            }
            .into()),
        }
    };
    let (mut complete, mut partial) = (Vec::new(), Vec::new());
    for (timeline, numbers) in &listing.segments {
        for number in numbers {
            complete.extend(stat(*timeline, *number, "")?);
        }
    }
    for (timeline, numbers) in &listing.partials {
        let whole = listing.segments.get(timeline);
        for number in numbers {
            if !whole.is_some_and(|whole| whole.contains(number)) {
                let seen = stat(*timeline, *number, ".partial")?;
                // Completed since it was listed: the same segment under its final name.
                partial.extend(match seen {
                    Some(seen) => Some(seen),
                    None => {
                        complete.extend(stat(*timeline, *number, "")?);
                        None
                    }
                });
            }
        }
    }
    Ok((complete, partial))
}

fn stamp(meta: &fs::Metadata) -> String {
    format!(
        "{}:{}:{}.{}:{}.{}",
        meta.ino(),
        meta.len(),
        meta.mtime(),
        meta.mtime_nsec(),
        meta.ctime(),
        meta.ctime_nsec()
    )
}

/// What a verdict rests on. The verdict on a damaged segment rests on the one before it, too: the record
/// that crosses into it was read with its help.
pub(super) fn stamp_for(state: State, seen: &Seen, all: &[Seen]) -> String {
    if state != State::Damaged {
        return seen.stamp.clone();
    }
    let before = all
        .iter()
        .find(|other| other.timeline == seen.timeline && other.number + 1 == seen.number);
    let before = before.map_or("", |other| other.stamp.as_str());
    format!("{}/{before}", seen.stamp)
}

pub(super) fn row(
    seen: &Seen,
    size: SegmentSize,
    state: State,
    before: Option<&Entry>,
    at: i64,
) -> Entry {
    let start = size.start(seen.number);
    Entry {
        name: seen.name.clone(),
        timeline: seen.timeline,
        number: seen.number,
        start,
        end: start.plus(size.bytes()),
        size: seen.size,
        sha256: None,
        state,
        code: None,
        reason: None,
        valid_to: None,
        stamp: seen.stamp.clone(),
        first_seen: before.map_or(at, |entry| entry.first_seen),
        completed_at: None,
        verified_at: None,
    }
}

/// Reads a complete segment; `None` when it is gone.
pub(super) fn examine(
    listing: &Listing,
    identity: Identity,
    seen: &Seen,
    all: &[Seen],
    entry: Entry,
) -> Option<Entry> {
    let sha256 = match archive::sha256(&seen.path) {
        Ok(sum) => Some(sum),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(_) => None,
    };
    let verdict = archive::examine(&listing.dir, &seen.name, identity);
    let state = match verdict {
        Ok(()) if sha256.is_some() => State::Verified,
        _ => State::Damaged,
    };
    let why = verdict.err();
    Some(Entry {
        sha256,
        state,
        code: why.as_ref().map(|why| why.code().to_string()),
        reason: why.as_ref().map(ToString::to_string),
        stamp: stamp_for(state, seen, all),
        verified_at: Some(now()),
        ..entry
    })
}

/// Where the good records of a partial segment end.
pub(super) fn valid_to(seen: &Seen, identity: Identity) -> Option<Lsn> {
    let dir = seen.path.parent()?;
    let own = (seen.number, seen.timeline, seen.path.clone());
    let wal = Wal::of_files(dir, [own], Chain::unknown(seen.timeline), identity);
    let mut reader = Reader::new(&wal, identity.segment_size.start(seen.number));
    let end = loop {
        if let Err(end) = reader.read() {
            break end;
        }
    };
    end.last_record.map(|_| end.lsn)
}
