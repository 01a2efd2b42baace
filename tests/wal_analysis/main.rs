//! What the analysis says against what was done: every kind of destruction and maintenance on a
//! real server, one statement at a time, at `wal_level = replica` and `logical`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cases;
mod majors;
#[path = "../pg/mod.rs"]
mod pg;
mod restores;

use std::path::{Path, PathBuf};

use cases::{CASES, Case, SETUP};
use pg::Cluster;
use rpitr::wal::{AnalysisOptions, Incident, IncidentKind, Lsn, Options, Wal, incidents};

/// A case and the WAL it wrote.
struct Ran {
    case: &'static Case,
    from: Lsn,
    to: Lsn,
}

/// Where each case of a script began, from the positions it printed.
fn windows(positions: &[Lsn]) -> Vec<Ran> {
    assert_eq!(positions.len(), CASES.len() + 1);
    CASES
        .iter()
        .zip(positions.windows(2))
        .map(|(case, window)| Ran {
            case,
            from: window[0],
            to: window[1],
        })
        .collect()
}

struct World {
    root: tempfile::TempDir,
    archive: PathBuf,
    base: PathBuf,
    ran: Vec<Ran>,
}

/// All cases, with the position printed in front of each and at the end.
fn script() -> String {
    const POSITION: &str = "select '@' || pg_current_wal_insert_lsn();\n";
    let mut script = String::new();
    for case in CASES {
        script.push_str(POSITION);
        for statement in case.sql {
            script.push_str(statement);
            script.push_str(";\n");
        }
    }
    script + POSITION
}

fn positions(output: &str) -> Vec<Lsn> {
    let marked = output.lines().filter_map(|line| line.strip_prefix('@'));
    marked.map(|lsn| lsn.parse().unwrap()).collect()
}

/// Runs every case on a fresh server and archives its WAL.
fn world(level: &str, extra: &str) -> World {
    let root = pg::scratch();
    let archive = pg::make_dir(&root.path().join("archive"));
    let space = pg::make_dir(&root.path().join("space"));
    let settings = format!(
        "archive_mode=on\nwal_level={level}\nmax_wal_senders=3\nmax_prepared_transactions=5\nautovacuum=off\n\
         archive_command='test ! -f {0}/%f && cp %p {0}/%f'\n{extra}",
        archive.display()
    );
    let cluster = Cluster::init(root.path(), "primary", 1, &settings);
    cluster.start();
    cluster.script(&SETUP.replace("SPACE", space.to_str().unwrap()));
    let base = root.path().join("base");
    cluster.base_backup_mapped(&base, &space, &root.path().join("space2"));
    let output = cluster.script(&script());
    let ran = windows(&positions(&output));
    cluster.switch_and_archive(&archive);
    cluster.stop("fast");
    World {
        root,
        archive,
        base,
        ran,
    }
}

fn analysed(archive: &Path, options: &AnalysisOptions<'_>) -> Vec<Incident> {
    let wal = Wal::open(archive, &Options::default()).unwrap();
    let (found, analysis) = incidents(&wal, options).unwrap();
    assert!(
        !analysis.summary.end.is_damage(),
        "{}",
        analysis.summary.end
    );
    found
}

/// Every case is recognised as what it is; destruction has a target, maintenance has none.
fn check(ran: &[Ran], found: &[Incident]) {
    let mut problems = Vec::new();
    for Ran { case, from, to } in ran {
        let here: Vec<_> = found
            .iter()
            .filter(|i| i.xact.start >= *from && i.xact.start < *to)
            .map(|i| (i.kind, i.names(), i.rows))
            .collect();
        let lost: Vec<_> = here.iter().filter(|(k, ..)| !k.is_harmless()).collect();
        let wanted: Vec<_> = case.lost.to_vec();
        let same = lost.len() == wanted.len()
            && wanted.iter().all(|(kind, names)| {
                lost.iter().any(|(k, n, _)| {
                    let mut n: Vec<&str> = n.iter().map(String::as_str).collect();
                    n.sort_unstable();
                    k == kind && n == *names
                })
            });
        let harmless = case
            .harmless
            .is_none_or(|kind| here.iter().any(|(k, ..)| *k == kind));
        if !same || !harmless {
            problems.push(format!(
                "{:?}: expected {wanted:?} {:?}, found {here:?}",
                case.sql, case.harmless
            ));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

fn all() -> AnalysisOptions<'static> {
    AnalysisOptions {
        harmless: true,
        ..AnalysisOptions::default()
    }
}

#[test]
fn every_kind_is_told_apart() {
    let world = world("replica", "wal_compression=pglz");
    let found = analysed(&world.archive, &all());
    check(&world.ran, &found);

    // More threads, same answer.
    let options = AnalysisOptions {
        threads: 3,
        ..all()
    };
    assert_eq!(analysed(&world.archive, &options), found);

    // Names from the base backup when the WAL begins behind everything that was set up.
    let late = world.ran[0].from;
    let options = AnalysisOptions {
        from: Some(late),
        base: Some(&world.base),
        ..all()
    };
    check(&world.ran, &analysed(&world.archive, &options));

    // Every lost thing has a target behind the backup that serves it and not behind its commit.
    for incident in found.iter().filter(|i| !i.kind.is_harmless()) {
        let Some(backup) = incident.backup else {
            continue;
        };
        assert!(backup.stop <= incident.target.lsn && incident.target.lsn <= incident.xact.start);
    }
    assert!(found.iter().any(|i| i.backup.is_some()));
    restores::targets(&world, &found);
}

#[test]
fn truncates_are_found_where_logical_wal_tells_the_truth() {
    let world = world("logical", "wal_compression=lz4");
    let found = analysed(&world.archive, &all());
    check(&world.ran, &found);
    truth(&found);
}

/// The TRUNCATE records of `wal_level = logical` against what was concluded without them.
fn truth(found: &[Incident]) {
    let said: Vec<_> = found.iter().filter(|i| i.cascade.is_some()).collect();
    assert!(said.len() >= 9, "{} records", said.len());
    assert!(said.iter().all(|i| i.kind == IncidentKind::Truncate));
    // TRUNCATE of an unlogged table leaves no record at any level.
    let logged = |i: &&Incident| i.relations.iter().any(|lost| !lost.relation.unlogged);
    let truncates = found.iter().filter(|i| i.kind == IncidentKind::Truncate);
    let concluded = truncates.filter(logged);
    assert_eq!(said.len(), concluded.count(), "a TRUNCATE nobody ran");
    let cascade = said.iter().filter(|i| i.cascade == Some(true)).count();
    assert_eq!(cascade, 1, "one TRUNCATE said CASCADE");
}
