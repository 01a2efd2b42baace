//! `pg_waldump`, the oracle of the WAL reader: its text taken apart, and compared with what the
//! reader says.
#![allow(dead_code)]

use std::path::Path;

use rpitr::wal::{
    Decoded, End, Event, Lsn, Options, Reader, Summary, Wal, Xact, XactKind, rmgr_name, scan,
};

/// A record as `pg_waldump` prints it.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    pub rmgr: String,
    pub len: u32,
    pub xid: u32,
    pub start: Lsn,
    pub prev: Lsn,
}

/// What `pg_waldump` printed: its records, and its descriptions of ends of transactions.
pub fn parse(text: &str) -> (Vec<Line>, Vec<String>) {
    let mut lines = Vec::new();
    let mut ends = Vec::new();
    for line in text.lines().filter(|l| l.starts_with("rmgr:")) {
        let field = |key: &str| line.split_once(key).unwrap().1.trim_start();
        let word = |key: &str| field(key).split([',', ' ']).next().unwrap().to_string();
        let total = field("(rec/tot):").split_once('/').unwrap().1.trim_start();
        lines.push(Line {
            rmgr: word("rmgr:"),
            len: total.split(',').next().unwrap().parse().unwrap(),
            xid: word("tx:").parse().unwrap(),
            start: word("lsn:").parse().unwrap(),
            prev: word("prev ").parse().unwrap(),
        });
        let description = field("desc:");
        if line.starts_with("rmgr: Transaction")
            && (description.contains("COMMIT") || description.contains("ABORT"))
        {
            ends.push(description.to_string());
        }
    }
    (lines, ends)
}

/// How `pg_waldump` begins the description of the end of a transaction.
fn describe(xact: &Xact) -> String {
    let time = chrono::DateTime::from_timestamp_micros(xact.unix_us).unwrap();
    let time = time.format("%Y-%m-%d %H:%M:%S%.6f UTC");
    match xact.kind {
        XactKind::Commit => format!("COMMIT {time}"),
        XactKind::Abort => format!("ABORT {time}"),
        XactKind::CommitPrepared => format!("COMMIT_PREPARED {}: {time}", xact.xid),
        XactKind::AbortPrepared => format!("ABORT_PREPARED {}: {time}", xact.xid),
    }
}

/// All records of a directory, taken apart to see that they add up.
fn records(wal: &Wal, first: Lsn) -> (Vec<Line>, End) {
    let mut mine = Vec::new();
    let mut reader = Reader::new(wal, first);
    let mut decoded = Decoded::default();
    let end = loop {
        match reader.read() {
            Ok(record) => {
                record.decode(&mut decoded).unwrap();
                assert_eq!(decoded.main_data(&record), record.main_data().unwrap());
                mine.push(Line {
                    rmgr: rmgr_name(record.header.rmgr),
                    len: record.header.total_len,
                    xid: record.header.xid,
                    start: record.start,
                    prev: record.header.prev,
                });
            }
            Err(end) => break *end,
        }
    };
    assert!(!end.is_damage(), "{end}: {:?}", end.verdict);
    assert_eq!(reader.read().unwrap_err().lsn, end.lsn, "the end is stable");
    (mine, end)
}

/// Same records, same transactions as `pg_waldump`, which is asked for a range and answers with
/// its text.
pub fn compare(archive: &Path, waldump: impl FnOnce(Lsn, Lsn) -> String) -> (Vec<Line>, Summary) {
    let wal = Wal::open(archive, &Options::default()).unwrap();
    let first = wal.first().unwrap();
    let (mine, end) = records(&wal, first);
    let (theirs, ends) = parse(&waldump(mine[0].start, end.lsn));
    assert_eq!(mine.len(), theirs.len());
    for (mine, theirs) in mine.iter().zip(&theirs) {
        assert_eq!(mine, theirs);
    }
    let mut found = Vec::new();
    let summary = scan(&wal, first, |event| {
        if let Event::Xact(detail) = event {
            found.push(detail.clone());
        }
    })
    .unwrap();
    assert_eq!(summary.records as usize, mine.len());
    assert_eq!(found.len(), ends.len());
    for (detail, theirs) in found.iter().zip(&ends) {
        let mine = describe(&detail.xact);
        assert!(theirs.starts_with(&mine), "{mine} against {theirs}");
        if !detail.subxacts.is_empty() {
            let list: Vec<_> = detail.subxacts.iter().map(u32::to_string).collect();
            let list = format!("subxacts: {}", list.join(" "));
            assert!(theirs.contains(&list), "{theirs}");
        }
        let rels = theirs.split("; ").find_map(|p| p.strip_prefix("rels: "));
        let count = rels.map_or(0, |r| r.split(' ').count());
        assert_eq!(count, detail.dropped_relations as usize, "{theirs}");
    }
    (mine, summary)
}
