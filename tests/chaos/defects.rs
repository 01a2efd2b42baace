//! The defects: what goes wrong, and the words that must show that it was found.

use std::fs;

use rpitr::verify::{Goal, Target};
use serde_json::json;

use crate::work::Work;

pub struct Defect {
    pub name: &'static str,
    pub plant: fn(&Work),
    pub shows: &'static str,
}

macro_rules! defects {
    ($($name:literal, $shows:literal, $plant:expr;)*) => {
        pub const ALL: &[Defect] = &[$(Defect { name: $name, shows: $shows, plant: $plant }),*];
    };
}

fn time(work: &Work, shift: i64, inclusive: bool) -> Goal {
    let us = work.order.endings[work.middle()].xact.unix_us;
    Goal {
        target: Target::Time(us + shift),
        inclusive,
    }
}

fn xid(work: &Work, inclusive: bool) -> Goal {
    Goal {
        target: Target::Xid(work.order.endings[work.middle()].xact.xid),
        inclusive,
    }
}

fn position(work: &Work, inclusive: bool) -> Goal {
    Goal {
        inclusive,
        ..work.goal()
    }
}

fn everything() -> Goal {
    Goal {
        target: Target::Latest,
        inclusive: true,
    }
}

/// A field of a restored row, changed.
fn cell(row: &mut String, column: usize, value: &str) {
    let mut cells: Vec<_> = row.split('\t').collect();
    cells[column] = value;
    *row = cells.join("\t");
}

/// The last operation that was acknowledged.
fn last_ok(work: &Work) -> i64 {
    let ok = work.history.ops.iter().filter(|op| op.is_ok());
    ok.max_by_key(|op| op.commit).unwrap().op
}

fn is_of(row: &str, op: i64) -> bool {
    row.starts_with(&format!("{op}\t"))
}

fn event(work: &Work, line: &str) {
    work.edit_text("events.jsonl", |text| format!("{text}{line}\n"));
    work.restore(1, &work.goal());
}

defects! {
    // Another target than the one that was asked for.
    "a target one microsecond late", "1 phantom", |w|
        w.restore_other(&time(w, -1, true), &time(w, 0, true));
    "a target one microsecond early", "1 lost", |w|
        w.restore_other(&time(w, 0, true), &time(w, -1, true));
    "inclusive turned round, time", "1 phantom", |w|
        w.restore_other(&time(w, 0, false), &time(w, 0, true));
    "inclusive turned round, transaction", "1 phantom", |w|
        w.restore_other(&xid(w, false), &xid(w, true));
    "inclusive turned round, position", "1 phantom", |w|
        w.restore_other(&position(w, false), &position(w, true));
    "inclusive forgotten", "1 lost", |w|
        w.restore_other(&xid(w, true), &xid(w, false));
    "a time zone lost", "lost", |w| {
        // Read hours too early, the target stops recovery at the first transaction.
        let first = Goal { target: Target::Xid(w.order.endings[2].xact.xid), inclusive: false };
        w.restore_other(&time(w, 0, true), &first);
    };
    "a recovery without a target", "phantom", |w|
        w.restore_other(&time(w, 0, true), &everything());
    "a recovery that took a hole for the end of the WAL", "no line that says where it stopped", |w| {
        let early = Goal { target: Target::Lsn(w.order.endings[w.middle() / 2].xact.start), inclusive: false };
        let mut entry = w.entry(1, &early);
        entry["target"] = json!(w.goal());
        entry["server"] = serde_json::Value::Null;
        w.write_restore(1, &entry, &w.rows(w.kept(&early)));
    };
    "the base backup, and no WAL replayed", "lost", |w|
        w.tampered(Vec::clear);
    "another timeline", "it followed timeline 2", |w| {
        let mut entry = w.entry(1, &w.goal());
        entry["timeline"] = json!(2);
        w.write_restore(1, &entry, &w.rows(w.kept(&w.goal())));
    };
    "the server stopped at another transaction", "the server says it stopped", |w| {
        let goal = xid(w, false);
        let mut entry = w.entry(1, &goal);
        entry["server"]["xid"] = json!(3);
        w.write_restore(1, &entry, &w.rows(w.kept(&goal)));
    };
    "the server stopped after, not before", "the server says it stopped after", |w| {
        let goal = xid(w, false);
        let mut entry = w.entry(1, &goal);
        entry["server"]["before"] = json!(true);
        entry["server"]["before"] = json!(false);
        w.write_restore(1, &entry, &w.rows(w.kept(&goal)));
    };
    "a plan that foresaw another commit", "the plan said", |w| {
        let mut entry = w.entry(1, &w.goal());
        entry["predicted_xid"] = json!(3);
        w.write_restore(1, &entry, &w.rows(w.kept(&w.goal())));
    };
    "a branch that began elsewhere", "it left the old timeline at", |w| {
        let mut entry = w.entry(1, &w.goal());
        entry["reached"] = json!(w.order.end.to_string());
        w.write_restore(1, &entry, &w.rows(w.kept(&w.goal())));
    };
    "a restore that did not come up", "did not come up", |w|
        w.write_restore(1, &json!({ "n": 1, "target": w.goal(), "error": "FATAL" }), &[]);

    // Rows that are not what they should be.
    "a row deleted", "1 lost", |w| w.tampered(|rows| drop(rows.remove(10)));
    "a row there twice", "1 duplicate", |w| w.tampered(|rows| rows.insert(10, rows[10].clone()));
    "a row altered", "1 altered", |w| w.tampered(|rows| cell(&mut rows[10], 4, "00"));
    "half a transaction", "1 torn", |w| w.tampered(|rows| cell(&mut rows[10], 3, "0"));
    "entries without their operation", "1 torn", |w| w.tampered(|rows| {
        cell(&mut rows[10], 1, "\\N");
        cell(&mut rows[10], 2, "\\N");
    });
    "a row nobody wrote", "1 phantom", |w| w.tampered(|rows| rows.push("7\t3\t1\t1\tab".into()));
    "a later target with fewer rows", "lacks", |w| {
        w.tampered(|rows| drop(rows.remove(10)));
        let early = Goal { target: Target::Lsn(w.order.endings[w.middle() - 3].xact.start), inclusive: false };
        w.restore(2, &early);
    };

    // An archive that lost something.
    "a segment missing", "the archive is whole", |w| fs::remove_file(w.path(&w.segment(0))).unwrap();
    "a segment there twice", "the archive is whole", |w| {
        let before = fs::read(w.path(&w.segment(1))).unwrap();
        w.edit(&w.segment(0), |bytes| *bytes = before);
    };
    "a bit turned round", "the archive is whole", |w| w.edit(&w.segment(0), |bytes| bytes[500_000] ^= 4);
    "half a segment of zeros", "the archive is whole", |w| w.edit(&w.segment(0), |bytes| {
        let half = bytes.len() / 2;
        bytes[half..].fill(0);
    });
    "a segment cut short", "the archive is whole", |w| w.edit(&w.segment(0), |bytes| bytes.truncate(4096));
    "an archive_command that lied about the last segments", "the archive is whole", |w| {
        let names = w.segments();
        for name in &names[names.len() - 2..] {
            fs::remove_file(w.path(name)).unwrap();
        }
    };

    // Promises that were not kept, and clients that were told something else.
    "an acknowledged commit lost in a crash", "acknowledged, but not on the primary", |w| {
        let op = last_ok(w);
        w.edit_final(|rows| rows.retain(|row| !is_of(row, op)));
    };
    "an acknowledged commit lost from the middle, where a crash may take the last ones", "a later commit survived", |w| {
        w.facts(|facts| facts["synchronous_commit"] = json!("off"));
        let op = w.history.ops.iter().filter(|op| op.is_ok()).nth(50).unwrap().op;
        w.edit_final(|rows| rows.retain(|row| !is_of(row, op)));
    };
    "a refused operation that happened", "refused, but on the primary", |w|
        w.edit_end(last_ok(w), |end| *end = json!({ "e": "fail", "op": end["op"], "code": "40001", "at": end["at"] }));
    "an indeterminate operation counted as committed by its reused xid", "1 phantom", |w| {
        // A crash gave its transaction id to another; its own row exists nowhere, only in this restore.
        let before = w.history.ops.iter().filter(|op| op.is_ok() && op.commit < Some(w.middle()));
        let op = before.max_by_key(|op| op.commit).unwrap().op;
        w.edit_end(op, |end| *end = json!({ "e": "info", "op": end["op"], "reason": "connection lost", "at": end["at"] }));
        w.edit_final(|rows| rows.retain(|row| !is_of(row, op)));
        w.restore(1, &w.goal());
    };
    "two commits that changed places", "other than the client saw", |w| w.edit_final(|rows| {
        let xids: Vec<_> = [10, 900].map(|at: usize| rows[at].split('\t').nth(1).unwrap().to_string()).into();
        cell(&mut rows[10], 1, &xids[1]);
        cell(&mut rows[900], 1, &xids[0]);
    });
    "a commit stamped by another clock", "outside of the interval", |w|
        w.edit_end(last_ok(w), |end| end["clock"] = json!(end["clock"].as_i64().unwrap() + 3_600_000_000));
    "an operation that is in no log", "phantom", |w| {
        let op = last_ok(w);
        w.edit_text("verification_log.jsonl", |text| {
            let mark = format!("\"op\":{op},");
            let lines = text.lines().filter(|line| !line.contains(&mark));
            lines.collect::<Vec<_>>().join("\n") + "\n"
        });
    };
    "the primary's own row altered", "1 altered", |w| w.edit_final(|rows| cell(&mut rows[5], 4, "00"));

    // A receiver that did not get what the archive has.
    "a received segment missing", "was not received", |w| {
        w.receive();
        fs::remove_file(w.path(&w.received_segment())).unwrap();
    };
    "a received segment altered", "other bytes than the archive has, from byte 500000 on", |w| {
        w.receive();
        w.edit(&w.received_segment(), |bytes| bytes[500_000] ^= 4);
    };
    "a receiver that got nothing", "cannot read", |w| w.facts(|facts| facts["receiver"] = json!("receiver"));

    // A promotion that kept something else.
    "a promoted server that lacks a row", "promotion 1: 1 lost", |w| w.promotion(|rows, _| drop(rows.remove(10)));
    "a promoted server with a row of its own", "promotion 1: 1 phantom", |w|
        w.promotion(|rows, _| rows.push("7\t3\t1\t1\tab".into()));
    "a fault that struck beside the promotion", "did not strike", |w|
        w.promotion(|_, entry| entry["struck_us"] = json!(9));

    // Faults that stayed.
    "a fault that could not be healed", "no writes", |w|
        event(w, r#"{"e":"heal_failed","n":1,"kind":"pause","reason":"no writes","at_us":1}"#);
    "a fault nobody healed", "was never healed", |w|
        event(w, r#"{"e":"inject","n":1,"kind":"pause","at_us":1}"#);
}
