//! The grammar of `rpitr wal`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::filter::{Bound, Range};
use super::snapshot::Snapshot;
use super::watch::Watch;
use crate::wal::{AnalysisOptions, Wanted, kinds};

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
    /// Find what destroyed data, with the recovery target just before each
    Find(Find),
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
            WalCommand::Find(find) => &find.commits.place,
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
    /// Only what changed this table (or dropped this index, schema, database)
    #[arg(long, value_name = "NAME")]
    pub table: Option<String>,
    /// Only this kind: truncate, drop_table, drop_index, drop_schema, drop_database, delete, update ...
    #[arg(long, value_name = "KIND", value_parser = clap::builder::PossibleValuesParser::new(kinds()), hide_possible_values = true)]
    pub kind: Option<String>,
    /// Only this transaction, or the one this subtransaction belongs to
    #[arg(long, value_name = "XID")]
    pub xid: Option<u32>,
    /// Also transactions that were rolled back
    #[arg(long)]
    pub aborted: bool,
    /// At most this many
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// A base backup (plain format) to take the names of older tables from
    #[arg(long, value_name = "DIR")]
    pub base: Option<PathBuf>,
    /// From how many rows on a DELETE or UPDATE counts as destruction
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub min_rows: u64,
}

impl Commits {
    pub(super) fn wanted(&self) -> Wanted {
        let range = Range::of(&self.place);
        Wanted {
            table: self.table.clone(),
            kind: self.kind.clone(),
            xid: self.xid,
            from: range.from,
            to: range.to,
            from_time: range.from_time,
            to_time: range.to_time,
            aborted: self.aborted,
        }
    }

    pub(super) fn options(&self) -> AnalysisOptions<'_> {
        let threads = std::thread::available_parallelism().map_or(1, |count| count.get().min(4));
        AnalysisOptions {
            base: self.base.as_deref(),
            mass_rows: self.min_rows,
            threads,
            ..AnalysisOptions::default()
        }
    }
}

/// `rpitr wal find`.
#[derive(Debug, Args)]
pub struct Find {
    #[command(flatten)]
    pub commits: Commits,
    /// Also what lost nothing: rewrites, rebuilds, moves, other DDL
    #[arg(long)]
    pub harmless: bool,
}
