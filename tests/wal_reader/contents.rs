//! Records whose frame is right and whose contents are anything: nothing panics, and the same
//! records are seen whatever reads them.

use std::fs;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rpitr::wal::{AnalysisOptions, Decoded, Options, Reader, Wal, event, incidents};

use crate::assemble::{Body, MAGICS, SEGMENT, segment};

/// Bytes that look like a block reference to a catalog now and then.
fn contents() -> impl Strategy<Value = Vec<u8>> {
    let bytes = prop::collection::vec(any::<u8>(), 0..300);
    let block = (
        any::<u8>(),
        prop::sample::select(vec![1259u32, 1262, 2615, 16400]),
        bytes.clone(),
        bytes.clone(),
    )
        .prop_map(|(flags, relation, data, main)| {
            let data = if flags & 0x20 != 0 { data } else { Vec::new() };
            let flags = if data.is_empty() { flags & 0x40 } else { 0x20 };
            let mut out = vec![0, flags];
            out.extend((data.len() as u16).to_le_bytes());
            let database: u32 = if relation == 1262 { 0 } else { 5 };
            for word in [1663u32, database, relation, 0] {
                out.extend(word.to_le_bytes());
            }
            out.extend([255, main.len().min(255) as u8]);
            out.extend(&data);
            out.extend(&main[..main.len().min(255)]);
            out
        });
    let main = bytes.clone().prop_map(|main| {
        let main = &main[..main.len().min(255)];
        let mut out = vec![255, main.len() as u8];
        out.extend(main);
        out
    });
    prop_oneof![1 => bytes, 4 => block, 4 => main]
}

fn body() -> impl Strategy<Value = Body> {
    (0..22u8, any::<u8>(), 0..6u32, contents()).prop_map(|(rmgr, info, xid, bytes)| Body {
        rmgr,
        info,
        xid: if xid == 0 { 0 } else { 700 + xid },
        bytes,
    })
}

#[test]
fn no_contents_make_a_reader_panic() {
    let strategy = (
        prop::sample::select(MAGICS.to_vec()),
        prop::collection::vec(body(), 1..60),
    );
    let config = Config {
        cases: 200,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&strategy, |(magic, bodies)| {
            let dir = tempfile::tempdir().unwrap();
            let bytes = segment(magic, &bodies);
            prop_assert_eq!(bytes.len(), SEGMENT);
            fs::write(dir.path().join("000000010000000000000001"), bytes).unwrap();
            let wal = Wal::open(dir.path(), &Options::default()).unwrap();
            let mut reader = Reader::new(&wal, wal.first().unwrap());
            let mut decoded = Decoded::default();
            let mut read = 0u64;
            while let Ok(record) = reader.read() {
                read += 1;
                let _ = record.decode(&mut decoded);
                let _ = event(&record);
            }
            // A switch ends the segment.
            let switch = bodies
                .iter()
                .position(|b| b.rmgr == 0 && b.info & 0xF0 == 0x40);
            prop_assert_eq!(read as usize, switch.map_or(bodies.len(), |at| at + 1));
            let mut options = AnalysisOptions {
                harmless: true,
                mass_rows: 1,
                ..AnalysisOptions::default()
            };
            let (found, one) = incidents(&wal, &options).unwrap();
            options.threads = 2;
            let (same, two) = incidents(&wal, &options).unwrap();
            prop_assert_eq!(found, same);
            prop_assert_eq!(one.summary.records, two.summary.records);
            prop_assert_eq!(one.summary.end, two.summary.end);
            Ok(())
        })
        .unwrap();
}
