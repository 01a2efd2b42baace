//! The small file that says which cluster an archive belongs to.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Error;
use crate::wal::{Identity, SegmentSize, magic_of_major};

/// The name of the identity file; readers of archives ignore names that begin with a dot.
pub const IDENTITY_FILE: &str = ".rpitr-archive.json";

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    /// Text, because JSON numbers lose digits of 64-bit values in many readers.
    system_id: String,
    segment_size: u64,
    major: u16,
}

/// Reads the identity of an archive; `None` when nothing was pushed by rpitr yet.
pub fn load_identity(archive: &Path) -> Result<Option<Identity>, Error> {
    let path = archive.join(IDENTITY_FILE);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", path, error)),
    };
    let bad = |problem: String| Error::BadIdentity {
        path: path.clone(),
        problem,
    };
    let stored: Stored = serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))?;
    let identity = (|| {
        Some(Identity {
            system_id: stored.system_id.parse().ok()?,
            segment_size: SegmentSize::new(stored.segment_size)?,
            magic: magic_of_major(stored.major)?,
        })
    })();
    identity
        .map(Some)
        .ok_or_else(|| bad("a value is out of range".to_string()))
}

/// Returns the identity of the archive; the first caller decides it. Of two that race one wins
/// and the other reads what the winner wrote.
pub(super) fn claim(archive: &Path, mine: Identity) -> Result<Identity, Error> {
    if let Some(identity) = load_identity(archive)? {
        return Ok(identity);
    }
    let stored = Stored {
        version: 1,
        system_id: mine.system_id.to_string(),
        segment_size: mine.segment_size.bytes(),
        major: mine.major(),
    };
    let text = serde_json::to_string(&stored).unwrap_or_default() + "\n";
    let temp = archive.join(super::push::temp_name(IDENTITY_FILE));
    let written = fs::File::create_new(&temp).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    let placed = written.and_then(|()| fs::hard_link(&temp, archive.join(IDENTITY_FILE)));
    let _ = fs::remove_file(&temp);
    match placed {
        Ok(()) => Ok(mine),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Ok(load_identity(archive)?.unwrap_or(mine))
        }
        Err(error) => Err(Error::io("write", archive.join(IDENTITY_FILE), error)),
    }
}

/// Refuses a file of another cluster, version or segment size.
pub(super) fn compare(name: &str, found: Identity, expected: Identity) -> Result<(), Error> {
    if found.system_id != expected.system_id {
        return Err(Error::ForeignSystem {
            name: name.to_string(),
            found: found.system_id,
            expected: expected.system_id,
        });
    }
    if found.magic != expected.magic {
        return Err(Error::Version {
            name: name.to_string(),
            found: found.major(),
            expected: expected.major(),
        });
    }
    if found.segment_size != expected.segment_size {
        return Err(Error::WrongSize {
            name: name.to_string(),
            found: found.segment_size.bytes(),
            expected: expected.segment_size.bytes(),
        });
    }
    Ok(())
}
