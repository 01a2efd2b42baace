//! The proposed targets, recovered to for real.

use std::fs;
use std::process::Command;

use rpitr::wal::{Incident, IncidentKind};

use crate::World;
use crate::pg::{self, Cluster};

impl World {
    /// A server recovered to the target of an incident, with a tablespace of its own.
    fn restored(&self, name: &str, incident: &Incident) -> Cluster {
        let root = self.root.path();
        let data = root.join(name);
        let copy = |from: &std::path::Path, to: &std::path::Path| {
            pg::run(Command::new("cp").arg("-a").arg(from).arg(to));
        };
        copy(&self.base, &data);
        let space = root.join(format!("{name}-space"));
        copy(&root.join("space2"), &space);
        for link in fs::read_dir(data.join("pg_tblspc")).unwrap().flatten() {
            fs::remove_file(link.path()).unwrap();
            std::os::unix::fs::symlink(&space, link.path()).unwrap();
        }
        let cluster = Cluster::existing(root, data);
        cluster.configure(&format!(
            "archive_mode=off\nrestore_command='cp {}/%f %p'\nrecovery_target_action=promote\n\
             recovery_target_lsn='{}'\nrecovery_target_inclusive=off\nrecovery_target_timeline={}",
            self.archive.display(),
            incident.target.lsn,
            incident.target.timeline
        ));
        fs::write(cluster.data.join("recovery.signal"), "").unwrap();
        assert!(cluster.recover(), "{name}: {}", cluster.log_text());
        cluster
    }
}

fn incident<'i>(found: &'i [Incident], kind: IncidentKind, name: &str) -> &'i Incident {
    let wanted = |i: &&Incident| i.kind == kind && i.names().iter().any(|n| n == name);
    found.iter().find(wanted).unwrap()
}

/// What was lost is there, and so is everything that was committed before.
pub fn targets(world: &World, found: &[Incident]) {
    let truncated = incident(found, IncidentKind::Truncate, "public.orders");
    assert_eq!(truncated.target.xid, Some(truncated.xact.xid));
    assert_eq!(truncated.target.lsn, truncated.xact.start);
    let cluster = world.restored("orders", truncated);
    assert_eq!(cluster.psql("select count(*) from orders"), "500");
    assert_eq!(cluster.psql("select count(*) from customers"), "200");
    assert_eq!(
        cluster.psql("select count(*) from alone"),
        "0",
        "truncated before"
    );
    cluster.stop("immediate");

    // Its files are gone before its commit: the target lies in front of that.
    let dropped = incident(found, IncidentKind::DropDatabase, "other");
    assert!(dropped.target.lsn < dropped.first_lsn);
    assert_eq!((dropped.target.xid, dropped.target.time), (None, None));
    let cluster = world.restored("other", dropped);
    let mut psql = cluster.client("psql");
    let answer = pg::run(psql.args(["-XAtqc", "select count(*) from pg_class", "other"]));
    assert!(answer.trim().parse::<u32>().unwrap() > 300, "{answer}");
    cluster.stop("immediate");
}
