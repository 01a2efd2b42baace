//! Write-ahead log files, read natively: names, pages, records, commits, timelines.

mod analysis;
mod commits;
mod directory;
mod end;
mod error;
mod history;
mod lsn;
mod page;
mod reader;
mod record;
mod scan;
mod segment;
mod statistics;
mod stop;
mod unpack;
mod version;
mod xact;
mod xlog;

pub use analysis::{
    Analysis, AnalysisOptions, BackupSpan, FileNode, Finding, Incident, IncidentKind, LostRelation,
    Names, Proposal, Relation, RelationKind, Rows, Touched, Transaction, analyse, incidents,
};
pub use commits::{Commit, Wanted, commits, kinds};
pub use directory::{Identity, ListedFile, Options, SegmentFile, Wal, list_files};
pub use end::{End, Reason, Verdict};
pub use error::Error;
pub use history::{Chain, ChainLink, HistoryEntry, parse_history};
pub use lsn::{Lsn, LsnError};
pub use page::{LongHeader, PAGE_SIZE, PageHeader};
pub use reader::Reader;
pub use record::{BlockImage, BlockRef, Decoded, Record, RecordError, RecordHeader, rmgr_name};
pub use scan::{Event, RestorePoint, Summary, commits_by_xid, event, scan, walk};
pub use segment::{FileName, SegmentSize};
pub use statistics::{Count, Statistics};
pub use stop::{Refusal, Stop, StopRequest, Target, stop_point};
pub use unpack::Packing;
pub use version::{magic_of_major, major_of_magic};
pub use xact::{Prepare, Xact, XactDetail, XactKind, unix_micros};
pub use xlog::XlogEvent;
