//! Knowledge of PostgreSQL's own files: installations, control data, configuration, backup
//! metadata, the postmaster's pid file and the server log. No server is started here.

mod backup;
mod conf;
mod conf_files;
mod controldata;
mod error;
mod install;
mod log;
mod postmaster;
mod recovery_log;

pub use backup::{
    BackupHistory, BackupLabel, BackupManifest, TablespaceLink, WalRange, parse_tablespace_map,
};
pub use conf::{ConfLine, Setting, lex_line, quote_value, render};
pub use conf_files::{
    OWN_FILE, Removed, Scrubbed, include_own_file, read_own_file, scrub_data_dir, write_own_file,
};
pub use controldata::{ClusterState, ControlData, read_cluster_state};
pub use error::Error;
pub use install::{Install, Lookup, OLDEST_MAJOR, discover, pick};
pub use log::{
    LOG_LINE_PREFIX, Level, LogEntry, explain_failure, parse_log, problems, read_log_from,
};
pub use postmaster::{PostmasterPid, PostmasterStatus};
pub use recovery_log::{RecoveryOutcome, StoppedAt};
