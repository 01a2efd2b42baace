//! Well-formed records with any contents.
#![no_main]

#[path = "../../tests/wal_reader/assemble.rs"]
mod assemble;

use assemble::{Body, MAGICS, segment};
use libfuzzer_sys::fuzz_target;
use rpitr::wal::{AnalysisOptions, Options, Wal, incidents};

fuzz_target!(|data: &[u8]| {
    let Some((version, mut rest)) = data.split_first() else {
        return;
    };
    let magic = MAGICS[usize::from(*version) % MAGICS.len()];
    let mut bodies = Vec::new();
    // Each record: manager, info, transaction, length, contents.
    while let [rmgr, info, xid, low, high, tail @ ..] = rest {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(tail.len());
        bodies.push(Body {
            rmgr: rmgr % 22,
            info: *info,
            xid: u32::from(*xid),
            bytes: tail[..length].to_vec(),
        });
        rest = &tail[length..];
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("000000010000000000000001");
    std::fs::write(path, segment(magic, &bodies)).expect("the segment is written");
    let wal = Wal::open(dir.path(), &Options::default()).expect("the header is right");
    let options = AnalysisOptions {
        harmless: true,
        mass_rows: 1,
        ..AnalysisOptions::default()
    };
    let _ = incidents(&wal, &options);
});
