//! Real servers that archive and recover through the commands.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{copy_binary, name};
use crate::pg::{self, Cluster};
use rpitr::archive::{FetchOptions, FindingKind, fetch, verify};
use rpitr::wal::{Event, Lsn, Options, Wal, Xact, scan};

struct Life {
    root: tempfile::TempDir,
    binary: PathBuf,
    archive: PathBuf,
    base: PathBuf,
    rows: String,
    xacts: Vec<Xact>,
    last: Xact,
    first: u64,
    numbers: Vec<u64>,
}

/// A cluster that archived a dozen segments with a base backup at their begin.
fn life() -> Life {
    let root = pg::scratch();
    let binary = copy_binary(root.path());
    let archive = pg::make_dir(&root.path().join("archive"));
    let settings = format!(
        "archive_mode=on\nwal_level=replica\narchive_command='{} archive-push --archive {} %p %f'",
        binary.display(),
        archive.display()
    );
    let cluster = Cluster::init(root.path(), "primary", 1, &settings);
    cluster.start();
    cluster.psql("create table t(i int, v text)");
    let base = root.path().join("base");
    cluster.base_backup(&base);
    for batch in 0..8 {
        cluster.psql(&format!(
            "insert into t select i, repeat('v', 300) from generate_series({batch}001, {batch}800) i"
        ));
        if batch == 6 {
            // Records that cross from one segment into the next.
            let message = "select pg_logical_emit_message(true, 'rpitr', repeat('long', 180000))";
            cluster.script(&format!("{message};\n{message};\n{message};\n"));
        }
        cluster.psql("select pg_switch_wal()");
    }
    cluster.psql("insert into t values (1, 'last'); select pg_switch_wal()");
    let rows = cluster.psql(DIGEST);
    cluster.switch_and_archive(&archive);
    cluster.stop("fast");
    assert!(
        !cluster.log_text().contains("rpitr archive-push: "),
        "{}",
        cluster.log_text()
    );
    let (redo, consistent) = pg::backup_positions(&archive);
    let wal = Wal::open(&archive, &Options::default()).unwrap();
    let mut xacts = Vec::new();
    let summary = scan(&wal, redo, |event| {
        if let Event::Xact(detail) = event {
            xacts.push(detail.xact);
        }
    })
    .unwrap();
    assert!(!summary.end.is_damage(), "{}", summary.end);
    let numbers: Vec<_> = wal.files().map(|(n, _)| n).collect();
    let first = wal.segment_size().number(Lsn(consistent.0.max(redo.0))) + 1;
    Life {
        last: *xacts.last().unwrap(),
        xacts,
        root,
        binary,
        archive,
        base,
        rows,
        first,
        numbers,
    }
}

const DIGEST: &str =
    "select count(*) || ' ' || coalesce(md5(string_agg(i || v, ',' order by i)), '') from t";

impl Life {
    fn copy_archive(&self, to: &str) -> PathBuf {
        let copy = self.root.path().join(to);
        pg::run(Command::new("cp").arg("-a").arg(&self.archive).arg(&copy));
        copy
    }

    fn recover(
        &self,
        name: &str,
        archive: &Path,
        timeline: u32,
        settings: &str,
    ) -> (Cluster, bool) {
        let data = self.root.path().join(name);
        pg::run(Command::new("cp").arg("-a").arg(&self.base).arg(&data));
        let cluster = Cluster::existing(self.root.path(), data);
        let log = self.root.path().join(format!("{name}.fetch"));
        cluster.configure(&format!(
            "archive_mode=off\nrecovery_target_action=promote\nrecovery_target_timeline={timeline}\n\
             restore_command='{} archive-fetch --archive {} --log {} %f %p'\n{settings}",
            self.binary.display(), archive.display(), log.display()
        ));
        fs::write(cluster.data.join("recovery.signal"), "").unwrap();
        let promoted = cluster.recover();
        (cluster, promoted)
    }

    fn target(&self) -> String {
        format!(
            "recovery_target_lsn='{}'\nrecovery_target_inclusive=on",
            self.last.start
        )
    }

    fn time_target(&self) -> String {
        let time = chrono::DateTime::from_timestamp_micros(self.last.unix_us - 1).unwrap();
        format!(
            "recovery_target_time='{}'",
            time.format("%Y-%m-%d %H:%M:%S%.6f+00")
        )
    }
}

type Damage = (&'static str, &'static str, FindingKind, fn(&Path));

fn rewrite(path: &Path, change: impl Fn(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

const DAMAGES: [Damage; 7] = [
    ("missing", "missing_segment", FindingKind::Missing, |p| {
        fs::remove_file(p).unwrap()
    }),
    ("truncated", "wrong_size", FindingKind::Truncated, |p| {
        rewrite(p, |b| b.truncate(300_000))
    }),
    ("empty", "empty", FindingKind::Empty, |p| {
        rewrite(p, Vec::clear)
    }),
    ("flipped", "crc", FindingKind::Corrupt, |p| {
        rewrite(p, |b| b[100_001] ^= 4)
    }),
    ("zeroed", "zero_page", FindingKind::ZeroFilled, |p| {
        rewrite(p, |b| b.fill(0))
    }),
    ("torn", "zero_page", FindingKind::ZeroFilled, |p| {
        rewrite(p, |b| b[65_536..].fill(0))
    }),
    ("foreign", "foreign_system", FindingKind::Foreign, |p| {
        rewrite(p, |b| b[24] ^= 1)
    }),
];

fn fetch_log(life: &Life, name: &str) -> String {
    fs::read_to_string(life.root.path().join(format!("{name}.fetch"))).unwrap_or_default()
}

#[test]
fn only_a_healthy_archive_promotes() {
    let life = life();
    assert_eq!(verify(&life.archive, None, None).unwrap(), []);
    let middle = life
        .numbers
        .iter()
        .copied()
        .find(|n| *n == life.first + 3)
        .unwrap();
    std::thread::scope(|scope| {
        let life = &life;
        scope.spawn(move || {
            for (target, settings) in [("none", String::new()), ("lsn", life.target())] {
                let (cluster, promoted) =
                    life.recover(&format!("healthy_{target}"), &life.archive, 1, &settings);
                assert!(promoted, "{}", cluster.log_text());
                assert_eq!(cluster.psql(DIGEST), life.rows, "target {target}");
                cluster.stop("immediate");
            }
            crossing(life);
            behind_the_target(life, middle);
            timelines(life);
        });
        scope.spawn(move || {
            for (index, (what, code, kind, damage)) in DAMAGES.into_iter().enumerate() {
                let archive = life.copy_archive(&format!("archive_{what}"));
                damage(&archive.join(name(1, middle)));
                let findings = verify(&archive, None, None).unwrap();
                assert!(
                    findings
                        .iter()
                        .any(|f| f.kind == kind && f.file == name(1, middle) && f.lsn.is_some()),
                    "{what}: {findings:?}"
                );
                let target = if index % 2 == 0 {
                    life.target()
                } else {
                    life.time_target()
                };
                for (with, settings) in [("none", String::new()), ("target", target)] {
                    let run = format!("{what}_{with}");
                    let (cluster, promoted) = life.recover(&run, &archive, 1, &settings);
                    assert!(
                        !promoted,
                        "{run}: a truncated database was promoted\n{}",
                        cluster.log_text()
                    );
                    let log = fetch_log(life, &run);
                    let refusal = log
                        .lines()
                        .find(|l| l.contains("refused"))
                        .unwrap_or_else(|| panic!("{run}: {log}"));
                    assert!(
                        refusal.contains(&name(1, middle)) && refusal.contains(code),
                        "{run}: {refusal}"
                    );
                    assert!(
                        cluster.log_text().contains("rpitr archive-fetch: "),
                        "{run}"
                    );
                }
            }
        });
    });
}

/// A record that began in the segment before is checked as well, and blamed on the right file.
fn crossing(life: &Life) {
    let archive = life.copy_archive("archive_crossing");
    let remaining = |n: &u64| {
        let bytes = fs::read(archive.join(name(1, *n))).unwrap();
        u32::from_le_bytes(bytes[16..20].try_into().unwrap())
    };
    let number = *life.numbers[1..].iter().find(|n| remaining(n) > 8).unwrap();
    let dest = life.root.path().join("crossing");
    let options = FetchOptions::default();
    assert!(fetch(&archive, &name(1, number), &dest, &options).is_ok());
    rewrite(&archive.join(name(1, number)), |b| b[44] ^= 1);
    let error = fetch(&archive, &name(1, number), &dest, &options).unwrap_err();
    assert_eq!((error.fetch_exit_code(), error.code()), (255, "crc"));
    assert!(fetch(&archive, &name(1, number - 1), &dest, &options).is_ok());
    let findings = verify(&archive, None, None).unwrap();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(
        (findings[0].kind, &findings[0].file),
        (FindingKind::Corrupt, &name(1, number))
    );
}

/// A hole behind the target does not matter, provided the server does not read ahead: with
/// `recovery_prefetch` on (15 and later) it asks for segments it will not need.
fn behind_the_target(life: &Life, hole: u64) {
    let archive = life.copy_archive("archive_behind");
    fs::remove_file(archive.join(name(1, hole))).unwrap();
    let in_front = (hole << 20).saturating_sub(1 << 20)..hole << 20;
    let last = life
        .xacts
        .iter()
        .rev()
        .find(|x| in_front.contains(&x.start.0))
        .unwrap();
    let settings = format!(
        "recovery_target_lsn='{}'\nrecovery_target_inclusive=on\nrecovery_prefetch=off",
        last.start
    );
    let (cluster, promoted) = life.recover("behind", &archive, 1, &settings);
    assert!(promoted, "{}", cluster.log_text());
    cluster.stop("immediate");
}

/// A failover gives the archive a second timeline; recovery follows it, and refuses when the
/// history or a segment of it is gone.
fn timelines(life: &Life) {
    let archive = life.copy_archive("archive_two");
    let push = format!(
        "archive_mode=on\narchive_command='{} archive-push --archive {} %p %f'",
        life.binary.display(),
        archive.display()
    );
    let (cluster, promoted) = life.recover("failover", &archive, 1, &push);
    assert!(promoted, "{}", cluster.log_text());
    for batch in 0..3 {
        cluster.psql(&format!("insert into t values ({batch}, 'timeline two')"));
        cluster.switch_and_archive(&archive);
    }
    pg::eventually("history is archived", || {
        archive.join("00000002.history").exists().then_some(())
    });
    let rows = cluster.psql(DIGEST);
    cluster.stop("immediate");
    assert_eq!(verify(&archive, None, None).unwrap(), []);
    let (cluster, promoted) = life.recover("two", &archive, 2, "");
    assert!(promoted, "{}", cluster.log_text());
    assert_eq!(cluster.psql(DIGEST), rows);
    cluster.stop("immediate");

    let wal = Wal::open(&archive, &Options::default()).unwrap();
    assert_eq!(wal.chain().target(), 2);
    let end = scan(&wal, wal.first().unwrap(), |_| {}).unwrap().end;
    assert!(!end.is_damage(), "{end}");

    let begin = wal.segment_size().number(wal.chain().links()[1].begin);
    let victims = [
        "00000002.history".to_string(),
        name(2, begin),
        name(2, begin + 1),
        name(1, begin - 1),
    ];
    for (index, victim) in victims.iter().enumerate() {
        let aside = archive.join(".aside");
        fs::rename(archive.join(victim), &aside).unwrap();
        let run = format!("two_{index}");
        let (cluster, promoted) = life.recover(&run, &archive, 2, "");
        assert!(
            !promoted,
            "{victim} is missing: a truncated database was promoted\n{}",
            cluster.log_text()
        );
        let log = fetch_log(life, &run);
        assert!(
            log.lines()
                .any(|l| l.contains("refused") && l.contains(victim.as_str())),
            "{victim}: {log}"
        );
        assert!(
            verify(&archive, None, None)
                .unwrap()
                .iter()
                .any(|f| &f.file == victim),
            "{victim}"
        );
        fs::rename(&aside, archive.join(victim)).unwrap();
    }
}
