//! Labs on disk: names, ports, what crashes leave behind.

use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use rpitr::runtime::*;

use crate::support::*;

#[test]
fn a_lab_whose_owner_died_is_collected() {
    let bench = Bench::new();
    block_on(async {
        let (busy, dead, kept) = (bench.lab(), bench.lab(), bench.lab());
        kept.set_keep(true).unwrap();
        let node = started_node(&dead, "primary").await;
        let processes = node.processes().await.unwrap();
        node.pause().await.unwrap();
        let record = bench.orphan(&dead);
        bench.orphan(&kept);

        let young = GcOptions {
            older_than: Some(Duration::from_secs(3600)),
            ..GcOptions::default()
        };
        let report = bench.runtime.gc(young).await.unwrap();
        assert!(report.destroyed.is_empty());
        assert_eq!((report.live.len(), report.spared.len()), (1, 2));

        let report = bench.runtime.gc(GcOptions::default()).await.unwrap();
        assert!(report.failed.is_empty(), "{:?}", report.failed);
        assert_eq!(report.destroyed.len(), 1);
        assert_eq!(report.destroyed[0].id, dead.id());
        assert!(report.destroyed[0].killed >= processes.len());
        assert_eq!(
            (report.live, report.spared),
            (vec![busy.id()], vec![kept.id()])
        );
        assert!(processes.iter().all(|proc| proc.again().is_none()));
        assert!(!record.lab_dir.exists() && !record.socket_dir.exists());
        assert!(bench.runtime.registry().load(&dead.id()).is_err());

        let all = GcOptions {
            all: true,
            ..GcOptions::default()
        };
        let report = bench.runtime.gc(all).await.unwrap();
        assert_eq!(report.destroyed[0].id, kept.id());
        busy.destroy().await.unwrap();
        busy.destroy().await.unwrap(); // Again is fine.
    });
}

#[test]
fn half_created_labs_and_orphan_directories_go_others_stay() {
    let bench = Bench::new();
    block_on(async {
        // A crash right after the record, after the directories, and before the node's folder.
        for step in 0..3 {
            let lab = bench.lab();
            let record = bench.orphan(&lab);
            if step == 0 {
                std::fs::remove_dir_all(&record.lab_dir).unwrap();
                std::fs::remove_dir_all(&record.socket_dir).unwrap();
            } else if step == 1 {
                std::fs::remove_file(record.lab_dir.join(".rpitr-lab")).unwrap();
                std::fs::write(record.socket_dir.join(".rpitr-lab"), "").unwrap();
            } else {
                let node = add(&lab, "primary");
                std::fs::remove_dir(node.paths().dir).unwrap();
                bench.orphan(&lab);
            }
            let report = bench.runtime.gc(GcOptions::default()).await.unwrap();
            assert!(report.failed.is_empty(), "step {step}: {:?}", report.failed);
            assert_eq!(report.destroyed.len(), 1, "step {step}");
            assert!(!record.lab_dir.exists() && !record.socket_dir.exists());
        }
        // The record is gone, the directories are not.
        let lab = bench.lab();
        let record = lab.record();
        bench.runtime.registry().remove(&lab.id()).unwrap();
        let stranger = bench.runtime.state.labs_dir().join("not-ours");
        std::fs::create_dir(&stranger).unwrap();
        let report = bench.runtime.gc(GcOptions::default()).await.unwrap();
        assert_eq!(
            report.orphans,
            [record.lab_dir.clone(), record.socket_dir.clone()]
        );
        assert!(stranger.exists());

        // A directory with somebody's files in place of the lab's is not deleted.
        let lab = bench.lab();
        let record = bench.orphan(&lab);
        let marker = record.lab_dir.join(".rpitr-lab");
        let text = std::fs::read(&marker).unwrap();
        std::fs::write(record.lab_dir.join("precious"), "x").unwrap();
        std::fs::remove_file(&marker).unwrap();
        let report = bench.runtime.gc(GcOptions::default()).await.unwrap();
        assert!(matches!(report.failed[0].1, Error::NotOurs { .. }));
        assert!(record.lab_dir.join("precious").exists());
        std::fs::write(&marker, text).unwrap();
    });
}

#[test]
fn names_and_ports_are_checked_and_kept() {
    let bench = Bench::new();
    let (one, two) = (bench.lab(), bench.lab());
    let nodes = [add(&one, "a"), add(&one, "b"), add(&two, "a")];
    let mut ports: Vec<u16> = nodes.iter().map(|node| node.record().port).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 3);
    for name in ["", "A", "a b", "../x", "1a", "a/b"] {
        let spec = NodeSpec {
            name: name.into(),
            role: "primary".into(),
            install: install(),
            port: None,
        };
        assert!(
            matches!(one.add_node(spec), Err(Error::BadNodeName { .. })),
            "{name:?}"
        );
    }
    let socket = nodes[0]
        .paths()
        .socket_dir
        .join(format!(".s.PGSQL.{}", ports[0]));
    assert!(socket.as_os_str().len() <= SOCKET_PATH_LIMIT);
    let again = Lab::open(&bench.runtime, &one.id()).unwrap();
    assert_eq!(again.record(), one.record());
    block_on(again.remove_node("b")).unwrap();
    assert!(again.node("b").is_err());
    let mode = std::fs::metadata(one.dir()).unwrap().mode();
    assert_eq!(mode & 0o777, 0o700);
    let helper = one.helper().unwrap();
    let version = std::process::Command::new(helper).arg("--list").output();
    assert!(version.unwrap().status.success());
}

#[test]
fn a_lab_somebody_is_attached_to_stays_and_a_dead_visitor_holds_nothing() {
    let bench = Bench::new();
    block_on(async {
        let lab = bench.lab();
        let record = bench.orphan(&lab);
        let registry = bench.runtime.registry();
        let visitor = Lab::attach(&bench.runtime, &lab.id()).unwrap();
        let all = GcOptions {
            all: true,
            ..GcOptions::default()
        };
        let report = bench.runtime.gc(all).await.unwrap();
        assert_eq!(report.live, [lab.id()]);
        assert_eq!(registry.condition(&record), "attached");

        // Each sees what the other wrote.
        visitor.new_archive("a").unwrap();
        let second = lab.new_archive("a").unwrap();
        assert!(second.ends_with("2-a"), "{}", second.display());
        add(&lab, "primary");
        let spec = NodeSpec {
            name: "primary".into(),
            role: "primary".into(),
            install: install(),
            port: None,
        };
        assert!(matches!(
            visitor.add_node(spec),
            Err(Error::NodeExists { .. })
        ));

        // One that was killed left its file behind.
        std::mem::forget(visitor);
        let folder = bench.runtime.state.registry_dir();
        let visit = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.extension().is_some_and(|end| end == "visit"))
            .unwrap();
        let text = std::fs::read_to_string(&visit).unwrap();
        let dead = text.replace("\"start\":\"", "\"start\":\"0");
        assert_ne!(text, dead);
        std::fs::write(&visit, dead).unwrap();
        assert_eq!(registry.condition(&record), "left behind");
        let report = bench.runtime.gc(GcOptions::default()).await.unwrap();
        assert_eq!(report.destroyed[0].id, lab.id());
        assert!(!visit.exists());
        let gone = lab.new_archive("a");
        assert!(matches!(gone, Err(Error::LabGone { .. })), "{gone:?}");
    });
}

#[test]
fn only_a_lab_without_an_owner_is_adopted() {
    let bench = Bench::new();
    block_on(async {
        let lab = bench.lab();
        let mut record = lab.record();
        // Another process that runs: the one that started this test.
        let parent = Proc::get(nix::unistd::getppid().as_raw()).unwrap();
        record.owner = parent.id();
        bench.runtime.registry().write(&record).unwrap();
        let visitor = Lab::attach(&bench.runtime, &lab.id()).unwrap();
        assert!(matches!(visitor.adopt(), Err(Error::LabInUse { .. })));
        bench.orphan(&lab);
        visitor.adopt().unwrap();
        assert_eq!(visitor.record().owner, ProcessId::own());
        // While it is being removed, nobody comes in.
        let mut record = visitor.record();
        record.removing = Some(parent.id());
        bench.runtime.registry().write(&record).unwrap();
        let late = Lab::attach(&bench.runtime, &lab.id());
        assert!(matches!(late, Err(Error::LabGone { .. })), "{late:?}");
    });
}
