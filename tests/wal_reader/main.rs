//! The WAL reader against its oracles: `pg_waldump` record by record, and real recoveries.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod assemble;
mod contents;
mod mutations;
mod overwrite;
mod packed;
#[path = "../pg/mod.rs"]
mod pg;

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use mutations::mutate;
use pg::{Cluster, waldump};
use rpitr::wal::{
    Event, FileName, Lsn, Options, Refusal, StopRequest, Target, Wal, Xact, commits_by_xid, scan,
    stop_point,
};

const ARCHIVING: &str =
    "archive_mode=on\nmax_prepared_transactions=5\nwal_level=replica\nmax_wal_senders=3\n";

fn workload(cluster: &Cluster) {
    pg::run(cluster.client("pgbench").args(["-i", "-q", "-s", "1"]));
    pg::run(
        cluster
            .client("pgbench")
            .args(["-n", "-c", "4", "-t", "100"]),
    );
    cluster.script(
        "create table t(i int primary key, v text);
         insert into t select i, repeat('x', 3000) || i from generate_series(1, 300) i;
         begin; insert into t values (1001, 'a'); savepoint s; insert into t values (1002, 'b');
           rollback to s; savepoint s2; insert into t values (1003, 'c'); commit;
         begin; insert into t values (1004, 'd'); rollback;
         begin; insert into t values (1005, 'e'); savepoint s; insert into t values (1006, 'f'); prepare transaction 'first one';
         commit prepared 'first one';
         begin; insert into t values (1007, 'g'); prepare transaction 'second';
         rollback prepared 'second';
         select pg_create_restore_point('before truncate');
         alter table t add z int;
         create table d as select * from t; truncate t; drop table d; vacuum full pgbench_tellers;
         create database other; drop database other;
         select pg_switch_wal();
         select pg_create_restore_point('twice'); select pg_create_restore_point('twice');
         select pg_logical_emit_message(true, 'rpitr', repeat('long', 40000));
         checkpoint;",
    );
}

/// Same records, same transactions as `pg_waldump`; returns how many records were compared.
fn compare(archive: &Path) -> usize {
    let (records, summary) = waldump::compare(archive, |start, end| {
        pg::run(pg::program("pg_waldump").arg("-p").arg(archive).args([
            "-t",
            "1",
            "-s",
            &start.to_string(),
            "-e",
            &end.to_string(),
        ]))
    });
    let mut points = summary.restore_points.iter();
    assert!(points.any(|p| p.name == "before truncate"));
    records.len()
}

/// Starts an archiving cluster, works on it, shuts it down, and completes the archive with the
/// last segment as it is at the end of a life: half full.
fn archived(root: &Path, segment_mb: u32) -> std::path::PathBuf {
    let archive = pg::make_dir(&root.join("archive"));
    let command = format!(
        "archive_command='test ! -f {0}/%f && cp %p {0}/%f'",
        archive.display()
    );
    let cluster = Cluster::init(
        root,
        "primary",
        segment_mb,
        &format!("{ARCHIVING}{command}\nwal_compression=pglz"),
    );
    cluster.start();
    workload(&cluster);
    cluster.stop("fast");
    let newest = fs::read_dir(cluster.data.join("pg_wal"))
        .unwrap()
        .flatten()
        .filter(|e| {
            matches!(
                e.file_name().to_str().and_then(FileName::parse),
                Some(FileName::Segment { .. })
            )
        });
    for entry in newest {
        let to = archive.join(entry.file_name());
        if !to.exists() {
            fs::copy(entry.path(), &to).unwrap();
            pg::own(&to);
        }
    }
    // Segments kept for reuse have a later name than what they hold.
    let wal = Wal::open(
        &cluster.data.join("pg_wal"),
        &Options {
            live: true,
            ..Options::default()
        },
    )
    .unwrap();
    let summary = scan(&wal, wal.first().unwrap(), |_| {}).unwrap();
    assert!(!summary.end.is_damage(), "{}", summary.end);
    let last = wal.segment_size().number(summary.end.lsn);
    for entry in fs::read_dir(&archive).unwrap().flatten() {
        let number = entry
            .file_name()
            .to_str()
            .and_then(FileName::parse)
            .and_then(|n| n.number(wal.segment_size()));
        if number.is_some_and(|n| n > last) {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    archive
}

#[test]
fn same_records_as_pg_waldump_16mb() {
    let root = pg::scratch();
    let records = compare(&archived(root.path(), 16));
    println!("{records} records compared (16 MB segments)");
}

#[test]
fn same_records_as_pg_waldump_1mb_and_no_damage_is_taken_for_the_end() {
    let root = pg::scratch();
    let archive = archived(root.path(), 1);
    let records = compare(&archive);
    println!("{records} records compared (1 MB segments)");
    mutate(&archive);
    packed::packed_archives(&archive);
}

struct Drill {
    root: tempfile::TempDir,
    archive: std::path::PathBuf,
    base: std::path::PathBuf,
    redo: Lsn,
    consistent: Lsn,
    xacts: Vec<Xact>,
    rows: Vec<u32>,
}

fn drill() -> Drill {
    let root = pg::scratch();
    let archive = pg::make_dir(&root.path().join("archive"));
    let command = format!(
        "archive_command='test ! -f {0}/%f && cp %p {0}/%f'",
        archive.display()
    );
    let cluster = Cluster::init(root.path(), "primary", 1, &format!("{ARCHIVING}{command}"));
    cluster.start();
    cluster.psql("create table ops(n int, xid xid8 default pg_current_xact_id())");
    let base = root.path().join("base");
    cluster.base_backup(&base);
    let mut script = String::new();
    for n in 0..60 {
        script.push_str(&format!("insert into ops(n) values ({n});\n"));
        if n % 10 == 5 {
            script.push_str("begin; insert into ops(n) values (-1); rollback;\n");
            script.push_str("begin; insert into ops(n) values (-2); savepoint s; insert into ops(n) values (-3); commit;\n");
            script.push_str("begin; insert into ops(n) values (-4); prepare transaction 'p'; commit prepared 'p';\n");
        }
        if n == 30 {
            script.push_str("select pg_create_restore_point('thirty'); select pg_switch_wal();\n");
        }
        if n == 40 {
            script.push_str("select pg_create_restore_point('twice');\n");
        }
        if n == 45 {
            script.push_str("select pg_create_restore_point('twice');\n");
        }
    }
    cluster.script(&script);
    cluster.switch_and_archive(&archive);
    let rows = cluster
        .psql("select distinct xid from ops")
        .lines()
        .map(|l| l.parse().unwrap())
        .collect();
    cluster.stop("immediate");
    let (redo, consistent) = pg::backup_positions(&archive);
    let wal = Wal::open(&archive, &Options::default()).unwrap();
    let mut xacts = Vec::new();
    scan(&wal, redo, |event| {
        if let Event::Xact(detail) = event {
            xacts.push(detail.xact);
        }
    })
    .unwrap();
    Drill {
        root,
        archive,
        base,
        redo,
        consistent,
        xacts,
        rows,
    }
}

impl Drill {
    fn request(&self, target: Target, inclusive: bool) -> StopRequest {
        StopRequest {
            target,
            inclusive,
            start: self.redo,
            consistent: self.consistent,
            backup_stop_time: None,
        }
    }

    fn predict(&self, target: Target, inclusive: bool) -> Result<rpitr::wal::Stop, Refusal> {
        let wal = Wal::open(&self.archive, &Options::default()).unwrap();
        stop_point(&wal, &self.request(target, inclusive))
    }

    /// Recovers for real and returns the switch point and the transactions whose rows are there.
    fn recover(&self, name: &str, settings: &str) -> Option<(Lsn, HashSet<u32>)> {
        let data = self.root.path().join(name);
        pg::run(pg::program("postgres").arg("--version"));
        let mut copy = std::process::Command::new("cp");
        pg::run(copy.arg("-a").arg(&self.base).arg(&data));
        let cluster = Cluster::existing(self.root.path(), data);
        cluster.configure(&format!(
            "archive_mode=off\nrestore_command='cp {}/%f %p'\nrecovery_target_action=promote\nrecovery_target_timeline=1\n{settings}",
            self.archive.display()
        ));
        fs::write(cluster.data.join("recovery.signal"), "").unwrap();
        if !cluster.recover() {
            return None;
        }
        let rows = cluster
            .psql("select distinct xid from ops")
            .lines()
            .map(|l| l.parse().unwrap())
            .collect();
        let history = fs::read_to_string(cluster.data.join("pg_wal/00000002.history")).unwrap();
        cluster.stop("immediate");
        Some((
            rpitr::wal::parse_history(2, &history).unwrap()[0].switchpoint,
            rows,
        ))
    }

    /// The prediction is what the server did, in position and in rows.
    fn check(&self, name: &str, target: Target, inclusive: bool, settings: &str) {
        let stop = self
            .predict(target, inclusive)
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        let settings = format!("{settings}\nrecovery_target_inclusive={inclusive}");
        let (switchpoint, rows) = self
            .recover(name, &settings)
            .unwrap_or_else(|| panic!("{name}: the server gave up"));
        assert_eq!(switchpoint, stop.switchpoint, "{name}: {}", stop.why);
        let wal = Wal::open(&self.archive, &Options::default()).unwrap();
        let wanted: HashSet<u32> = self.rows.iter().copied().collect();
        let kept = commits_by_xid(&wal, &wanted, self.redo, stop.switchpoint).unwrap();
        assert_eq!(
            rows,
            kept.keys().copied().collect::<HashSet<_>>(),
            "{name}: {}",
            stop.why
        );
        let commits: Vec<_> = self.xacts.iter().filter(|x| x.kind.is_commit()).collect();
        let last = commits.iter().rev().find(|x| x.start < stop.switchpoint);
        let next = commits.iter().find(|x| x.start >= stop.switchpoint);
        assert_eq!(stop.last_replayed_commit.as_ref(), last.copied());
        assert_eq!(stop.next_commit.as_ref(), next.copied());
    }
}

fn time(unix_us: i64) -> String {
    let time = chrono::DateTime::from_timestamp_micros(unix_us).unwrap();
    time.format("'%Y-%m-%d %H:%M:%S%.6f+00'").to_string()
}

#[test]
fn recovery_stops_where_predicted() {
    let drill = drill();
    let commits: Vec<_> = drill.xacts.iter().filter(|x| x.kind.is_commit()).collect();
    let middle = commits[commits.len() / 2];
    let abort = drill
        .xacts
        .iter()
        .rev()
        .find(|x| !x.kind.is_commit())
        .unwrap();
    let prepared = drill
        .xacts
        .iter()
        .find(|x| x.kind == rpitr::wal::XactKind::CommitPrepared)
        .unwrap();
    let latest = drill.predict(Target::Latest, true).unwrap();
    let last = latest.last_record.unwrap();
    let cases: Vec<(&str, Target, bool, String)> = vec![
        (
            "time_in",
            Target::Time(middle.unix_us),
            true,
            format!("recovery_target_time={}", time(middle.unix_us)),
        ),
        (
            "time_ex",
            Target::Time(middle.unix_us),
            false,
            format!("recovery_target_time={}", time(middle.unix_us)),
        ),
        (
            "xid_in",
            Target::Xid(middle.xid),
            true,
            format!("recovery_target_xid={}", middle.xid),
        ),
        (
            "xid_ex",
            Target::Xid(prepared.xid),
            false,
            format!("recovery_target_xid={}", prepared.xid),
        ),
        (
            "xid_abort",
            Target::Xid(abort.xid),
            true,
            format!("recovery_target_xid={}", abort.xid),
        ),
        (
            "lsn_in",
            Target::Lsn(middle.start),
            true,
            format!("recovery_target_lsn='{}'", middle.start),
        ),
        (
            "lsn_ex",
            Target::Lsn(middle.start),
            false,
            format!("recovery_target_lsn='{}'", middle.start),
        ),
        (
            "lsn_end",
            Target::Lsn(middle.end),
            true,
            format!("recovery_target_lsn='{}'", middle.end),
        ),
        (
            "name",
            Target::Name("thirty".into()),
            true,
            "recovery_target_name=thirty".into(),
        ),
        (
            "immediate",
            Target::Immediate,
            true,
            "recovery_target=immediate".into(),
        ),
        (
            "latest",
            Target::Lsn(last),
            true,
            format!("recovery_target_lsn='{last}'"),
        ),
    ];
    std::thread::scope(|scope| {
        for half in cases.chunks(cases.len().div_ceil(2)) {
            let drill = &drill;
            scope.spawn(move || {
                for (name, target, inclusive, settings) in half {
                    drill.check(name, target.clone(), *inclusive, settings);
                }
            });
        }
    });
    assert_eq!(
        drill.predict(Target::Lsn(last), true).unwrap().switchpoint,
        latest.switchpoint
    );

    // What the server refuses is refused here, with the reason.
    let beyond = commits.iter().map(|x| x.unix_us).max().unwrap() + 1;
    assert!(matches!(
        drill.predict(Target::Time(beyond), true),
        Err(Refusal::NotReached {
            last_commit: Some(_),
            ..
        })
    ));
    assert!(
        drill
            .recover("beyond", &format!("recovery_target_time={}", time(beyond)))
            .is_none()
    );
    assert!(matches!(
        drill.predict(Target::Lsn(drill.redo), true),
        Err(Refusal::BeforeConsistent { .. })
    ));
    assert!(
        drill
            .recover("before", &format!("recovery_target_lsn='{}'", drill.redo))
            .is_none()
    );
    assert!(matches!(
        drill.predict(Target::Xid(4_000_000), true),
        Err(Refusal::NotReached { .. })
    ));
    let wal = Wal::open(&drill.archive, &Options::default()).unwrap();
    let mut subxact = None;
    scan(&wal, drill.redo, |event| {
        if let Event::Xact(detail) = event
            && let Some(sub) = detail.subxacts.first()
        {
            subxact = Some((*sub, detail.xact.xid));
        }
    })
    .unwrap();
    let (sub, parent) = subxact.unwrap();
    assert!(
        matches!(drill.predict(Target::Xid(sub), true), Err(Refusal::Subtransaction { top, .. }) if top == parent)
    );
    assert!(
        matches!(drill.predict(Target::Name("twice".into()), true), Err(Refusal::AmbiguousName { at, .. }) if at.len() == 2)
    );
    assert!(
        matches!(drill.predict(Target::Name("none".into()), true), Err(Refusal::NotReached { restore_points, .. }) if restore_points.len() == 3)
    );

    // A hole before the target is damage; behind the target it does not matter.
    let number = wal.segment_size().number(drill.redo) + 1;
    fs::remove_file(drill.archive.join(wal.segment_size().name(1, number))).unwrap();
    assert!(
        matches!(drill.predict(Target::Latest, true), Err(Refusal::Damage(end)) if end.reason.code() == "missing_segment")
    );
    assert!(drill.predict(Target::Immediate, true).is_ok());
}
