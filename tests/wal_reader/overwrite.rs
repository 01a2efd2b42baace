//! A record whose rest was lost in a crash, for real: the server that comes up again writes
//! OVERWRITE_CONTRECORD over it (the scenario of PostgreSQL's own recovery test 026).

use std::fs;

use rpitr::wal::{AnalysisOptions, Event, Options, Wal, XlogEvent, incidents, scan};

use crate::pg::{self, Cluster};

#[test]
fn an_abandoned_record_is_no_damage() {
    let root = pg::scratch();
    let cluster = Cluster::init(
        root.path(),
        "primary",
        1,
        "autovacuum=off\nwal_keep_size=100MB",
    );
    cluster.start();
    cluster.script("create table t as select generate_series(1, 100) i; checkpoint;");
    // Leave room for the beginning of a record only; then write one that needs the next segment.
    let files = cluster.script(
        "do $$
         begin
           loop
             perform pg_logical_emit_message(false, 'fill', repeat('x', 500));
             exit when 1048576 - (pg_current_wal_insert_lsn() - '0/0') % 1048576 between 200 and 2000;
           end loop;
         end $$;
         select pg_walfile_name(pg_current_wal_insert_lsn());
         select pg_logical_emit_message(true, 'long', repeat('xyzxz', 60000));
         select pg_walfile_name(pg_current_wal_insert_lsn());",
    );
    let names: Vec<&str> = files.lines().filter(|l| l.len() == 24).collect();
    assert_ne!(names[0], names[1], "the record crosses segments");
    cluster.stop("immediate");
    fs::remove_file(cluster.data.join("pg_wal").join(names[1])).unwrap();
    cluster.start();
    cluster.script("create table after_crash(i int); truncate t; select pg_switch_wal(); create table more(i int);");
    cluster.stop("fast");

    let pg_wal = cluster.data.join("pg_wal");
    let options = Options {
        live: true,
        ..Options::default()
    };
    let wal = Wal::open(&pg_wal, &options).unwrap();
    let mut lost = None;
    let summary = scan(&wal, wal.first().unwrap(), |event| {
        if let Event::Xlog {
            start,
            event: XlogEvent::Overwrite { lost: record },
            ..
        } = event
        {
            lost = Some((*start, *record));
        }
    })
    .unwrap();
    assert!(!summary.end.is_damage(), "{}", summary.end);
    let (start, record) = lost.expect("the server wrote a replacement");
    let size = wal.segment_size();
    assert_eq!(size.name(1, size.number(record)), names[0]);
    assert_eq!(size.name(1, size.number(start)), names[1]);

    // Reading segments side by side crosses the same seam and sees the same.
    let found = |threads| {
        let options = AnalysisOptions {
            threads,
            ..AnalysisOptions::default()
        };
        let (found, analysis) = incidents(&wal, &options).unwrap();
        (found, analysis.summary.records, analysis.summary.end)
    };
    let (one, three) = (found(1), found(3));
    assert_eq!(one, three);
    assert_eq!(one.1, summary.records);
    assert_eq!(one.2, summary.end);
    assert!(
        one.0.iter().any(|i| i.names() == ["public.t"]),
        "the TRUNCATE behind it"
    );

    // A replacement that names another record is damage: recovery would stop there, too.
    let path = pg_wal.join(names[1]);
    let mut bytes = fs::read(&path).unwrap();
    let at = 40 + 24 + 2;
    assert_eq!(
        bytes[at..at + 8],
        record.0.to_le_bytes(),
        "the record begins where expected"
    );
    bytes[at] ^= 8;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[64..64 + 18]), &bytes[40..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let end = scan(&wal, wal.first().unwrap(), |_| {}).unwrap().end;
    assert_eq!(end.reason.code(), "overwrite", "{end}");
    assert!(end.is_damage(), "{end}");
}
