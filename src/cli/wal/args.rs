//! The grammar of `rpitr wal`.

use clap::{Args, Subcommand};

use super::filter::Bound;
use super::snapshot::Snapshot;
use super::watch::Watch;

#[derive(Debug, Subcommand)]
pub enum WalCommand {
    /// List the WAL files of an archive, with the positions each covers and what is missing
    Ls(Place),
    /// Count records and bytes of each resource manager
    Stats(Place),
    /// Check every record, page and file name; find gaps and damage
    Verify(Place),
    /// List the transactions that committed, in WAL order
    Commits(Commits),
    /// Show what happened in order: timelines, backups, restore points, checkpoints
    Timeline(Place),
    /// Keep a catalogue of captured WAL: what is there, gaps, damage, lag
    Watch(Watch),
    /// Copy the segment that is being received, up to its last good record, for a restore
    Snapshot(Snapshot),
}

impl WalCommand {
    /// What to read, and whether to print JSON.
    pub(super) fn place(&self) -> (&str, bool) {
        let place = match self {
            WalCommand::Ls(place)
            | WalCommand::Stats(place)
            | WalCommand::Verify(place)
            | WalCommand::Timeline(place) => place,
            WalCommand::Commits(commits) => &commits.place,
            WalCommand::Watch(watch) => return (&watch.place, watch.json),
            WalCommand::Snapshot(snapshot) => return (&snapshot.place, snapshot.json),
        };
        (&place.place, place.json)
    }
}

/// What every command takes.
#[derive(Debug, Args)]
pub struct Place {
    /// A folder of WAL files, or lab:NODE (lab:LAB/NODE) for the archive of a lab's node
    #[arg(value_name = "DIR|lab:NODE")]
    pub place: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Follow this timeline instead of the newest
    #[arg(long, value_name = "N")]
    pub timeline: Option<u32>,
    /// Begin at this LSN, or at this time (with its UTC offset)
    #[arg(long, value_name = "WHEN")]
    pub from: Option<Bound>,
    /// End before this LSN, or at this time
    #[arg(long, value_name = "WHEN")]
    pub to: Option<Bound>,
}

/// `rpitr wal commits`.
#[derive(Debug, Args)]
pub struct Commits {
    #[command(flatten)]
    pub place: Place,
    /// Only this transaction, or the one this subtransaction belongs to
    #[arg(long, value_name = "XID")]
    pub xid: Option<u32>,
    /// Also transactions that were rolled back
    #[arg(long)]
    pub aborted: bool,
    /// At most this many
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
}
