//! Base backups as the WAL itself knows them: each ends with a record that names its start.

use crate::wal::Lsn;

/// A base backup taken from a primary. Backups taken from a standby write no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackupSpan {
    /// Replay begins here: the first WAL that recovery needs.
    pub start: Lsn,
    /// Consistent from here on: the earliest target.
    pub stop: Lsn,
    pub timeline: u32,
}

/// The newest backup that is consistent at `target`.
pub(super) fn serving(backups: &[BackupSpan], target: Lsn) -> Option<BackupSpan> {
    backups
        .iter()
        .filter(|backup| backup.stop <= target)
        .max_by_key(|backup| backup.stop)
        .copied()
}
