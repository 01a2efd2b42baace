//! Reading what `pg_controldata` prints (with `LC_ALL=C`).

use std::collections::HashMap;
use std::fmt;
use std::io::Read;
use std::path::Path;

use super::Error;
use crate::wal::Lsn;

/// The state of a cluster, as its control file records it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterState {
    StartingUp,
    ShutDown,
    ShutDownInRecovery,
    ShuttingDown,
    InCrashRecovery,
    InArchiveRecovery,
    InProduction,
}

impl ClusterState {
    /// In the order of PostgreSQL's `DBState`.
    const TEXTS: [(&'static str, ClusterState); 7] = [
        ("starting up", ClusterState::StartingUp),
        ("shut down", ClusterState::ShutDown),
        ("shut down in recovery", ClusterState::ShutDownInRecovery),
        ("shutting down", ClusterState::ShuttingDown),
        ("in crash recovery", ClusterState::InCrashRecovery),
        ("in archive recovery", ClusterState::InArchiveRecovery),
        ("in production", ClusterState::InProduction),
    ];

    /// Whether the server stopped in an orderly way.
    pub fn is_clean(self) -> bool {
        matches!(
            self,
            ClusterState::ShutDown | ClusterState::ShutDownInRecovery
        )
    }
}

impl fmt::Display for ClusterState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = Self::TEXTS.iter().find(|(_, state)| state == self);
        f.write_str(text.map_or("unknown", |(text, _)| text))
    }
}

/// Reads the cluster state from `global/pg_control` itself, without starting a program; `None` when the
/// file cannot be read. The server sets "in production" in the step that opens it for writing.
pub fn read_cluster_state(data_dir: &Path) -> Option<ClusterState> {
    // System identifier (8 bytes), two version numbers (4 each), then the state: so in every version.
    let mut start = [0; 20];
    std::fs::File::open(data_dir.join("global/pg_control"))
        .and_then(|mut file| file.read_exact(&mut start))
        .ok()?;
    let code = u32::from_ne_bytes([start[16], start[17], start[18], start[19]]);
    let (_, state) = ClusterState::TEXTS.get(usize::try_from(code).ok()?)?;
    Some(*state)
}

/// The parts of the control file rpitr uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlData {
    pub control_version: u32,
    pub catalog_version: u32,
    pub system_identifier: u64,
    pub state: ClusterState,
    /// Where the latest checkpoint record is.
    pub checkpoint: Lsn,
    /// Where replay from that checkpoint starts.
    pub redo: Lsn,
    pub timeline: u32,
    pub previous_timeline: u32,
    /// Epoch in the high half, as PostgreSQL's `FullTransactionId`.
    pub next_xid: u64,
    /// As printed, in the local time zone of the tool.
    pub checkpoint_time: String,
    /// Recovery is not consistent before this point; invalid when none is recorded.
    pub min_recovery_end: Lsn,
    pub min_recovery_timeline: u32,
    pub backup_start: Lsn,
    pub backup_end: Lsn,
    pub backup_end_required: bool,
    pub wal_level: String,
    pub max_connections: u32,
    pub max_worker_processes: u32,
    pub max_wal_senders: u32,
    pub max_prepared_transactions: u32,
    pub max_locks_per_transaction: u32,
    pub block_size: u32,
    pub wal_segment_size: u64,
    /// 0 = data checksums are off.
    pub checksum_version: u32,
}

impl ControlData {
    /// Parses the output of `pg_controldata`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let fields: HashMap<&str, &str> = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim(), value.trim()))
            .collect();
        let fields = Fields(fields);
        let state = fields.text("Database cluster state")?;
        let (_, state) = *ClusterState::TEXTS
            .iter()
            .find(|(text, _)| *text == state)
            .ok_or_else(|| bad("Database cluster state", state))?;
        Ok(ControlData {
            control_version: fields.number("pg_control version number")?,
            catalog_version: fields.number("Catalog version number")?,
            system_identifier: fields.number("Database system identifier")?,
            state,
            checkpoint: fields.number("Latest checkpoint location")?,
            redo: fields.number("Latest checkpoint's REDO location")?,
            timeline: fields.number("Latest checkpoint's TimeLineID")?,
            previous_timeline: fields.number("Latest checkpoint's PrevTimeLineID")?,
            next_xid: fields.xid("Latest checkpoint's NextXID")?,
            checkpoint_time: fields.text("Time of latest checkpoint")?.to_string(),
            min_recovery_end: fields.number("Minimum recovery ending location")?,
            min_recovery_timeline: fields.number("Min recovery ending loc's timeline")?,
            backup_start: fields.number("Backup start location")?,
            backup_end: fields.number("Backup end location")?,
            backup_end_required: fields.text("End-of-backup record required")? == "yes",
            wal_level: fields.text("wal_level setting")?.to_string(),
            max_connections: fields.number("max_connections setting")?,
            max_worker_processes: fields.number("max_worker_processes setting")?,
            max_wal_senders: fields.number("max_wal_senders setting")?,
            max_prepared_transactions: fields.number("max_prepared_xacts setting")?,
            max_locks_per_transaction: fields.number("max_locks_per_xact setting")?,
            block_size: fields.number("Database block size")?,
            wal_segment_size: fields.number("Bytes per WAL segment")?,
            checksum_version: fields.number("Data page checksum version")?,
        })
    }

    /// The settings a hot standby or a recovering server must have at least, or it refuses to start.
    pub fn hot_standby_minimums(&self) -> [(&'static str, u32); 5] {
        [
            ("max_connections", self.max_connections),
            ("max_worker_processes", self.max_worker_processes),
            ("max_wal_senders", self.max_wal_senders),
            ("max_prepared_transactions", self.max_prepared_transactions),
            ("max_locks_per_transaction", self.max_locks_per_transaction),
        ]
    }

    pub fn checksums(&self) -> bool {
        self.checksum_version > 0
    }
}

struct Fields<'a>(HashMap<&'a str, &'a str>);

impl<'a> Fields<'a> {
    fn text(&self, name: &str) -> Result<&'a str, Error> {
        self.0.get(name).copied().ok_or_else(|| {
            Error::parse(
                "the output of pg_controldata",
                format!("no line \"{name}\" (is it of another version or language?)"),
            )
        })
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Result<T, Error> {
        let text = self.text(name)?;
        text.parse().map_err(|_| bad(name, text))
    }

    fn xid(&self, name: &str) -> Result<u64, Error> {
        let text = self.text(name)?;
        text.split_once(':')
            .and_then(|(epoch, xid)| {
                Some(epoch.parse::<u64>().ok()? << 32 | u64::from(xid.parse::<u32>().ok()?))
            })
            .ok_or_else(|| bad(name, text))
    }
}

fn bad(name: &str, value: &str) -> Error {
    Error::parse(
        "the output of pg_controldata",
        format!("\"{name}\" is \"{value}\""),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "\
pg_control version number:            1300
Catalog version number:               202209061
Database system identifier:           7710524633160593735
Database cluster state:               in production
pg_control last modified:             Sat Nov 21 07:33:33 2026
Latest checkpoint location:           1/17414D0
Latest checkpoint's REDO location:    1/1741498
Latest checkpoint's REDO WAL file:    000000010000000100000001
Latest checkpoint's TimeLineID:       2
Latest checkpoint's PrevTimeLineID:   1
Latest checkpoint's full_page_writes: on
Latest checkpoint's NextXID:          1:724
Latest checkpoint's oldestCommitTsXid:0
Time of latest checkpoint:            Sat Nov 21 07:33:33 2026
Minimum recovery ending location:     0/0
Min recovery ending loc's timeline:   0
Backup start location:                0/0
Backup end location:                  0/0
End-of-backup record required:        no
wal_level setting:                    replica
max_connections setting:              100
max_worker_processes setting:         8
max_wal_senders setting:              10
max_prepared_xacts setting:           0
max_locks_per_xact setting:           64
Database block size:                  8192
Bytes per WAL segment:                16777216
Data page checksum version:           1
";

    #[test]
    fn reads_a_sample() {
        let data = ControlData::parse(SAMPLE).unwrap();
        assert_eq!(data.system_identifier, 7710524633160593735);
        assert_eq!(data.state, ClusterState::InProduction);
        assert!(!data.state.is_clean());
        assert_eq!(data.redo, Lsn(0x1_0174_1498));
        assert_eq!(data.timeline, 2);
        assert_eq!(data.next_xid, (1 << 32) + 724);
        assert_eq!(data.checkpoint_time, "Sat Nov 21 07:33:33 2026");
        assert_eq!(data.hot_standby_minimums()[0], ("max_connections", 100));
        assert_eq!(data.wal_segment_size, 16 << 20);
        assert!(data.checksums());
    }

    #[test]
    fn state_from_the_file() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read_cluster_state(dir.path()), None);
        std::fs::create_dir(dir.path().join("global")).unwrap();
        let mut bytes = vec![0; 8192];
        bytes[16..20].copy_from_slice(&6_u32.to_ne_bytes());
        std::fs::write(dir.path().join("global/pg_control"), &bytes).unwrap();
        assert_eq!(
            read_cluster_state(dir.path()),
            Some(ClusterState::InProduction)
        );
        bytes[16] = 77;
        std::fs::write(dir.path().join("global/pg_control"), &bytes).unwrap();
        assert_eq!(read_cluster_state(dir.path()), None);
    }

    #[test]
    fn names_the_line_it_misses() {
        let error = ControlData::parse("pg_control version number: 1300\n").unwrap_err();
        assert!(error.to_string().contains("no line"), "{error}");
        let text = SAMPLE.replace("in production", "asleep");
        assert!(ControlData::parse(&text).is_err());
    }
}
