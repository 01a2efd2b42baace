//! The shipped drills, run as a user runs them: the real program, real servers, the exit code, the
//! report, and nothing left behind.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use common::{Bench, entries, eventually};
use nix::sys::signal::Signal;
use serde_json::Value;

const FULL: &[&str] = &["full_recovery", "--scale", "0", "--orders", "60"];
const PITR: &[&str] = &["pitr", "--scale", "0"];

fn with<'a>(drill: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [drill, more].concat()
}

fn metric(report: &Value, name: &str) -> f64 {
    report["metrics"][name]["value"]
        .as_f64()
        .unwrap_or_else(|| panic!("metric {name} is missing: {}", report["metrics"]))
}

fn names_of<'a>(list: &'a Value, key: &str) -> Vec<&'a str> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|entry| entry[key].as_str().unwrap())
        .collect()
}

/// What every report of a drill that passed must say.
fn assert_passed(report: &Value, drill: &str, steps: usize) {
    assert_eq!(report["schema"], rpitr::report::SCHEMA);
    assert_eq!(report["drill"], drill);
    assert_eq!(report["verdict"], "pass");
    assert_eq!(report["runtime"], "local");
    assert_eq!(report["cleanup_failures"], serde_json::json!([]));
    assert!(report["error"].is_null());
    assert!(report["started"].as_str() < report["finished"].as_str());
    let list = report["steps"].as_array().unwrap();
    assert_eq!(
        list.len(),
        steps,
        "{:?}",
        names_of(&report["steps"], "name")
    );
    for step in list {
        assert_eq!(step["ok"], true, "{step}");
    }
    let spent: f64 = list
        .iter()
        .map(|step| step["seconds"].as_f64().unwrap())
        .sum();
    let total = report["seconds"].as_f64().unwrap();
    assert!(
        spent <= total && spent > 0.8 * total,
        "{spent} of {total} s are in steps"
    );
    for entry in [&report["checks"], &report["expectations"]] {
        for item in entry.as_array().unwrap() {
            assert_eq!(item["ok"], true, "{item}");
        }
    }
    assert!(report["postgres"]["seconds"].as_f64().unwrap() > 0.0);
}

/// The checks that failed, as one text.
fn failed_checks(report: &Value) -> String {
    let failed = report["checks"].as_array().unwrap().iter();
    failed
        .filter(|check| check["ok"] == false)
        .map(|check| format!("{}: {}\n", check["name"], check["detail"]))
        .collect()
}

// Passing ----------------------------------------------------------------------------------------------

#[test]
fn full_recovery_is_proved() {
    let bench = Bench::new();
    let (report, run) = bench.drill(&with(FULL, &["--seed", "7", "--keep"]), 0);
    assert_passed(&report, "full_recovery", 10);
    assert_eq!(report["seed"], 7);
    assert_eq!(report["arguments"]["orders"], 60);
    for name in [
        "orders_lost",
        "orders_extra",
        "orders_torn",
        "orders_altered",
    ] {
        assert_eq!(metric(&report, name), 0.0, "{name}");
    }
    assert!(metric(&report, "orders_expected") >= 60.0);
    assert!(metric(&report, "failover_would_lose") >= 60.0);
    assert!(metric(&report, "rpo_transactions") >= 10.0);
    assert!(metric(&report, "lag_bytes") > 0.0 && metric(&report, "lag_seconds") >= 0.0);
    let parts: f64 = ["rto_restore", "rto_prove", "rto_swap"]
        .iter()
        .map(|name| metric(&report, name))
        .sum();
    assert!(parts <= metric(&report, "rto"));
    let tables = report["tables"].as_array().unwrap();
    let titled = |start: &str| {
        let title = |table: &&Value| table["title"].as_str().unwrap().starts_with(start);
        &tables.iter().find(title).unwrap()["rows"]
    };
    assert_eq!(titled("What destroyed data")[0][2], "truncate");
    let given_up = titled("Acknowledged after the target");
    assert_eq!(
        given_up.as_array().unwrap().len() as f64,
        metric(&report, "rpo_transactions")
    );
    let checks = names_of(&report["checks"], "name").join("\n");
    for part in [
        "customers",
        "products",
        "order items",
        "none extra",
        "foreign key",
        "failover",
        "rebuilt standby",
        "found in the WAL is the developer's",
        "the server's log says that it stopped before",
        "first commit that was not replayed",
    ] {
        assert!(checks.contains(part), "no check of {part}:\n{checks}");
    }
    run.says("PROVED");
    assert!(
        !run.stdout.contains('\x1b') && !run.stderr.contains('\x1b'),
        "colours in a pipe"
    );

    let bad = bench.suspicious_log_lines();
    assert!(bad.is_empty(), "in the server logs:\n{}", bad.join("\n"));
    bench.run(&["lab", "gc", "--all"]).expect(0);
    bench.assert_clean(&[]);
}

#[test]
fn full_recovery_leaves_nothing() {
    let bench = Bench::new();
    bench.drill(FULL, 0);
    bench.assert_clean(&[]);
}

#[test]
fn pitr_is_proved_with_every_kind_of_target() {
    let bench = Bench::new();
    for to in ["lsn", "time", "xid", "name"] {
        let (report, run) = bench.drill(&with(PITR, &["--to", to, "--keep"]), 0);
        assert_passed(&report, "pitr", 6);
        assert_eq!(report["arguments"]["to"], to);
        for name in ["rows_missing", "rows_changed", "rows_extra"] {
            assert_eq!(metric(&report, name), 0.0, "{name}");
        }
        run.says(&format!("asked:   {to} "));
        run.says("PROVED");
    }
    let bad = bench.suspicious_log_lines();
    assert!(bad.is_empty(), "in the server logs:\n{}", bad.join("\n"));
    bench.run(&["lab", "gc", "--all"]).expect(0);
    bench.assert_clean(&[]);
}

#[test]
fn pitr_finds_the_mistake_without_being_told() {
    let bench = Bench::new();
    let (report, run) = bench.drill(PITR, 0);
    assert_passed(&report, "pitr", 7);
    let checks = names_of(&report["checks"], "name").join("\n");
    assert!(
        checks.contains("found in the WAL is the mistake"),
        "{checks}"
    );
    run.says("What destroyed rows since the backup");
    run.says("delete  public.customers");
    bench.assert_clean(&[]);
}

#[test]
fn a_target_of_ones_own_is_taken_and_an_unreachable_one_refused() {
    let bench = Bench::new();
    // The end of the archive is after the mistake: reached, and not what the drill wants.
    let (report, _) = bench.drill(&with(PITR, &["--to", "latest"]), 10);
    assert_eq!(report["verdict"], "fail");
    assert!(
        failed_checks(&report).contains("Johnson"),
        "{}",
        report["checks"]
    );
    let (report, run) = bench.drill(&with(PITR, &["--to", "2001-01-01 00:00:00Z"]), 11);
    assert_eq!(report["verdict"], "error");
    assert_eq!(report["error"]["code"], "no_backup_fits");
    run.says("the oldest backup");
    bench.assert_clean(&[]);
}

// Planted defects --------------------------------------------------------------------------------------

#[test]
fn full_recovery_catches_planted_defects() {
    let bench = Bench::new();
    for (defect, named) in [
        ("late", "products are as they were loaded"),
        ("inclusive", "products are as they were loaded"),
        ("delete-row", "lost: order"),
    ] {
        let (report, run) = bench.drill(&with(FULL, &["--plant", defect]), 10);
        assert_eq!(report["verdict"], "fail", "{defect}");
        let failed = failed_checks(&report);
        assert!(failed.contains(named), "{defect}: {failed}");
        run.says("NOT PROVED");
        run.says(named);
        let steps = names_of(&report["steps"], "name").join("\n");
        assert!(!steps.contains("swap"), "{defect}: it took over:\n{steps}");
    }
    bench.assert_clean(&[]);
}

#[test]
fn pitr_catches_planted_defects() {
    let bench = Bench::new();
    for defect in ["late", "inclusive", "delete-row"] {
        let (report, run) = bench.drill(&with(PITR, &["--plant", defect]), 10);
        assert_eq!(report["verdict"], "fail", "{defect}");
        assert!(
            failed_checks(&report).contains("Carol Johnson"),
            "{defect}: {}",
            report["checks"]
        );
        assert!(metric(&report, "rows_missing") >= 1.0);
        run.says("NOT PROVED");
        run.says("Carol Johnson");
    }
    bench.assert_clean(&[]);
}

// The command line -------------------------------------------------------------------------------------

#[test]
fn wrong_arguments_start_nothing() {
    let bench = Bench::new();
    for (arguments, said) in [
        (with(FULL, &["--sclae", "2"]), "did you mean --scale?"),
        (
            with(FULL, &["--scale", "two"]),
            "--scale must be an integer",
        ),
        (
            vec!["pitr", "--scale", "-1"],
            "--scale must be at least 0, got -1",
        ),
        (
            with(FULL, &["--clients", "0"]),
            "--clients must be at least 1, got 0",
        ),
        (with(FULL, &["--orders"]), "--orders needs a value"),
        (with(PITR, &["--to", "yesterday"]), "offset"),
        (with(PITR, &["--to", "xid:12x"]), "is not a transaction id"),
        (with(PITR, &["--plant", "lat"]), "did you mean"),
        (vec!["ful_recovery"], "did you mean \"full_recovery\"?"),
        (with(PITR, &["stray"]), "unexpected argument stray"),
    ] {
        let run = bench.run(&arguments);
        run.expect(2);
        run.says(said);
    }
    assert!(bench.leftovers().is_empty());
}

#[test]
fn a_dry_run_starts_nothing() {
    let bench = Bench::new();
    for drill in [FULL, PITR] {
        let run = bench.run(&with(drill, &["--dry-run"]));
        run.expect(0);
        run.says("nothing was started");
        run.says("--plant");
        assert!(bench.leftovers().is_empty());
    }
}

#[test]
fn what_cannot_say_what_it_would_do_refuses_a_dry_run() {
    let bench = Bench::new();
    let script = bench.dir().join("plain.lua");
    fs::write(&script, "fs.write('made', 'x') lab.postgres {}").unwrap();
    let script = script.display().to_string();
    for arguments in [
        &["--dry-run", &script][..],
        &["--dry-run", "-e", "lab.postgres {}"],
        &["lab", "gc", "--all", "--dry-run"],
        &["new", "made", "--dry-run"],
        &["setup", "--dry-run"],
        &["chaos", "heal", "--dry-run"],
    ] {
        let run = bench.run(arguments);
        run.expect(2);
        run.says("--dry-run is for drills");
    }
    bench.run(&["lab", "ls", "--dry-run"]).expect(0);
    assert!(bench.leftovers().is_empty());
}

#[test]
fn nothing_prompts_without_a_terminal() {
    let bench = Bench::new();
    let (_, run) = bench.drill(&with(PITR, &["--to", "ask"]), 0);
    run.says("asked:   lsn");
    bench.assert_clean(&[]);
}

#[test]
fn a_kept_lab_can_be_used_and_removed() {
    let bench = Bench::new();
    bench.drill(&with(PITR, &["--keep"]), 0);
    let labs = bench.labs();
    assert_eq!(labs.len(), 1);
    assert_eq!(labs[0]["condition"], "kept");
    let id = labs[0]["id"].as_str().unwrap();
    assert_eq!(names_of(&labs[0]["nodes"], "name"), ["primary", "restored"]);
    assert_eq!(
        names_of(&labs[0]["nodes"], "status"),
        ["running", "running"]
    );
    let listed = bench.run(&["lab", "ls"]);
    listed.expect(0);
    listed.says(id);
    let short = &id[..id.len() - 1];

    let ask = |node: &str| {
        bench.run(&[
            "lab",
            "psql",
            short,
            node,
            "--",
            "-d",
            "statelessCommerce",
            "-XAtc",
            "select count(*) from customers where lastName = 'Johnson'",
        ])
    };
    for (node, rows) in [("primary", "0\n"), ("restored", "2\n")] {
        let run = ask(node);
        run.expect(0);
        assert_eq!(run.stdout, rows, "{node}");
    }
    let first = bench.run(&["lab", "psql", id, "--", "-XAtc", "select 1"]);
    first.expect(0);
    assert_eq!(first.stdout, "1\n");
    let logs = bench.run(&["lab", "logs", id, "restored"]);
    logs.expect(0);
    logs.says("recovery stopping before WAL location");
    bench.run(&["lab", "logs", id, "nobody"]).expect(11);

    // What is kept survives gc, and the machine's rest.
    bench.run(&["lab", "gc"]).expect(0);
    let ports = bench.ports();
    assert_eq!(ports.len(), 2);
    bench.run(&["lab", "stop", id]).expect(0);
    assert_eq!(
        names_of(&bench.labs()[0]["nodes"], "status"),
        ["stopped", "stopped"]
    );
    bench.run(&["lab", "start", id]).expect(0);
    let again = ask("restored");
    again.expect(0);
    assert_eq!(again.stdout, "2\n");
    let listening = format!(":{}", ports[1]);
    let sockets = Command::new("ss")
        .args(["-ltn"])
        .output()
        .map(|out| String::from_utf8_lossy(&out.stdout).into_owned());
    assert!(
        !sockets.unwrap_or_default().contains(&listening),
        "a restored server listens on TCP after lab start"
    );
    bench.run(&["lab", "rm", id]).expect(0);
    bench.assert_clean(&ports);
    let unknown = bench.run(&["lab", "rm", id]);
    assert_ne!(unknown.code, Some(0));
    unknown.says(id);
}

#[test]
fn keep_failed_keeps_only_what_failed() {
    let bench = Bench::new();
    bench.drill(&with(PITR, &["--keep=failed"]), 0);
    bench.assert_clean(&[]);
    let (_, run) = bench.drill(&with(PITR, &["--keep=failed", "--plant", "late"]), 10);
    run.says("is kept");
    assert_eq!(bench.labs().len(), 1);
    let bad = bench.suspicious_log_lines();
    assert!(bad.is_empty(), "in the server logs:\n{}", bad.join("\n"));
    bench.run(&["lab", "gc", "--all"]).expect(0);
    bench.assert_clean(&[]);
}

/// Loses its server, or stops it, and goes on as if nothing was. What scripts catch says nothing of it.
const LOST: &str = r#"
return drill "lost" {
  summary = "Loses its server.",
  args = { stopped = { false, "stop it instead" } },
  run = function(d, arg)
    local north <close> = lab.postgres { name = "north" }
    d:step("work", function()
      if arg.stopped then
        north:stop()
      else
        north:exec { "sh", "-c", "kill -9 $(head -1 '" .. north.data .. "/postmaster.pid')" }
      end
      timer.eventually(function()
        local status = north:status()
        return status == "crashed" or status == "stopped"
      end)
      local _, caught = pcall(north.connect, north)
      assert(err.is(caught, "sql") and caught.detail == nil)
      north:value "SELECT 1"
    end)
  end,
}
"#;

#[test]
fn a_server_that_died_under_a_drill_is_named() {
    let bench = Bench::new();
    let script = bench.script("lost.lua", LOST);
    let run = bench.run(&[&script]);
    run.expect(11);
    run.says("error[sql/08001]");
    run.says("node north is not running: it crashed or was killed; its log ends:");
    run.says("database system is ready to accept connections");
    run.says("hint: --keep=failed keeps the lab to look at");
    let stopped = bench.run(&[&script, "--stopped"]);
    stopped.expect(11);
    stopped.says("error[sql/08001]");
    assert!(!stopped.stderr.contains("is not running"), "{stopped:?}");
    bench.assert_clean(&[]);
}

// Interrupted ------------------------------------------------------------------------------------------

/// Whether some lab of the bench has this path in it.
fn lab_has(bench: &Bench, path: &str) -> Option<()> {
    let labs = entries(&bench.state.join("labs"));
    labs.iter().any(|lab| lab.join(path).exists()).then_some(())
}

#[test]
fn ctrl_c_cleans_up_wherever_the_drill_is() {
    let bench = Bench::new();
    for moment in [
        "primary/data/PG_VERSION",
        "primary/data/postmaster.pid",
        "backup/nightly.partial",
        "standby/data/postmaster.pid",
        "restored/data",
        "restored/data/postmaster.pid",
    ] {
        let mut run = bench.start(FULL);
        eventually(moment, || {
            assert!(
                !run.ended(),
                "the drill ended before {moment} was there:\n{}{}",
                run.stdout(),
                run.stderr()
            );
            lab_has(&bench, moment)
        });
        let ports = bench.ports();
        run.signal(Signal::SIGINT);
        let run = run.finish();
        run.expect(130);
        run.says("interrupted");
        assert!(!run.stdout.contains("PROVED"), "{}", run.stdout);
        bench.assert_clean(&ports);
    }
}

#[test]
fn a_second_ctrl_c_leaves_what_lab_gc_removes() {
    let bench = Bench::new();
    let script = bench.script(
        "stubborn.lua",
        "local pg = lab.postgres {}\n\
         local _ <close> = defer(function() print 'cleaning' timer.sleep '60s' end)\n\
         print 'ready'\n\
         timer.sleep '60s'\n",
    );
    let run = bench.start(&[&script]);
    eventually("the server is up", || {
        run.stdout().contains("ready").then_some(())
    });
    run.signal(Signal::SIGINT);
    eventually("cleanup began", || {
        run.stdout().contains("cleaning").then_some(())
    });
    let ports = bench.ports();
    run.signal(Signal::SIGINT);
    let run = run.finish();
    run.expect(130);
    run.says("skipping cleanup");
    let labs = bench.labs();
    assert_eq!(labs.len(), 1);
    assert_eq!(labs[0]["condition"], "left behind");
    // What is left and how to get rid of it is said at once.
    run.says(labs[0]["id"].as_str().unwrap());
    run.says("rpitr lab gc");
    bench.run(&["lab", "gc"]).expect(0);
    bench.assert_clean(&ports);
}

#[test]
fn a_deadline_ends_the_drill_and_cleans_up() {
    let bench = Bench::new();
    let (report, run) = bench.drill(&with(FULL, &["--timeout", "1s"]), 13);
    assert_eq!(report["verdict"], "timeout");
    run.says("TIMED OUT");
    run.says("deadline of 1s");
    bench.assert_clean(&[]);
}

#[test]
fn a_budget_is_a_deadline_and_a_timeout_inside_it_is_not() {
    let bench = Bench::new();
    let drill = bench.dir().join("late.lua");
    let late = |wait: &str| {
        let body = format!(
            "return drill 'late' {{ summary = 's', budget = '300ms', run = function() {wait} end }}"
        );
        fs::write(&drill, body).unwrap();
        drill.display().to_string()
    };
    let (report, run) = bench.drill(&[&late("timer.sleep(60)")], 13);
    assert_eq!(report["verdict"], "timeout");
    run.says("TIMED OUT");
    bench.drill(&[&late("task.with_timeout(0.01, timer.sleep, 60)")], 11);
}

// The machine ------------------------------------------------------------------------------------------

#[test]
fn without_postgresql_it_says_how_to_install_it() {
    let mut bench = Bench::new();
    let empty = bench.dir().join("empty");
    fs::create_dir(&empty).unwrap();
    let empty = empty.display().to_string();
    bench.env = vec![
        ("RPITR_PG_BIN".into(), empty.clone()),
        ("PATH".into(), empty),
    ];
    for drill in [FULL, PITR] {
        let (report, run) = bench.drill(drill, 12);
        assert_eq!(report["error"]["kind"], "environment");
        run.says("RPITR_PG_BIN");
        run.says("install");
    }
    bench.assert_clean(&[]);
}

#[test]
fn a_version_that_is_not_installed_is_named() {
    let bench = Bench::new();
    let (_, run) = bench.drill(&with(PITR, &["--version", "9"]), 12);
    run.says("9");
    run.says("installed");
    bench.assert_clean(&[]);
}

/// The program in a folder that only root can enter, as a checkout in root's home is.
#[test]
fn a_program_the_server_cannot_reach_still_archives() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: only root has another user to hide from");
        return;
    }
    let mut bench = Bench::new();
    let hidden = bench.dir().join("hidden");
    fs::create_dir(&hidden).unwrap();
    fs::set_permissions(&hidden, fs::Permissions::from_mode(0o700)).unwrap();
    let copy = hidden.join("rpitr");
    fs::copy(&bench.program, &copy).unwrap();
    bench.program = copy;
    let (report, _) = bench.drill(PITR, 0);
    assert_passed(&report, "pitr", 7);
    bench.assert_clean(&[]);
}

#[test]
fn an_ordinary_user_runs_it_too() {
    let account = nix::unistd::User::from_name("postgres").unwrap();
    let (true, Some(account)) = (nix::unistd::geteuid().is_root(), account) else {
        eprintln!("SKIPPED: needs root and an account named postgres");
        return;
    };
    let mut bench = Bench::new();
    let home = bench.dir().join("home");
    fs::create_dir(&home).unwrap();
    let copy = home.join("rpitr");
    fs::copy(&bench.program, &copy).unwrap();
    let (uid, gid) = (account.uid.as_raw(), account.gid.as_raw());
    std::os::unix::fs::chown(&home, Some(uid), Some(gid)).unwrap();
    bench.program = copy;
    bench.state = home.join("state");
    let mut command = bench.command(PITR);
    command.uid(uid).gid(gid).env("HOME", &home);
    let run = bench.spawn(command).finish();
    run.expect(0);
    run.says("PROVED");
    bench.assert_clean(&[]);
}

/// A file system of a fixed size at a folder; unmounted when dropped.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(folder: &'a Path, size: &str) -> Option<Self> {
        fs::create_dir_all(folder).unwrap();
        let mounted = Command::new("mount")
            .args([
                "-t",
                "tmpfs",
                "-o",
                &format!("size={size},mode=755"),
                "tmpfs",
            ])
            .arg(folder)
            .status();
        if !mounted.is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED: mounting a small file system is not permitted here");
            return None;
        }
        Some(SmallDisk(folder))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

/// Leaves `free` bytes on the disk the lab is on.
const FILL: &str = r#"
local function fill(free)
  local folder = lab.info().folder
  local avail = tonumber(sh.run({ "df", "--output=avail", "-B1", folder }).stdout:match "(%d+)%s*$")
  sh.run { "fallocate", "--length", tostring(avail - free), folder .. "/filler" }
  return defer(function() fs.remove(folder .. "/filler") end)
end
local pg = lab.postgres { wal_segment_size = "1MB" }
local db = pg:connect()
db:exec "CREATE TABLE log (n int)"
local function healthy(n)
  db:exec("INSERT INTO log VALUES ($1)", n)
  pg:flush_archive()
end
"#;

fn on_a_small_disk(script: &str) -> Option<(Bench, common::Finished)> {
    let bench = Bench::new();
    let state = bench.state.clone();
    let disk = SmallDisk::mount(&state, "400m")?;
    let path = bench.script("disk.lua", &format!("{FILL}{script}"));
    let run = bench.run(&[&path]);
    bench.assert_clean(&[]);
    drop(disk);
    Some((bench, run))
}

#[test]
fn a_disk_that_fills_up_during_the_backup() {
    let script = r#"
local ok, e
do
  local _ <close> = fill(8 * 1024 ^ 2 // 1 | 0)
  ok, e = pcall(pitr.backup, pg, { label = "nightly" })
end
assert(not ok and #pitr.catalog(pg) == 0)
healthy(1)
local base = pitr.backup(pg, { label = "nightly" })
healthy(2)
local restored = pitr.restore(pg, { to = "latest" })
assert(restored:value "SELECT sum(n) FROM log" == 3)
print "nothing lost"
err.raise(e)
"#;
    let Some((_, run)) = on_a_small_disk(script) else {
        return;
    };
    run.expect(12);
    run.says("nothing lost");
    run.says("disk_full");
    run.says("No space left on device");
    run.says("RPITR_STATE");
}

#[test]
fn a_disk_too_small_for_a_restore_is_noticed_before_it_begins() {
    let script = r#"
pitr.backup(pg)
healthy(1)
local ok, e
do
  local _ <close> = fill(20 * 1024 ^ 2 // 1 | 0)
  ok, e = pcall(pitr.restore, pg, { to = "latest", name = "too-big" })
  assert(not ok and not fs.exists(lab.info().folder .. "/too-big"))
end
healthy(2)
print "nothing lost"
err.raise(e)
"#;
    let Some((_, run)) = on_a_small_disk(script) else {
        return;
    };
    run.expect(12);
    run.says("nothing lost");
    run.says("the restore needs");
    run.says("free space");
}

#[test]
fn a_disk_that_fills_up_during_the_restore() {
    let script = r#"
pitr.backup(pg)
for n = 1, 12 do healthy(n) end
local plan = pitr.plan(pg, { to = "latest" })
local ok, e
do
  -- Enough for what the plan counts, not for what the server writes itself.
  local _ <close> = fill(plan.bytes_needed + 256 * 1024)
  local filler = task.spawn(function()
    eventually(function() return fs.exists(lab.info().folder .. "/tight/data/PG_VERSION") end, { every = 0.001 })
    sh.run { "fallocate", "--length", tostring(12 * 1024 ^ 2 // 1 | 0), lab.info().folder .. "/more" }
  end)
  ok, e = pcall(pitr.restore, pg, { to = "latest", name = "tight" })
  pcall(filler.join, filler)
  fs.remove(lab.info().folder .. "/more")
end
assert(not ok, "it was restored")
healthy(13)
local restored = pitr.restore(pg, { to = "latest", name = "roomy" })
assert(restored:value "SELECT count(*) FROM log" == 13)
print "nothing lost"
err.raise(e)
"#;
    let Some((_, run)) = on_a_small_disk(script) else {
        return;
    };
    run.expect(12);
    run.says("nothing lost");
    run.says("disk_full");
    run.says("No space left on device");
}
