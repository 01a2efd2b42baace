//! Archives: every rule of push and fetch in both directions, then real recoveries from archives
//! that are healthy or damaged. A damaged one must never end in a promoted server.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../pg/mod.rs"]
mod pg;
mod recovery;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rpitr::archive::{Error, FetchOptions, FindingKind, fetch, inspect, push, verify};
use tempfile::TempDir;

const MB: usize = 1 << 20;

/// A segment with a first page and nothing on it.
fn segment(timeline: u32, number: u64, system: u64) -> Vec<u8> {
    let mut bytes = vec![0u8; MB];
    bytes[0..2].copy_from_slice(&0xD110u16.to_le_bytes());
    bytes[2..4].copy_from_slice(&6u16.to_le_bytes());
    bytes[4..8].copy_from_slice(&timeline.to_le_bytes());
    bytes[8..16].copy_from_slice(&(number * MB as u64).to_le_bytes());
    bytes[24..32].copy_from_slice(&system.to_le_bytes());
    bytes[32..36].copy_from_slice(&(MB as u32).to_le_bytes());
    bytes[36..40].copy_from_slice(&8192u32.to_le_bytes());
    bytes
}

fn name(timeline: u32, number: u64) -> String {
    format!("{timeline:08X}00000000{number:08X}")
}

struct Dirs {
    _root: TempDir,
    source: PathBuf,
    archive: PathBuf,
    dest: PathBuf,
}

fn dirs() -> Dirs {
    let root = tempfile::tempdir().unwrap();
    let (source, archive) = (root.path().join("source"), root.path().join("archive"));
    fs::create_dir(&archive).unwrap();
    Dirs {
        dest: root.path().join("dest"),
        source,
        archive,
        _root: root,
    }
}

impl Dirs {
    fn push(&self, name: &str, bytes: &[u8]) -> Result<bool, String> {
        fs::write(&self.source, bytes).unwrap();
        push(&self.source, &self.archive, name)
            .map(|p| p.already)
            .map_err(|e| e.code().to_string())
    }

    fn fetch(&self, name: &str) -> Result<u64, (i32, String)> {
        let _ = fs::remove_file(&self.dest);
        let result = fetch(&self.archive, name, &self.dest, &FetchOptions::default());
        assert_eq!(
            result.is_ok(),
            self.dest.exists(),
            "a file is placed exactly when it is good"
        );
        let left = fs::read_dir(self.dest.parent().unwrap()).unwrap().flatten();
        assert!(
            !left
                .into_iter()
                .any(|e| e.file_name().to_string_lossy().contains("tmp"))
        );
        result.map_err(|e| (e.fetch_exit_code(), e.code().to_string()))
    }

    fn visible(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(&self.archive)
            .unwrap()
            .flatten()
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .filter(|n| !n.starts_with('.'))
            .collect();
        names.sort();
        names
    }

    fn hidden(&self) -> usize {
        fs::read_dir(&self.archive)
            .unwrap()
            .flatten()
            .filter(|e| e.file_name().to_string_lossy().starts_with(".rpitr-tmp"))
            .count()
    }
}

fn refused(code: i32, word: &str) -> Result<u64, (i32, String)> {
    Err((code, word.to_string()))
}

#[test]
fn push_takes_what_postgresql_archives_and_nothing_else() {
    let d = dirs();
    let good = segment(1, 5, 42);
    assert_eq!(d.push(&name(1, 5), &good), Ok(false));
    assert_eq!(
        d.push(&name(1, 5), &good),
        Ok(true),
        "the same content again"
    );
    assert_eq!(
        d.push(&name(2, 5), &good),
        Ok(false),
        "a child begins with its parent's pages"
    );
    assert_eq!(d.push(&format!("{}.partial", name(1, 5)), &good), Ok(false));
    assert_eq!(
        d.push("00000002.history", b"1\t0/512345\tbecause\n"),
        Ok(false)
    );
    assert_eq!(
        d.push(
            &format!("{}.00000028.backup", name(1, 5)),
            b"START WAL LOCATION: 0/500028"
        ),
        Ok(false)
    );
    let before = d.visible();

    let mut other = good.clone();
    other[500_000] = 1;
    assert_eq!(d.push(&name(1, 5), &other), Err("conflict".into()));
    assert_eq!(fs::read(d.archive.join(name(1, 5))).unwrap(), good);
    assert_eq!(
        d.push(&name(1, 6), &segment(1, 6, 43)),
        Err("foreign_system".into())
    );
    assert_eq!(d.push(&name(1, 6), &good), Err("misnamed".into()));
    assert_eq!(
        d.push(&name(1, 6), &segment(2, 6, 42)),
        Err("timeline".into())
    );
    assert_eq!(
        d.push(&name(1, 6), &segment(1, 6, 42)[..MB - 1]),
        Err("wrong_size".into())
    );
    assert_eq!(d.push(&name(1, 6), b""), Err("empty".into()));
    assert_eq!(d.push(&name(1, 6), &vec![0; MB]), Err("header".into()));
    let mut version = segment(1, 6, 42);
    version[0..2].copy_from_slice(&0xD113u16.to_le_bytes());
    assert_eq!(d.push(&name(1, 6), &version), Err("version".into()));
    assert_eq!(
        d.push("00000003.history", b"nonsense\n"),
        Err("bad_text".into())
    );
    for bad in [
        "",
        "x",
        "../escape",
        ".hidden",
        "000000010000000000000006.gz",
    ] {
        assert_eq!(
            d.push(bad, &segment(1, 6, 42)),
            Err("name".into()),
            "{bad:?}"
        );
    }
    assert_eq!(d.visible(), before);
    assert_eq!(d.hidden(), 0);
    fs::remove_dir_all(&d.archive).unwrap();
    assert_eq!(
        d.push(&name(1, 6), &segment(1, 6, 42)),
        Err("not_found".into())
    );
    assert!(
        !d.archive.exists(),
        "a missing mount does not become a directory"
    );
}

#[test]
fn racing_pushes_cannot_overwrite_each_other() {
    for round in 0..20 {
        let d = dirs();
        let (mut a, mut b) = (segment(1, 5, 42), segment(1, 5, 42));
        a[600_000] = 1;
        b[600_000] = if round % 2 == 0 { 2 } else { 1 };
        let sources = [(d.archive.join("../a"), a), (d.archive.join("../b"), b)];
        let barrier = std::sync::Barrier::new(2);
        let results: Vec<_> = std::thread::scope(|scope| {
            let handles: Vec<_> = sources
                .iter()
                .map(|(path, bytes)| {
                    fs::write(path, bytes).unwrap();
                    let (d, barrier) = (&d, &barrier);
                    scope.spawn(move || {
                        barrier.wait();
                        push(path, &d.archive, &name(1, 5)).map_err(|e| e.code())
                    })
                })
                .collect();
            handles.into_iter().map(|h| h.join().unwrap()).collect()
        });
        let won = results.iter().filter(|r| r.is_ok()).count();
        if round % 2 == 0 {
            assert_eq!(won, 1, "{results:?}");
            let winner = results.iter().position(|r| r.is_ok()).unwrap();
            assert_eq!(
                fs::read(d.archive.join(name(1, 5))).unwrap(),
                sources[winner].1
            );
            assert_eq!(results[1 - winner], Err("conflict"));
        } else {
            assert_eq!(won, 2, "{results:?}");
        }
        assert_eq!(d.hidden(), 0);
    }
}

fn rpitr() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rpitr"));
    command.stdin(Stdio::null());
    command
}

#[test]
fn a_killed_push_leaves_no_visible_partial_file() {
    let d = dirs();
    let mut large = segment(1, 0, 42);
    large.resize(64 * MB, 7);
    large[8..16].copy_from_slice(&(3 * 64 * MB as u64).to_le_bytes());
    large[32..36].copy_from_slice(&(64 * MB as u32).to_le_bytes());
    fs::write(&d.source, &large).unwrap();
    let mut killed_early = false;
    for _ in 0..10 {
        let mut child = rpitr()
            .arg("archive-push")
            .arg("--archive")
            .arg(&d.archive)
            .arg(&d.source)
            .arg(name(1, 3))
            .spawn()
            .unwrap();
        pg::eventually("the push has begun", || {
            (d.hidden() > 0 || child.try_wait().unwrap().is_some()).then_some(())
        });
        child.kill().unwrap();
        child.wait().unwrap();
        match fs::metadata(d.archive.join(name(1, 3))) {
            Ok(whole) => assert_eq!(whole.len(), large.len() as u64),
            Err(_) => killed_early = true,
        }
        let _ = fs::remove_file(d.archive.join(name(1, 3)));
    }
    assert!(killed_early, "no push was killed in time");
    assert!(
        inspect(&d.archive).unwrap().timelines.is_empty(),
        "leftovers are ignored"
    );
    assert!(push(&d.source, &d.archive, &name(1, 3)).is_ok());
    assert_eq!(fs::read(d.archive.join(name(1, 3))).unwrap(), large);
}

#[test]
fn a_full_disk_is_an_error_without_leftovers() {
    let d = dirs();
    fs::write(&d.source, segment(1, 5, 42)).unwrap();
    // A limit on file sizes fails a write in the middle as a full disk does.
    let script = format!(
        "trap '' XFSZ; ulimit -f 256; exec {} archive-push --archive {} {} {}",
        env!("CARGO_BIN_EXE_rpitr"),
        d.archive.display(),
        d.source.display(),
        name(1, 5)
    );
    let output = Command::new("bash").arg("-c").arg(script).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(
        message.starts_with("rpitr archive-push: cannot write "),
        "{message}"
    );
    assert!(d.visible().is_empty());
    assert_eq!(d.hidden(), 0);
    let full = Error::Io {
        doing: "write",
        path: d.archive.clone(),
        error: std::io::Error::from_raw_os_error(28),
    };
    assert_eq!(full.code(), "disk_full");
}

#[test]
fn fetch_says_absent_only_when_it_is_proved() {
    let d = dirs();
    for number in [3, 4, 6] {
        d.push(&name(1, number), &segment(1, number, 42)).unwrap();
    }
    // The end of the WAL, a probe for a newer timeline: legal.
    assert_eq!(d.fetch(&name(1, 7)), refused(1, "absent"));
    assert_eq!(d.fetch("00000002.history"), refused(1, "absent"));
    assert_eq!(
        d.fetch("00000001.history"),
        refused(1, "absent"),
        "asked for on every promotion"
    );
    assert_eq!(d.fetch(&name(2, 7)), refused(1, "absent"));
    // A hole.
    assert_eq!(d.fetch(&name(1, 5)), refused(255, "missing_segment"));
    // The last segment may end early; one before others may not.
    assert_eq!(d.fetch(&name(1, 6)), Ok(MB as u64));
    assert_eq!(d.fetch(&name(1, 4)), refused(255, "zero_length"));

    // Timeline 2 leaves timeline 1 in segment 8, where only the parent's file would be.
    d.push("00000002.history", b"1\t0/812345\tx\n").unwrap();
    assert_eq!(
        d.fetch(&name(2, 8)),
        refused(1, "absent"),
        "not archived yet"
    );
    assert_eq!(
        d.fetch(&name(2, 5)),
        refused(1, "absent"),
        "timeline 2 had not begun"
    );
    assert_eq!(
        d.fetch(&name(1, 7)),
        refused(255, "missing_segment"),
        "it proves more of timeline 1"
    );
    assert_eq!(
        d.fetch(&name(1, 9)),
        refused(1, "absent"),
        "behind the switch point"
    );
    assert_eq!(
        d.fetch(&name(1, 6)),
        refused(255, "zero_length"),
        "no longer the last"
    );
    d.push(&name(2, 9), &segment(2, 9, 42)).unwrap();
    assert_eq!(d.fetch(&name(2, 8)), refused(255, "missing_segment"));
    d.push(&name(3, 9), &segment(3, 9, 42)).unwrap();
    assert_eq!(d.fetch("00000003.history"), refused(255, "missing_history"));
    d.push("00000005.history", b"1\t0/812345\tx\n4\t0/912345\ty\n")
        .unwrap();
    assert_eq!(
        d.fetch("00000004.history"),
        refused(255, "missing_history"),
        "an ancestor"
    );
    assert_eq!(d.fetch("00000006.history"), refused(1, "absent"));
    assert!(d.fetch("00000002.history").is_ok());
}

#[test]
fn fetch_refuses_what_it_cannot_vouch_for() {
    let d = dirs();
    for number in [3, 4] {
        d.push(&name(1, number), &segment(1, number, 42)).unwrap();
    }
    let put = |n: u64, bytes: &[u8]| fs::write(d.archive.join(name(1, n)), bytes).unwrap();
    assert_eq!(d.fetch("nonsense"), refused(255, "name"));
    put(5, &segment(1, 5, 43));
    assert_eq!(d.fetch(&name(1, 5)), refused(255, "foreign_system"));
    put(5, &segment(1, 4, 42));
    assert_eq!(d.fetch(&name(1, 5)), refused(255, "misnamed"));
    put(5, &segment(1, 5, 42)[..5000]);
    assert_eq!(d.fetch(&name(1, 5)), refused(255, "wrong_size"));
    put(5, b"");
    assert_eq!(d.fetch(&name(1, 5)), refused(255, "empty"));
    put(5, &vec![0; MB]);
    assert_eq!(d.fetch(&name(1, 5)), refused(255, "zero_page"));
    fs::remove_file(d.archive.join(name(1, 5))).unwrap();
    fs::write(d.archive.join(format!("{}.gz", name(1, 5))), b"").unwrap();
    assert_eq!(d.fetch(&name(1, 5)), refused(255, "compressed"));
    fs::write(d.archive.join("00000002.history"), b"").unwrap();
    assert_eq!(d.fetch("00000002.history"), refused(255, "bad_text"));
    let other = FetchOptions {
        system_id: Some(7),
        ..FetchOptions::default()
    };
    let error = fetch(&d.archive, &name(1, 4), &d.dest, &other).unwrap_err();
    assert_eq!(
        (error.fetch_exit_code(), error.code()),
        (255, "foreign_system")
    );
    fs::remove_dir_all(&d.archive).unwrap();
    assert_eq!(
        d.fetch(&name(1, 9)),
        refused(255, "not_found"),
        "no archive is not the end of WAL"
    );
}

#[test]
fn commands_keep_the_exit_code_contract() {
    let root = pg::scratch();
    let archive = pg::make_dir(&root.path().join("archive"));
    let binary = copy_binary(root.path());
    fs::write(root.path().join("s"), segment(1, 3, 42)).unwrap();
    pg::own(&root.path().join("s"));
    let log = root.path().join("log");
    let call = |args: &[&str]| {
        let mut command = Command::new(&binary);
        let output = pg::as_account(command.args(args).current_dir(root.path()))
            .output()
            .unwrap();
        (
            output.status.code().unwrap(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    assert_eq!(
        call(&["archive-push", "--archive", "archive", "s", &name(1, 3)]),
        (0, String::new())
    );
    assert_eq!(
        call(&[
            "archive-fetch",
            "--archive",
            "archive",
            "--log=log",
            &name(1, 3),
            "d"
        ]),
        (0, String::new())
    );
    assert_eq!(
        call(&[
            "archive-fetch",
            "--archive",
            "archive",
            "--log",
            "log",
            &name(1, 4),
            "d"
        ]),
        (1, String::new())
    );
    let (code, message) = call(&[
        "archive-fetch",
        "--archive",
        "archive",
        "--log",
        "log",
        "--system-id",
        "9",
        &name(1, 3),
        "d",
    ]);
    assert_eq!(code, 255);
    assert!(
        message.starts_with("rpitr archive-fetch: 000000010000000000000003 belongs to cluster 42"),
        "{message}"
    );
    for usage in [
        &["archive-fetch"][..],
        &["archive-fetch", "--archive"],
        &["archive-fetch", "--archive", "archive", "x"],
        &[
            "archive-fetch",
            "--archive",
            "archive",
            "--sytem-id",
            "1",
            "a",
            "b",
        ],
        &[
            "archive-fetch",
            "--archive",
            "archive",
            "--system-id",
            "x",
            "a",
            "b",
        ],
    ] {
        assert_eq!(call(usage).0, 255, "{usage:?}");
    }
    assert_eq!(call(&["archive-push", "--archive", "archive"]).0, 1);
    let lines: Vec<serde_json::Value> = fs::read_to_string(&log)
        .unwrap()
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let results: Vec<_> = lines
        .iter()
        .map(|l| l["result"].as_str().unwrap())
        .collect();
    assert_eq!(results, ["fetched", "absent", "refused"]);
    assert_eq!(lines[2]["code"], "foreign_system");
    assert_eq!(lines[0]["bytes"], MB);
    // An archive that cannot be read is not an empty one.
    fs::set_permissions(
        &archive,
        std::os::unix::fs::PermissionsExt::from_mode(0o000),
    )
    .unwrap();
    let (code, message) = call(&["archive-fetch", "--archive", "archive", &name(1, 9), "d"]);
    fs::set_permissions(
        &archive,
        std::os::unix::fs::PermissionsExt::from_mode(0o700),
    )
    .unwrap();
    assert_eq!(code, 255, "{message}");
    assert!(message.contains("Permission denied"), "{message}");
}

/// The server's account may not reach the build directory.
fn copy_binary(root: &Path) -> PathBuf {
    let binary = root.join("rpitr");
    fs::copy(env!("CARGO_BIN_EXE_rpitr"), &binary).unwrap();
    fs::set_permissions(&binary, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    binary
}

#[test]
fn inspection_follows_timelines() {
    let d = dirs();
    for number in [3, 4, 6] {
        d.push(&name(1, number), &segment(1, number, 42)).unwrap();
    }
    d.push(&format!("{}.partial", name(1, 7)), &segment(1, 7, 42))
        .unwrap();
    d.push("00000002.history", b"1\t0/712345\tx\n").unwrap();
    d.push(&name(2, 7), &segment(1, 7, 42)).unwrap();
    let inventory = inspect(&d.archive).unwrap();
    assert_eq!(inventory.identity.unwrap().system_id, 42);
    let one = &inventory.timelines[0];
    assert_eq!(
        (one.segments, one.partials.len(), one.has_history),
        (3, 1, false)
    );
    assert_eq!(
        one.gaps,
        [(name(1, 5), name(1, 5)), (name(1, 7), name(1, 7))]
    );
    assert_eq!(inventory.timelines[1].parent.unwrap().0, 1);
    assert!(inventory.timelines[1].gaps.is_empty());
    let findings = verify(&d.archive, None, None).unwrap();
    let missing: Vec<_> = findings
        .iter()
        .filter(|f| f.kind == FindingKind::Missing)
        .map(|f| f.file.clone())
        .collect();
    assert_eq!(missing, [name(1, 5), name(1, 7)]);
}
