//! `rpitr wal`: what it prints about a real archive, as text and as JSON, and its exit codes when the
//! archive is whole and when it is not.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Bench, Finished, entries};
use serde_json::Value;

/// Two accidents and harmless work around them.
const HISTORY: &str = r#"
local pg = lab.postgres { wal_segment_size = "1MB" }
local db <close> = pg:connect()
db:exec "CREATE TABLE shop (n int PRIMARY KEY, v text)"
db:exec "INSERT INTO shop SELECT n, 'x' FROM generate_series(1, 2000) n"
pitr.backup(pg, { label = "base" })
db:exec "INSERT INTO shop VALUES (5000, 'kept')"
pg:flush_archive()
db:exec "DELETE FROM shop WHERE n <= 1500"
db:exec "SELECT pg_create_restore_point('here')"
pg:flush_archive()
db:exec "TRUNCATE shop"
db:exec "INSERT INTO shop VALUES (1, 'after')"
pg:flush_archive()
print(pg.archive)
"#;

struct World {
    bench: Bench,
    archive: PathBuf,
}

impl World {
    fn new() -> World {
        let bench = Bench::new();
        let run = bench.run(&["--keep", "-e", HISTORY]);
        run.expect(0);
        let archive = run.stdout.lines().next().unwrap().into();
        World { bench, archive }
    }

    fn wal(&self, arguments: &[&str]) -> Finished {
        self.bench.run(&[&["wal"], arguments].concat())
    }

    /// Of the command's JSON, which must be one valid document even when it ends with an error.
    fn json(&self, arguments: &[&str], code: i32) -> Value {
        let run = self.wal(&[arguments, &["--json"]].concat());
        run.expect(code);
        let document: Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!(document["schema"], 1);
        document
    }

    /// A copy of the archive to damage.
    fn copy(&self, name: &str) -> PathBuf {
        let folder = self.bench.dir().join(name);
        fs::create_dir(&folder).unwrap();
        for path in entries(&self.archive) {
            fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
        }
        folder
    }

    fn end(self) {
        self.bench.run(&["lab", "gc", "--all"]).expect(0);
        self.bench.assert_clean(&[]);
    }
}

fn list<'a>(document: &'a Value, name: &str) -> &'a Vec<Value> {
    document[name].as_array().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The segment that holds a position, at 1 MB a segment.
fn segment_of(lsn: &Value) -> (String, u64) {
    let lsn: rpitr::wal::Lsn = lsn.as_str().unwrap().parse().unwrap();
    let size = rpitr::wal::SegmentSize::new(1 << 20).unwrap();
    (size.name(1, size.number(lsn)), size.offset(lsn))
}

#[test]
fn an_archive_is_told() {
    let world = World::new();
    whole(&world);
    commits(&world);
    incidents(&world);
    damage(&world);
    packed(&world);
    misuse(&world);
    world.end();
}

fn whole(world: &World) {
    let run = world.wal(&["ls", "lab:primary"]);
    run.expect(0);
    run.says("segment  0/900000");
    let files = world.json(&["ls", text(&world.archive)], 0);
    assert_eq!(files["segment_size"], 1 << 20);
    assert!(list(&files, "missing").is_empty());
    let backups = list(&files, "files")
        .iter()
        .filter(|file| file["kind"] == "backup");
    assert_eq!(backups.count(), 1);

    let stats = world.json(&["stats", "lab:primary"], 0);
    let sum: u64 = list(&stats, "managers")
        .iter()
        .map(|m| m["records"].as_u64().unwrap())
        .sum();
    assert_eq!(stats["total"]["records"], sum);
    world.wal(&["stats", "lab:primary"]).says("Heap");

    let run = world.wal(&["verify", "lab:primary"]);
    run.expect(0);
    run.says("no gap, every record has its checksum");

    let story = world.json(&["timeline", "lab:primary"], 0);
    let events = list(&story, "events");
    let has = |what: &str, detail: &str| {
        events.iter().any(|event| {
            event["what"] == what && event["detail"].as_str().unwrap().starts_with(detail)
        })
    };
    assert!(
        has("restore point", "here") && has("base backup", "base:"),
        "{events:?}"
    );
    assert_eq!(story["end"]["damage"], false);
}

fn commits(world: &World) {
    let all = world.json(&["commits", "lab:primary", "--table", "shop"], 0);
    let all = list(&all, "commits");
    let rows = |n: usize, what: &str| all[n]["tables"][0][what].as_u64().unwrap_or(0);
    // CREATE TABLE changed no rows of it. INSERT, INSERT, DELETE, TRUNCATE, INSERT.
    assert_eq!(all.len(), 5, "{all:?}");
    assert_eq!(
        (rows(0, "inserted"), rows(1, "inserted"), rows(2, "deleted")),
        (2000, 1, 1500)
    );
    assert_eq!(all[3]["destroyed"][0]["kind"], "truncate");
    let lsn = |n: usize| all[n]["lsn"].as_str().unwrap();
    let between = ["commits", "lab:primary", "--from", lsn(1), "--to", lsn(3)];
    let between = world.json(&between, 0);
    let xids: Vec<_> = list(&between, "commits")
        .iter()
        .map(|commit| &commit["xid"])
        .collect();
    assert_eq!(xids, [&all[1]["xid"], &all[2]["xid"]]);
    let time = all[2]["time"].as_str().unwrap();
    let timed = world.json(
        &["commits", "lab:primary", "--from", time, "--limit", "1"],
        0,
    );
    assert_eq!(list(&timed, "commits")[0]["xid"], all[2]["xid"]);
    let run = world.wal(&["commits", "lab:primary", "--kind", "truncate"]);
    run.expect(0);
    run.says("TRUNCATE public.shop");
}

fn incidents(world: &World) {
    let found = world.json(&["find", "lab:primary"], 0);
    let found = list(&found, "incidents");
    let kinds: Vec<_> = found
        .iter()
        .map(|incident| incident["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["delete", "truncate"]);
    let truncate = &found[1];
    assert_eq!(truncate["names"], serde_json::json!(["public.shop"]));
    assert_eq!(truncate["target"]["lsn"], truncate["lsn"]);
    assert_eq!(truncate["commits_lost"], 1);
    let run = world.wal(&[
        "find",
        "lab:primary",
        "--kind",
        "truncate",
        "--table",
        "shop",
    ]);
    run.expect(0);
    let lsn = truncate["lsn"].as_str().unwrap();
    run.says(&format!(
        "recovery_target_lsn = '{lsn}', recovery_target_inclusive = off"
    ));
    assert!(
        list(
            &world.json(&["find", "lab:primary", "--table", "nothing"], 0),
            "incidents"
        )
        .is_empty()
    );
    let few = world.json(&["find", "lab:primary", "--min-rows", "5000"], 0);
    // Three quarters of the table are a mass delete whatever the number of rows.
    assert!(list(&few, "incidents").len() <= 2);
}

fn damage(world: &World) {
    let all = world.json(&["commits", text(&world.archive), "--table", "shop"], 0);
    let delete = &list(&all, "commits")[2];
    let (name, offset) = segment_of(&delete["lsn"]);

    let gap = world.copy("gap");
    fs::remove_file(gap.join(&name)).unwrap();
    let run = world.wal(&["ls", text(&gap)]);
    run.expect(10);
    run.says("MISSING");
    run.says(&name);
    let findings = world.json(&["verify", text(&gap)], 10);
    assert_eq!(list(&findings, "findings")[0]["kind"], "missing");
    assert_eq!(list(&findings, "findings")[0]["file"], name.as_str());
    // What lies before the gap is shown, then the error, with the file and what to do.
    let before = world.json(&["commits", text(&gap), "--table", "shop"], 10);
    assert_eq!(list(&before, "commits").len(), 2);
    assert_eq!(before["end"]["code"], "missing_segment");
    let run = world.wal(&["find", text(&gap)]);
    run.expect(10);
    run.says(&name);
    run.says("restore that file from another copy");

    let bad = world.copy("bad");
    let path = bad.join(&name);
    let mut bytes = fs::read(&path).unwrap();
    bytes[offset as usize + 26] ^= 0xFF;
    fs::write(&path, bytes).unwrap();
    world.wal(&["ls", text(&bad)]).expect(0);
    let findings = world.json(&["verify", text(&bad)], 10);
    let finding = &list(&findings, "findings")[0];
    assert_eq!(
        (&finding["kind"], &finding["lsn"]),
        (&"corrupt".into(), &delete["lsn"])
    );
    world.wal(&["stats", text(&bad)]).expect(10);
    let story = world.json(&["timeline", text(&bad)], 10);
    assert_eq!(story["end"]["damage"], true);
}

/// Compressed files are WAL like any other.
fn packed(world: &World) {
    let folder = world.copy("packed");
    let mut packed = Vec::new();
    for (n, path) in entries(&folder).into_iter().enumerate() {
        if path.extension().is_none() && n % 2 == 0 {
            let done = std::process::Command::new("gzip")
                .arg(&path)
                .status()
                .unwrap();
            assert!(done.success());
            packed.push(path.file_name().unwrap().to_str().unwrap().to_string() + ".gz");
        }
    }
    let files = world.json(&["ls", text(&folder)], 0);
    let names: Vec<_> = list(&files, "files")
        .iter()
        .map(|file| file["name"].as_str().unwrap())
        .collect();
    assert!(
        packed.len() > 1 && packed.iter().all(|name| names.contains(&name.as_str())),
        "{names:?}"
    );
    world.wal(&["verify", text(&folder)]).expect(0);
    let (plain, same) = (["find", text(&world.archive)], ["find", text(&folder)]);
    assert_eq!(
        world.json(&plain, 0)["incidents"],
        world.json(&same, 0)["incidents"]
    );

    fs::write(folder.join(&packed[0]), "not gzip").unwrap();
    let findings = world.json(&["verify", text(&folder)], 10);
    assert_eq!(list(&findings, "findings")[0]["file"], packed[0].as_str());
}

fn misuse(world: &World) {
    let empty = world.bench.dir().join("empty");
    fs::create_dir(&empty).unwrap();
    world.wal(&["verify", text(&empty)]).expect(10);
    let cases: [(&[&str], &str); 6] = [
        (&["ls", "/no/such/folder"], "does not exist"),
        (&["ls", "lab:nobody"], "no lab has a node named nobody"),
        (&["ls", "lab:zzz/primary"], "no lab"),
        (&["find", "lab:primary", "--kind=trunkate"], "truncate"),
        (
            &["commits", "lab:primary", "--from=2026-01-01 00:00:00"],
            "offset",
        ),
        (
            &["stats", "lab:primary", "--from=2026-01-01 00:00:00Z"],
            "give an LSN",
        ),
    ];
    for (arguments, named) in cases {
        let run = world.wal(arguments);
        run.expect(2);
        run.says(named);
    }
}
