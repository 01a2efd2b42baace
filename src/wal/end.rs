//! Where reading stopped, why, and whether that is the end of the WAL or damage.
//!
//! PostgreSQL itself cannot tell the two apart: any page or record it cannot read is "the end of
//! WAL" to a recovery without a target, which then promotes a truncated database. A reader that
//! sees the whole directory can.

use std::fmt;
use std::path::{Path, PathBuf};

use super::Lsn;
use crate::failure::{Failure, Kind};

/// Why a record could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The next segment does not exist, and nothing after it does.
    NoMoreSegments {
        expected: String,
    },
    /// The next segment does not exist, but later ones do.
    MissingSegment {
        expected: String,
    },
    ZeroPage,
    ZeroLength,
    /// The page belongs to another position: a recycled or a misnamed file.
    RecycledPage {
        found: Lsn,
    },
    StalePrev {
        found: Lsn,
        expected: Lsn,
    },
    BadCrc {
        found: u32,
        expected: u32,
    },
    /// The file does not have the length of a segment.
    WrongSize {
        found: u64,
        expected: u64,
    },
    WrongMagic {
        found: u16,
    },
    ForeignSystem {
        found: u64,
        expected: u64,
    },
    WrongSegmentSize {
        found: u64,
        expected: u64,
    },
    WrongPageSize {
        found: u32,
    },
    BadPageFlags {
        found: u16,
    },
    /// The page claims a timeline that is not on the chain, or an older one than the page before.
    WrongTimeline {
        found: u32,
    },
    /// A record goes on, but the next page does not continue it.
    NoContinuation,
    BadContinuation {
        found: u32,
    },
    /// A page starts with the rest of a record where a whole one was expected.
    UnexpectedContinuation,
    BadLength {
        found: u32,
    },
    BadResourceManager {
        found: u8,
    },
    /// `OVERWRITE_CONTRECORD` does not name the record that was abandoned.
    OverwriteMismatch,
    /// Whoever asked for the records wanted no more of them.
    Stopped,
    /// The checksum is right but the contents contradict themselves.
    BadContents(&'static str),
    Io {
        message: String,
    },
}

impl Reason {
    /// A stable word for each reason, used as the `code` of a failure.
    pub fn code(&self) -> &'static str {
        match self {
            Reason::NoMoreSegments { .. } => "end_of_wal",
            Reason::MissingSegment { .. } => "missing_segment",
            Reason::ZeroPage => "zero_page",
            Reason::ZeroLength => "zero_length",
            Reason::RecycledPage { .. } => "wrong_address",
            Reason::StalePrev { .. } => "stale_prev",
            Reason::BadCrc { .. } => "crc",
            Reason::WrongSize { .. } => "wrong_size",
            Reason::WrongMagic { .. } => "magic",
            Reason::ForeignSystem { .. } => "foreign_system",
            Reason::WrongSegmentSize { .. } => "segment_size",
            Reason::WrongPageSize { .. } => "page_size",
            Reason::BadPageFlags { .. } => "page_flags",
            Reason::WrongTimeline { .. } => "timeline",
            Reason::NoContinuation
            | Reason::BadContinuation { .. }
            | Reason::UnexpectedContinuation => "continuation",
            Reason::BadLength { .. } => "length",
            Reason::BadResourceManager { .. } => "resource_manager",
            Reason::OverwriteMismatch => "overwrite",
            Reason::Stopped => "stopped",
            Reason::BadContents(_) => "contents",
            Reason::Io { .. } => "io",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::NoMoreSegments { expected } => {
                write!(f, "segment {expected} does not exist, nor does a later one")
            }
            Reason::MissingSegment { expected } => write!(f, "segment {expected} is missing"),
            Reason::ZeroPage => f.write_str("the page is empty (zeros)"),
            Reason::ZeroLength => f.write_str("zeros where a record should begin"),
            Reason::RecycledPage { found } => {
                write!(
                    f,
                    "the page belongs to {found}: a recycled or misnamed file"
                )
            }
            Reason::StalePrev { found, expected } => {
                write!(f, "the record follows {found}, not {expected}")
            }
            Reason::BadCrc { found, expected } => {
                write!(
                    f,
                    "wrong checksum (stored {found:08X}, computed {expected:08X})"
                )
            }
            Reason::WrongSize { found, expected } => {
                write!(f, "the file has {found} bytes instead of {expected}")
            }
            Reason::WrongMagic { found } => match super::major_of_magic(*found) {
                Some(major) => write!(f, "the page was written by PostgreSQL {major}"),
                None => write!(f, "unknown page magic {found:04X}"),
            },
            Reason::ForeignSystem { found, expected } => {
                write!(f, "the file belongs to cluster {found}, not to {expected}")
            }
            Reason::WrongSegmentSize { found, expected } => {
                write!(
                    f,
                    "the header says segments of {found} bytes instead of {expected}"
                )
            }
            Reason::WrongPageSize { found } => {
                write!(
                    f,
                    "the header says pages of {found} bytes; only 8192 is supported"
                )
            }
            Reason::BadPageFlags { found } => write!(f, "impossible page flags {found:04X}"),
            Reason::WrongTimeline { found } => {
                write!(
                    f,
                    "the page claims timeline {found}, which does not belong here"
                )
            }
            Reason::NoContinuation => f.write_str("the rest of the record is missing"),
            Reason::BadContinuation { found } => {
                write!(f, "the page continues another record ({found} bytes to go)")
            }
            Reason::UnexpectedContinuation => {
                f.write_str("the page begins with the rest of a record nobody began")
            }
            Reason::BadLength { found } => write!(f, "impossible record length {found}"),
            Reason::BadResourceManager { found } => write!(f, "unknown resource manager {found}"),
            Reason::OverwriteMismatch => {
                f.write_str("a replacement record names another lost record")
            }
            Reason::Stopped => f.write_str("reading was stopped here"),
            Reason::BadContents(what) => write!(f, "bad contents: {what}"),
            Reason::Io { message } => f.write_str(message),
        }
    }
}

/// Whether the end is where WAL may legally end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing valid follows: the WAL ends here.
    Tip,
    /// Something that proves more WAL existed, in words.
    Damage { evidence: String },
}

/// Where reading stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct End {
    /// The first position that could not be read: the end of the last good record.
    pub lsn: Lsn,
    /// The start of the last good record; `None` when there was none.
    pub last_record: Option<Lsn>,
    /// The file that holds the problem; `None` when it does not exist.
    pub file: Option<PathBuf>,
    /// Where in that file.
    pub offset: u64,
    pub reason: Reason,
    pub verdict: Verdict,
}

impl End {
    /// Not the end of the WAL: whoever read it stopped here.
    pub(super) fn stopped(lsn: Lsn) -> End {
        End {
            lsn,
            last_record: None,
            file: None,
            offset: 0,
            reason: Reason::Stopped,
            verdict: Verdict::Tip,
        }
    }

    pub fn is_damage(&self) -> bool {
        matches!(self.verdict, Verdict::Damage { .. })
    }

    /// The name of the file without its directory, or of the segment that does not exist.
    pub fn file_name(&self) -> String {
        match (&self.file, &self.reason) {
            (Some(path), _) => name_of(path),
            (None, Reason::MissingSegment { expected } | Reason::NoMoreSegments { expected }) => {
                expected.clone()
            }
            (None, _) => String::new(),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.verdict {
            Verdict::Tip => "WAL ends",
            Verdict::Damage { .. } => "WAL is damaged",
        };
        write!(f, "{what} at {}: ", self.lsn)?;
        if let Some(path) = &self.file {
            write!(f, "{} at offset {}: ", name_of(path), self.offset)?;
        }
        write!(f, "{}", self.reason)
    }
}

impl From<End> for Failure {
    fn from(end: End) -> Self {
        let failure = Failure::new(Kind::Wal, end.to_string()).code(end.reason.code());
        match &end.verdict {
            Verdict::Tip => failure,
            Verdict::Damage { evidence } => failure.detail(evidence.clone()).hint(
                "restore that file from another copy of the archive, or recover to a target before it",
            ),
        }
    }
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}
