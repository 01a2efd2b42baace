//! Faults: every kind is seen and healed; and after SIGKILL of rpitr at random moments of a run that injects
//! faults its guardian heals them, at once and completely. `RPITR_TEST_SEED` repeats a run, `RPITR_TEST_GUARDIAN_KILLS` says how many moments (default 8).

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::{Bench, Running, entries, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Makes a cluster, says so, then injects faults, two at a time, until it is killed.
const LOOP: &str = r#"
local seed = tonumber(arg[1])
math.randomseed(seed)
local c = chaos.cluster {}
for _ = 1, 3 do
  c.primary:admin():exec "SELECT pg_logical_emit_message(true, 'test', 'x')"
  c.primary:flush_archive()
end
local function any(list)
  return list[math.random(#list)]
end
local function draw()
  local target = any { "primary", "standby" }
  local edge = any { "client", "standby" }
  return any {
    chaos.pause(target), chaos.pause(target), chaos.kill_tree(target), chaos.kill_postmaster(target),
    chaos.kill_backend(target), chaos.immediate(target), chaos.restart(target), chaos.crash_loop(target),
    chaos.isolate(target), chaos.latency(edge), chaos.cut_pair(edge),
    chaos.archive_fail { count = 100 }, chaos.archive_hang(), chaos.archive_lie { count = 5 },
    chaos.archive_partial { count = 5 }, chaos.archive_full(),
    chaos.segment_missing { pick = math.random() }, chaos.segment_truncated { pick = math.random() },
    chaos.segment_bitflip { pick = math.random() }, chaos.segment_zeroed { pick = math.random() },
  }
end
-- Which segment a fault hits is known when it strikes: it may be the one another fault has.
local function inject(fault)
  local ok, made = pcall(chaos.inject, c, fault)
  if not ok and made.code ~= "illegal" then
    error(made, 0)
  end
  return ok and made or nil
end
print("journal " .. chaos.journal())
print "ready"
while true do
  local first = chaos.inject(c, draw())
  local fault = draw()
  local second = chaos.legal(fault, chaos.active()) and inject(fault) or nil
  pcall(task.with_timeout, 1, function()
    c.primary:admin():exec "SELECT pg_logical_emit_message(true, 'test', 'x'); SELECT pg_switch_wal()"
  end)
  timer.sleep(math.random() * 0.5)
  if second then second:heal() end
  first:heal()
end
"#;

const AT_ONCE: u64 = 2;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = variable("RPITR_TEST_SEED").unwrap_or_else(|| u64::from(now.subsec_nanos()));
    println!("RPITR_TEST_SEED={seed}");
    seed
}

/// Starts the script and waits until its cluster stands; its journal.
fn start(bench: &Bench, script: &str, arguments: &[&str]) -> (Running, PathBuf) {
    let mut all = vec!["--keep", script];
    all.extend(arguments);
    let mut run = bench.start(&all);
    let journal = eventually("a cluster", || {
        assert!(!run.ended(), "{}", run.stderr());
        let said = run.stdout();
        let journal = said.lines().find_map(|line| line.strip_prefix("journal "));
        journal
            .filter(|_| said.contains("ready"))
            .map(PathBuf::from)
    });
    (run, journal)
}

/// The faults a journal says are there.
fn active(journal: &Path) -> Vec<String> {
    let text = fs::read_to_string(journal).unwrap_or_default();
    let lines: Vec<Value> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let healed = |seq: &Value| {
        let is = |line: &&Value| line["line"] == "healed" && line["seq"] == *seq;
        lines.iter().any(|line| is(&line))
    };
    lines
        .iter()
        .filter(|line| line["line"] == "began" && line["fault"]["kind"] != "proxy")
        .filter(|line| !healed(&line["seq"]))
        .map(|line| format!("{} of {}", line["fault"]["kind"], line["fault"]["target"]))
        .collect()
}

/// What is wrong with the lab right now, as anybody can see from outside: nothing, once everything is healed.
fn wrong(lab: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for node in ["primary", "standby"] {
        let data = lab.join(node).join("data");
        let file = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
        let line = |number: usize| file.lines().nth(number).unwrap_or_default().trim();
        let proc = Path::new("/proc").join(line(0));
        let serves =
            !line(0).is_empty() && fs::read_link(proc.join("cwd")).is_ok_and(|at| at == data);
        if !serves || line(7) != "ready" {
            found.push(format!("{node} is not up: {:?}", line(7)));
        }
        for path in entries(Path::new("/proc")) {
            let stands_still = || {
                let stat = fs::read_to_string(path.join("stat")).ok()?;
                let state = stat.rsplit(')').next()?.trim_start().chars().next()?;
                Some(state == 'T')
            };
            if fs::read_link(path.join("cwd")).is_ok_and(|at| at == data)
                && stands_still() == Some(true)
            {
                found.push(format!("{} of {node} stands still", path.display()));
            }
        }
    }
    let archive = lab.join("archive/1-primary");
    for path in entries(&lab.join("archive")) {
        if path != archive {
            found.push(format!("{} is there", path.display()));
        }
    }
    for path in entries(&archive) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name == ".rpitr-fault" || name.starts_with(".rpitr-lied.") {
            found.push(format!("{name} is there"));
        }
    }
    let conf = fs::read_to_string(lab.join("standby/data/rpitr.conf")).unwrap_or_default();
    let port = fs::read_to_string(lab.join("primary/data/postmaster.pid")).unwrap_or_default();
    let direct = format!("port={} ", port.lines().nth(3).unwrap_or("?"));
    if !conf.contains(&direct) {
        found.push("the standby follows a proxy that is gone".to_string());
    }
    found
}

/// What is wrong with the archive, file by file.
fn damaged(lab: &Path) -> Vec<String> {
    let archive = lab.join("archive/1-primary");
    let findings = rpitr::archive::verify(&archive, None, None).unwrap();
    findings
        .iter()
        .map(|finding| format!("{finding:?}"))
        .collect()
}

/// Polls until nothing is wrong with the lab; how long that took.
fn until_right(lab: &Path, context: &dyn Fn() -> String) -> Duration {
    let began = Instant::now();
    loop {
        let found = wrong(lab);
        if found.is_empty() {
            return began.elapsed();
        }
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "{found:#?}\n{}",
            context()
        );
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until the guardian has proved that all is well: the primary takes writes, the standby streams, the
/// archiver advances, no partial segment is left. Then its journal is gone.
fn until_proved(journal: &Path) {
    let began = Instant::now();
    while journal.exists() {
        let said = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        assert!(
            began.elapsed() < Duration::from_secs(120),
            "{}\n{}",
            said(journal),
            said(&journal.with_extension("log"))
        );
        thread::sleep(Duration::from_millis(10));
    }
}

fn lab_of(bench: &Bench, journal: &Path) -> PathBuf {
    bench.state.join("labs").join(journal.file_stem().unwrap())
}

/// Removes the lab; nothing may be left.
fn clean_up(bench: &Bench) {
    let ports = bench.ports();
    bench.run(&["lab", "gc", "--all"]).expect(0);
    bench.assert_clean(&ports);
}

/// One kill: what was there, and how long it took to heal.
fn kill_once(bench: &Bench, script: &str, seed: u64, delay: Duration) -> (Vec<String>, Duration) {
    let (mut run, journal) = start(bench, script, &[&seed.to_string()]);
    let lab = lab_of(bench, &journal);
    thread::sleep(delay);
    assert!(!run.ended(), "{}", run.stderr());
    run.signal(Signal::SIGKILL);
    let began = Instant::now();
    let faults = active(&journal);
    until_right(&lab, &|| format!("{faults:?}\n{}", bench.logs()));
    let healed = began.elapsed();
    run.finish();
    until_proved(&journal);
    assert!(wrong(&lab).is_empty(), "{faults:?} left {:?}", wrong(&lab));
    assert!(
        damaged(&lab).is_empty(),
        "{faults:?} left {:?}",
        damaged(&lab)
    );
    bench.run(&["chaos", "heal"]).says("nothing to heal");
    clean_up(bench);
    (faults, healed)
}

#[test]
fn every_kind_is_seen_and_healed() {
    let bench = Bench::new();
    let suite = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/lua/faults/faults_test.lua"
    );
    let done = bench.run(&["test", suite]);
    assert_eq!(done.code, Some(0), "{}\n{}", done.stdout, done.stderr);
    done.says(" passed, 0 failed");
    bench.assert_clean(&[]);
}

#[test]
fn a_killed_run_is_healed_by_its_guardian() {
    let seed = seed();
    let kills = variable("RPITR_TEST_GUARDIAN_KILLS").unwrap_or(8);
    let worker = |worker: u64| {
        let bench = Bench::new();
        let script = bench.script("loop.lua", LOOP);
        let mine = (0..kills).filter(|kill| kill % AT_ONCE == worker);
        let done = mine.map(|kill| {
            let delay = Duration::from_micros(seed.wrapping_mul(kill + 7) % 3_000_000);
            let (faults, took) = kill_once(&bench, &script, seed.wrapping_add(kill), delay);
            println!("kill {kill}: {faults:?} healed in {took:?}");
            (!faults.is_empty(), took)
        });
        done.collect::<Vec<_>>()
    };
    let all: Vec<(bool, Duration)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE)
            .map(|id| scope.spawn(move || worker(id)))
            .collect();
        workers
            .into_iter()
            .flat_map(|done| done.join().unwrap())
            .collect()
    });
    let struck = all.iter().filter(|(struck, _)| *struck).count();
    let mut took: Vec<Duration> = all.iter().map(|(_, took)| *took).collect();
    took.sort();
    println!(
        "{kills} kills, {struck} while a fault was there: healed in p50 {:?}, max {:?}",
        took[took.len() / 2],
        took[took.len() - 1]
    );
    assert!(
        struck as u64 >= kills / 2,
        "only {struck} runs were killed while a fault was there"
    );
}

/// Two faults that stay.
const TWO: &str = r#"
local c = chaos.cluster {}
c.primary:flush_archive()
print("journal " .. chaos.journal())
chaos.inject(c, chaos.pause "standby")
chaos.inject(c, chaos.segment_missing { pick = 0 })
print "ready"
timer.sleep "10m"
"#;

/// The guardian of a journal, as the journal says.
fn guardian(journal: &Path) -> Pid {
    let text = fs::read_to_string(journal).unwrap();
    let lines = text
        .lines()
        .rev()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let pid = lines
        .filter(|line| line["line"] == "guardian")
        .find_map(|line| line["process"]["pid"].as_i64());
    Pid::from_raw(pid.unwrap() as i32)
}

#[test]
fn chaos_heal_heals_where_the_guardian_died_too() {
    let bench = Bench::new();
    let script = bench.script("two.lua", TWO);
    let (run, journal) = start(&bench, &script, &[]);
    let lab = lab_of(&bench, &journal);
    kill(guardian(&journal), Signal::SIGKILL).unwrap();
    run.signal(Signal::SIGKILL);
    run.finish();
    assert_eq!(active(&journal).len(), 2);
    let before = wrong(&lab);
    assert!(
        before.iter().any(|what| what.contains("stands still")),
        "{before:?}"
    );
    let heal = bench.run(&["chaos", "heal"]);
    heal.expect(0);
    for said in [
        "pause of standby healed",
        "segment_missing of primary healed",
        "proxy of standby healed",
    ] {
        heal.says(said);
    }
    assert_eq!(wrong(&lab), Vec::<String>::new());
    assert_eq!(damaged(&lab), Vec::<String>::new());
    bench.run(&["chaos", "heal"]).says("nothing to heal");
    bench
        .run(&["chaos", "heal", "--journal", "/nowhere"])
        .expect(2);
    clean_up(&bench);
}

/// A fault that outlives its time, a guardian that dies before its rpitr does, and rpitr that kills itself.
const STAGES: &str = r#"
local c = chaos.cluster {}
c.primary:flush_archive()
print("journal " .. chaos.journal())
local undo = chaos.inject(c, chaos.pause "standby", { ttl = "300ms" })
eventually(function() return c.standby:status() == "standby" end, { timeout = "60s" })
undo:heal()
assert(#chaos.active() == 0)
for line in io.open(chaos.journal()):lines() do
  local said = json.decode(line)
  if said.line == "guardian" then sh.run { "kill", "-9", tostring(said.process.pid) } end
end
chaos.inject(c, chaos.segment_missing { pick = 0 })
chaos.inject(c, chaos.pause "primary")
print "ready"
chaos.inject(c, chaos.kill_orchestrator())
"#;

#[test]
fn time_runs_out_guardians_are_replaced_and_rpitr_may_kill_itself() {
    let bench = Bench::new();
    let script = bench.script("stages.lua", STAGES);
    let run = bench.run(&["--keep", &script]);
    assert_eq!(run.code, None, "{run:?}");
    run.says("ready");
    let journal = run
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix("journal "))
        .unwrap();
    let journal = PathBuf::from(journal);
    let lab = lab_of(&bench, &journal);
    until_right(&lab, &|| format!("{run:?}"));
    until_proved(&journal);
    assert_eq!(damaged(&lab), Vec::<String>::new());
    clean_up(&bench);
}
