//! A copy of a real run's bundle that a test may damage, and restores made up from its oracle.

use std::fs;
use std::path::{Path, PathBuf};

use rpitr::verify::{Bundle, Goal, History, Order, State, Target, Verdict, judge};
use rpitr::wal::{Options, Wal};
use serde_json::{Value, json};
use tempfile::TempDir;

pub struct Work {
    pub folder: TempDir,
    pub bundle: Bundle,
    pub order: Order,
    pub history: History,
    pub last: State,
}

fn read_order(bundle: &Bundle) -> Order {
    let options = Options {
        timeline: Some(bundle.facts.timeline),
        ..Options::default()
    };
    let wal = Wal::open(&bundle.archive(), &options).unwrap();
    Order::read(&wal, bundle.facts.backups[0].start_lsn).unwrap()
}

impl Work {
    /// Copies a bundle without its restores. WAL is linked: a damaged file is written anew.
    pub fn of(run: &Path) -> Work {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        fs::create_dir_all(here.join("archive")).unwrap();
        fs::create_dir_all(here.join("restores")).unwrap();
        for name in [
            "bundle.json",
            "events.jsonl",
            "verification_log.jsonl",
            "final.tsv.zst",
        ] {
            fs::copy(run.join(name), here.join(name)).unwrap();
        }
        for entry in fs::read_dir(run.join("archive")).unwrap() {
            let path = entry.unwrap().path();
            let to = here.join("archive").join(path.file_name().unwrap());
            fs::hard_link(&path, &to)
                .or_else(|_| fs::copy(&path, &to).map(|_| ()))
                .unwrap();
        }
        let bundle = Bundle::open(here).unwrap();
        let order = read_order(&bundle);
        let mut history = History::read(&bundle.log()).unwrap();
        let last = State::read(&here.join("final.tsv.zst")).unwrap();
        history.resolve(&last, &order);
        Work {
            folder,
            bundle,
            order,
            history,
            last,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn judge(&self) -> Verdict {
        judge(Bundle::open(self.folder.path()).unwrap()).unwrap()
    }

    /// A place in the middle of the run: an ending whose time no neighbour shares.
    pub fn middle(&self) -> usize {
        let endings = &self.order.endings;
        let us = |at: usize| endings[at].xact.unix_us;
        (endings.len() / 2..endings.len() - 5)
            .find(|at| {
                let commit = |at: usize| endings[at].xact.kind.is_commit() && self.owner(at);
                let later = (at + 1..endings.len()).all(|other| us(other) > us(*at));
                let earlier = (0..*at).all(|other| us(other) < us(*at) - 1);
                commit(*at) && commit(at + 1) && later && earlier
            })
            .unwrap()
    }

    fn owner(&self, at: usize) -> bool {
        self.history.ops.iter().any(|op| op.commit == Some(at))
    }

    /// The rows a recovery has that keeps the first `kept` endings.
    pub fn rows(&self, kept: usize) -> Vec<String> {
        let there = |op: i64| {
            let commit = self.history.get(op).and_then(|op| op.commit);
            commit.is_some_and(|at| at < kept)
        };
        let rows = self.last.rows.iter().filter(|row| there(row.op));
        rows.map(|row| {
            format!(
                "{}\t{}\t{}\t{}\t{}",
                row.op,
                row.xid.unwrap(),
                row.items.unwrap(),
                row.found,
                row.hash.as_ref().unwrap()
            )
        })
        .collect()
    }

    /// What a correct restore to `goal` writes down.
    pub fn entry(&self, n: u32, goal: &Goal) -> Value {
        let backup = &self.bundle.facts.backups[0];
        let cut = self.order.cut(goal, backup.start_lsn).unwrap();
        let endings = &self.order.endings;
        let reached = match cut.kept {
            0 => backup.stop_lsn,
            kept => endings[kept - 1].xact.end,
        };
        let server = match (goal.target, cut.stop) {
            (Target::Lsn(lsn), _) => {
                json!({ "before": !goal.inclusive, "lsn": lsn.to_string() })
            }
            (target, Some(stop)) => json!({
                "before": matches!(target, Target::Time(_)) || !goal.inclusive,
                "xid": endings[stop].xact.xid,
                "committed": endings[stop].xact.kind.is_commit(),
                "time_us": endings[stop].xact.unix_us,
            }),
            _ => Value::Null,
        };
        json!({
            "n": n,
            "target": goal,
            "why": "planted",
            "backup": backup.label,
            "timeline": self.bundle.facts.timeline,
            "reached": reached.to_string(),
            "predicted_xid": self.order.last_commit(cut.kept).map(|xact| xact.xid),
            "server": server,
            "state": format!("{n:03}.tsv"),
        })
    }

    pub fn kept(&self, goal: &Goal) -> usize {
        let redo = self.bundle.facts.backups[0].start_lsn;
        self.order.cut(goal, redo).unwrap().kept
    }

    pub fn write_restore(&self, n: u32, entry: &Value, rows: &[String]) {
        let name = |end: &str| self.path(&format!("restores/{n:03}.{end}"));
        fs::write(name("json"), entry.to_string()).unwrap();
        let lines: Vec<_> = rows.iter().map(|row| format!("{row}\n")).collect();
        fs::write(name("tsv"), lines.concat()).unwrap();
    }

    /// A correct restore to `goal`.
    pub fn restore(&self, n: u32, goal: &Goal) {
        let rows = self.rows(self.kept(goal));
        self.write_restore(n, &self.entry(n, goal), &rows);
    }

    /// Asked for `goal`, but `other` is what was restored, and what the server says.
    pub fn restore_other(&self, goal: &Goal, other: &Goal) {
        let mut entry = self.entry(1, other);
        entry["target"] = json!(goal);
        self.write_restore(1, &entry, &self.rows(self.kept(other)));
    }

    /// A correct restore to the middle whose rows are then changed.
    pub fn tampered(&self, change: impl FnOnce(&mut Vec<String>)) {
        let goal = self.goal();
        let mut rows = self.rows(self.kept(&goal));
        change(&mut rows);
        self.write_restore(1, &self.entry(1, &goal), &rows);
    }

    /// Just before the end in the middle of the run.
    pub fn goal(&self) -> Goal {
        Goal {
            target: Target::Lsn(self.order.endings[self.middle()].xact.start),
            inclusive: false,
        }
    }

    /// Changes a file of the bundle; it is written anew, so that a link to it stays as it was.
    pub fn edit(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let path = self.path(name);
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
    }

    pub fn edit_text(&self, name: &str, change: impl FnOnce(String) -> String) {
        self.edit(name, |bytes| {
            *bytes = change(String::from_utf8(bytes.clone()).unwrap()).into_bytes();
        });
    }

    /// Changes the log line in which an operation ended.
    pub fn edit_end(&self, op: i64, change: impl Fn(&mut Value)) {
        self.edit_text("verification_log.jsonl", |text| {
            let mark = format!("\"op\":{op},");
            let lines = text.lines().map(|line| {
                if !line.contains(&mark) || line.contains("\"e\":\"send\"") {
                    return line.to_string();
                }
                let mut value = serde_json::from_str(line).unwrap();
                change(&mut value);
                value.to_string()
            });
            lines.collect::<Vec<_>>().join("\n") + "\n"
        });
    }

    /// Replaces the primary's final rows; the file stays compressed.
    pub fn edit_final(&self, change: impl FnOnce(&mut Vec<String>)) {
        let mut rows = self.rows(usize::MAX);
        change(&mut rows);
        let text = rows.join("\n") + "\n";
        let bytes = zstd::encode_all(text.as_bytes(), 1).unwrap();
        self.edit("final.tsv.zst", |old| *old = bytes);
    }

    /// The archived segments, oldest first.
    pub fn segments(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.path("archive"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.len() == 24)
            .map(|name| format!("archive/{name}"))
            .collect();
        names.sort();
        names
    }

    /// The segment in the middle of the run, and the one before it when `back` is 1.
    pub fn segment(&self, back: u64) -> String {
        let size = self.order.segment_bytes;
        let number = self.order.endings[self.middle()].xact.start.0 / size - back;
        let each = (1 << 32) / size;
        let timeline = self.bundle.facts.timeline;
        format!(
            "archive/{timeline:08X}{:08X}{:08X}",
            number / each,
            number % each
        )
    }

    /// A receiver that got what the archive has.
    pub fn receive(&self) {
        fs::create_dir(self.path("received")).unwrap();
        for name in self.segments() {
            let to = name.replace("archive/", "received/");
            fs::copy(self.path(&name), self.path(&to)).unwrap();
        }
        self.facts(|facts| facts["receiver"] = json!("receiver"));
    }

    pub fn received_segment(&self) -> String {
        self.segment(0).replace("archive/", "received/")
    }

    /// A promotion in the middle of the run, changed.
    pub fn promotion(&self, change: impl FnOnce(&mut Vec<String>, &mut Value)) {
        let middle = self.middle();
        let mut rows = self.rows(middle);
        let mut entry = json!({
            "n": 1,
            "began_us": 1,
            "struck_us": 2,
            "accepted_us": 3,
            "fork_lsn": self.order.endings[middle].xact.start.to_string(),
            "state": "001.tsv",
        });
        change(&mut rows, &mut entry);
        fs::create_dir(self.path("promotions")).unwrap();
        fs::write(self.path("promotions/001.json"), entry.to_string()).unwrap();
        fs::write(self.path("promotions/001.tsv"), rows.join("\n") + "\n").unwrap();
    }

    pub fn facts(&self, change: impl FnOnce(&mut Value)) {
        self.edit_text("bundle.json", |text| {
            let mut value = serde_json::from_str(&text).unwrap();
            change(&mut value);
            value.to_string()
        });
    }
}
