//! Faults of nodes in containers: each is seen, healed and proved; and when rpitr dies, its guardian heals.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::bench::{Bench, docker, text};

/// A cluster, and what goes wrong with it: each fault is seen, healed and proved.
const FAULTS: &str = r#"
local c = chaos.cluster { version = 15 }
local pg, standby = c.primary, c.standby
for _ = 1, 2 do
  pg:admin():exec "SELECT pg_logical_emit_message(true, 'test', 'x')"
  pg:flush_archive()
end
local function with(fault, look)
  local undo <close> = chaos.inject(c, fault)
  if look then look(undo) end
  for _, check in ipairs(undo:heal().checks) do
    test.equal(check.ok, true, check.name .. " after " .. fault.kind .. ": " .. check.detail)
  end
  print(fault.kind, fault.target)
end
local function unreachable()
  -- A cable that is pulled: the engine's own proxy for published ports may refuse, or hang.
  local reached = pcall(task.with_timeout, "1s", function() pg:connect():value "SELECT 1" end)
  test.equal(reached, false)
end
local function burn()
  local before = pg:value "SELECT archived_count + failed_count FROM pg_stat_archiver"
  pg:admin():exec "SELECT pg_logical_emit_message(true, 'test', 'x')"
  local name = pg:value "SELECT pg_walfile_name(pg_switch_wal())"
  eventually(function() return pg:value "SELECT archived_count + failed_count FROM pg_stat_archiver" > before end, { timeout = "150s", describe = "a push of " .. name .. " after " .. before })
  return pg.archive .. "/" .. name
end
with(chaos.pause "primary", function() test.equal(pg:status(), "paused") end)
with(chaos.kill_tree "primary", function() test.equal(pg:status(), "crashed") end)
with(chaos.kill_postmaster "standby")
with(chaos.kill_backend "primary")
with(chaos.isolate "primary", unreachable)
with(chaos.isolate "standby", function()
  pg:admin():exec "SELECT pg_logical_emit_message(true, 'test', 'x')"
  test.ok(standby.handle)
end)
with(chaos.cut_pair "standby", function() local db <close> = pg:connect() end)
with(chaos.ack_loss "client", function()
  local db = pg:connect()
  db:exec "CREATE TABLE kept (n int)"
  test.raises(function() db:tx(function() db:exec "INSERT INTO kept VALUES (1)" end) end, { kind = "sql" })
  test.equal(pg:value "SELECT n FROM kept", 1)
end)
local lost
with(chaos.archive_lie(), function() lost = burn(); test.equal(fs.exists(lost), false) end)
test.equal(#fs.read(lost), 1024 * 1024)
with(chaos.archive_partial(), function() lost = burn(); test.equal(#fs.read(lost), 65536) end)
test.equal(#fs.read(lost), 1024 * 1024)
local whole = fs.sha256(lost)
with(chaos.segment_bitflip { pick = 1 }, function(undo) test.ok(fs.sha256(undo.path) ~= whole) end)
test.equal(fs.sha256(lost), whole)
test.raises(function() lab.postgres { name = "clocked", clock = true } end, { kind = "environment", code = "no_faketime" })
-- Now rpitr dies, and what is there is healed by its guardian.
chaos.inject(c, chaos.isolate "primary")
chaos.inject(c, chaos.pause "standby")
print("journal " .. chaos.journal())
chaos.inject(c, chaos.kill_orchestrator())
"#;

#[test]
fn faults_are_healed_in_containers_too() {
    let Some(bench) = Bench::new() else { return };
    let script = bench.dir.join("faults.lua");
    std::fs::write(&script, FAULTS).unwrap();
    let run = bench.rpitr(&["--keep"]).arg(&script).output().unwrap();
    let said = text(&run);
    assert_eq!(run.status.code(), None, "killed itself: {said}");
    let journal = said.lines().find_map(|line| line.strip_prefix("journal "));
    let journal = PathBuf::from(journal.expect(&said));
    let deadline = Instant::now() + Duration::from_secs(300);
    while journal.exists() {
        let text = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
        let log = journal.with_extension("log");
        assert!(
            Instant::now() < deadline,
            "{}\n{}",
            text(&journal),
            text(&log)
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    let label = format!("label=rpitr.state={}", bench.state().display());
    let paused = ["ps", "-q", "--filter", &label, "--filter", "status=paused"];
    assert_eq!(text(&docker(&paused)), "");
    let healed = bench.rpitr(&["chaos", "heal"]).output().unwrap();
    assert!(
        text(&healed).contains("nothing to heal"),
        "{}",
        text(&healed)
    );
}
