//! Any bytes in place of a segment, plain or compressed.
#![no_main]

#[path = "../../tests/wal_reader/assemble.rs"]
mod assemble;

use assemble::{Body, MAGICS, SEGMENT, segment};
use libfuzzer_sys::fuzz_target;
use rpitr::wal::{AnalysisOptions, Options, Wal, incidents};

const NAMES: [&str; 4] = ["", ".gz", ".lz4", ".zst"];

fuzz_target!(|data: &[u8]| {
    let [kind, version, at_low, at_mid, data @ ..] = data else {
        return;
    };
    let magic = MAGICS[usize::from(*version) % MAGICS.len()];
    let name = NAMES[usize::from(*kind) % NAMES.len()];
    let bodies: Vec<Body> = (0..40)
        .map(|n| Body {
            rmgr: 1,
            info: 0,
            xid: 700 + n,
            bytes: [&[255, 200][..], &[0; 200]].concat(),
        })
        .collect();
    let mut first = segment(magic, &bodies);
    let at = usize::from(u16::from_le_bytes([*at_low, *at_mid])) * 8 % SEGMENT;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = |number: u8, suffix: &str, bytes: &[u8]| {
        let path = dir.path().join(format!("00000001000000000000000{number}{suffix}"));
        std::fs::write(path, bytes).expect("the segment is written");
    };
    let end = (at + data.len()).min(SEGMENT);
    first[at..end].copy_from_slice(&data[..end - at]);
    file(1, "", &first);
    file(2, name, data);
    if let Ok(wal) = Wal::open(dir.path(), &Options::default()) {
        let _ = incidents(&wal, &AnalysisOptions::default());
    }
});
