//! Planted faults of a lab's archive: `archive-push` that fails, hangs, lies, stops half-way or finds the disk full.
//!
//! A file in the archive says which push is hit; a log beside it counts them, so that the n-th push is the
//! n-th push whatever happens to the processes. Servers outside of labs never look.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use super::push::temp_name;

/// What the fault is in.
const FAULT: &str = ".rpitr-fault";
/// A line for each push since: number, name, what was done, bytes written, bytes of the file.
const LOG: &str = ".rpitr-fault.log";
/// Before the name of a file that was lied about, kept for the healing.
const LIED: &str = ".rpitr-lied.";

/// What became of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sabotage {
    /// It is to be done as always.
    Honest,
    /// It is reported as done, and is not.
    Lie,
    /// It failed, for this reason.
    Fail(String),
}

/// `MODE FROM COUNT BYTES`
struct Fault {
    mode: String,
    from: u64,
    count: u64,
    bytes: u64,
}

impl Fault {
    fn read(archive: &Path) -> Option<Fault> {
        let text = fs::read_to_string(archive.join(FAULT)).ok()?;
        let mut words = text.split_whitespace();
        let mode = words.next()?.to_string();
        let mut number = || words.next()?.parse().ok();
        Some(Fault {
            mode,
            from: number()?,
            count: number()?,
            bytes: number()?,
        })
    }
}

/// Pushes so far, and the bytes they wrote.
fn so_far(archive: &Path) -> (u64, u64) {
    let text = fs::read_to_string(archive.join(LOG)).unwrap_or_default();
    let bytes = |line: &str| line.split(' ').nth(3)?.parse::<u64>().ok();
    (
        text.lines().count() as u64,
        text.lines().filter_map(bytes).sum(),
    )
}

/// Does what the archive's fault, if there is one, does to this push.
pub fn sabotage(source: &Path, archive: &Path, name: &str) -> Sabotage {
    if std::env::var_os("RPITR_LAB").is_none() {
        return Sabotage::Honest;
    }
    match Fault::read(archive) {
        // A planted fault that cannot be planted must not look like one that was survived.
        Some(fault) => strike(&fault, source, archive, name)
            .unwrap_or_else(|error| Sabotage::Fail(format!("planted fault: {error}"))),
        None => Sabotage::Honest,
    }
}

fn strike(fault: &Fault, source: &Path, archive: &Path, name: &str) -> io::Result<Sabotage> {
    let whole = fs::metadata(source)?.len();
    let (before, used) = so_far(archive);
    let number = before + 1;
    let log = |what: &str, bytes: u64| -> io::Result<()> {
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(archive.join(LOG))?;
        file.write_all(format!("{number} {name} {what} {bytes} {whole}\n").as_bytes())?;
        file.sync_data()
    };
    let hit = number >= fault.from && number - fault.from < fault.count;
    let there = archive.join(name).symlink_metadata().is_ok();
    match fault.mode.as_str() {
        "fail" if hit => {
            log("failed", 0)?;
            Ok(Sabotage::Fail("planted fault".into()))
        }
        "hang" if hit => {
            log("hung", 0)?;
            while archive.join(FAULT).exists() {
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok(Sabotage::Fail("planted fault: hung".into()))
        }
        "lie" if hit && !there => {
            let temp = archive.join(temp_name(name));
            fs::copy(source, &temp)?;
            File::open(&temp)?.sync_all()?;
            fs::rename(&temp, archive.join(format!("{LIED}{name}")))?;
            log("lied", 0)?;
            Ok(Sabotage::Lie)
        }
        "partial" if hit && !there => {
            let bytes = fault.bytes.min(whole.saturating_sub(1));
            log("partial", bytes)?;
            let mut start = Vec::new();
            File::open(source)?.take(bytes).read_to_end(&mut start)?;
            let mut target = File::create_new(archive.join(name))?;
            target.write_all(&start)?;
            target.sync_all()?;
            Ok(Sabotage::Fail(format!(
                "planted fault: stopped after {bytes} bytes"
            )))
        }
        "full" if used + whole > fault.bytes && !there => {
            log("full", 0)?;
            Ok(Sabotage::Fail(
                "No space left on device (planted fault)".into(),
            ))
        }
        _ => {
            log("honest", if there { 0 } else { whole })?;
            Ok(Sabotage::Honest)
        }
    }
}
