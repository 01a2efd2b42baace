//! `rpitr wal snapshot`: the segment that is being received, made usable for a restore.

use std::path::PathBuf;

use clap::Args;

use super::output::Output;
use crate::archive;
use crate::exit;
use crate::failure::{Failure, Kind};
use crate::runtime::Source;

/// `rpitr wal snapshot`.
#[derive(Debug, Args)]
pub struct Snapshot {
    /// The directory of a receiver, or lab:NODE (lab:LAB/NODE)
    #[arg(value_name = "DIR|lab:NODE")]
    pub place: String,
    /// Where to put the snapshot and its description
    #[arg(long, value_name = "DIR")]
    pub into: PathBuf,
    /// Print its description
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: &Snapshot, source: &Source, output: &mut Output) -> Result<i32, Failure> {
    let taken = archive::snapshot(&source.dir, &args.into)?;
    let Some((path, snapshot)) = taken else {
        return Err(Failure::new(
            Kind::State,
            format!("nothing is being received into {}", source.dir.display()),
        )
        .hint("a receiver writes SEGMENT.partial; what is complete needs no snapshot"));
    };
    if args.json {
        output.line(&serde_json::to_string_pretty(&snapshot).unwrap_or_default());
        return Ok(exit::PASS);
    }
    output.line(&path.display().to_string());
    output.line(&format!(
        "{} from {} up to {}, {} commits; reading ended there: {}",
        snapshot.segment, snapshot.begins, snapshot.upto, snapshot.commits, snapshot.ended
    ));
    output.line(&format!(
        "restore with: rpitr archive-fetch --archive {} --tail {} %f %p",
        source.dir.display(),
        path.display()
    ));
    Ok(exit::PASS)
}
