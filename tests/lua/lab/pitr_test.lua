-- Point-in-time recovery on a real server: backups, plans, every kind of target, the proof.

local support = require "support"

-- Backup "first", commits 1 to 3, backup "second", commits 4 to 6, and a commit after them.
local history = support.once(function()
  local pg = support.primary()
  local db <close> = pg:connect()
  db:exec "CREATE TABLE log (n int PRIMARY KEY, filler text)"
  local h = { pg = pg, commits = {} }
  h.start = db:value "SELECT clock_timestamp()"
  h.early = support.commit(db, 0)
  h.first = pitr.backup(pg, { label = "first" })
  for n = 1, 3 do
    h.commits[n] = support.commit(db, n)
  end
  h.second = pitr.backup(pg, { label = "second" })
  for n = 4, 6 do
    h.commits[n] = support.commit(db, n)
    if n == 5 then
      db:exec "SELECT pg_create_restore_point('after-five')"
    end
  end
  h.parent = db:tx(function()
    db:exec "SAVEPOINT a"
    h.subxact = db:value "INSERT INTO log VALUES (7) RETURNING xmin::text::bigint"
    db:exec "RELEASE a"
    return db:value "SELECT pg_current_xact_id()"
  end)
  for _ = 1, 2 do
    db:exec "SELECT pg_create_restore_point('twice')"
  end
  pg:flush_archive()
  for n = 1, 6 do
    local commit = pitr.commit_of(pg, h.commits[n].xid)
    h.commits[n].lsn, h.commits[n].end_lsn, h.commits[n].time = commit.lsn, commit.end_lsn, commit.time
  end
  return h
end)

local function restored_rows(to, options)
  options = options or {}
  options.to = to
  local node <close> = support.restore(history().pg, options)
  return support.rows(node), node
end

test.describe("backup", function()
  test.it("has a range, times, a size, and is found in the catalogue, oldest first", function()
    local h = history()
    local list = pitr.catalog(h.pg)
    test.equal({ list[1].label, list[2].label, list[3] }, { "first", "second" })
    local b = list[1]
    test.ok(b.start_lsn < b.stop_lsn and b.stop_lsn < list[2].start_lsn)
    test.ok(h.early.after < b.start_time and b.start_time < b.stop_time and b.stop_time < h.commits[1].after)
    test.equal(b.timeline, 1)
    test.ok(b.bytes > 10e6 and b.files > 500)
    test.equal(b.system_id, h.pg:value "SELECT system_identifier::text FROM pg_control_system()")
  end)

  test.it("a label is used once", function()
    test.raises(function()
      pitr.backup(history().pg, { label = "first" })
    end, { kind = "arg", match = '"first"' })
  end)

  test.it("a label that would leave the folder is refused", function()
    for _, label in ipairs { "../up", "a/b", "", ".", ".." } do
      test.raises(function()
        pitr.backup(history().pg, { label = label })
      end, { kind = "arg", match = "label" })
    end
  end)

  test.it("of a server that archives nothing is refused", function()
    local silent = setmetatable({ archive = false }, { __index = history().pg })
    test.raises(function()
      pitr.backup(silent)
    end, { kind = "state", match = "does not archive" })
  end)

  test.it("whose file was changed is not restored", function()
    local h = history()
    support.while_damaged(h.first.folder .. "/global/pg_control", function(path)
      support.patch(path, 0, "\xFF\xFF\xFF\xFF")
    end, function()
      local e = test.raises(function()
        support.restore(h.pg, { to = { lsn = h.commits[2].lsn }, name = "broken-backup" })
      end, { kind = "archive", code = "backup_damaged", match = "first" })
      test.ok(e.detail:find("global/pg_control", 1, true), e.detail)
    end)
    test.equal(support.processes "broken-backup", {})
  end)
end)

test.describe("plan", function()
  test.it("says what a restore would do and writes nothing", function()
    local h = history()
    local before = support.tree(lab.info().folder .. "/backup") .. support.tree(h.pg.archive)
    local nodes = #fs.list(lab.info().folder)
    local plan = pitr.plan(h.pg, { to = { xid = h.commits[5].xid } })
    test.equal(plan.backup.label, "second")
    test.equal(plan.timeline, 1)
    test.equal(plan.stop.last_commit.xid, h.commits[5].xid)
    test.equal(plan.stop.next_commit.xid, h.commits[6].xid)
    test.ok(plan.wal_files >= 1 and plan.wal_bytes == plan.wal_files * 1024 ^ 2)
    test.ok(plan.first_wal <= plan.last_wal)
    test.ok(plan.bytes_needed > plan.backup.bytes and plan.bytes_free > plan.bytes_needed)
    test.equal(support.tree(lab.info().folder .. "/backup") .. support.tree(h.pg.archive), before)
    test.equal(#fs.list(lab.info().folder), nodes)
  end)

  test.it("chooses the newest backup that ends before the target", function()
    local h = history()
    for n, label in ipairs { "first", "first", "first", "second", "second" } do
      test.equal(pitr.plan(h.pg, { to = { lsn = h.commits[n].lsn } }).backup.label, label, "commit " .. n)
      test.equal(pitr.plan(h.pg, { to = { time = h.commits[n].after } }).backup.label, label, "time after " .. n)
      test.equal(pitr.plan(h.pg, { to = { xid = h.commits[n].xid } }).backup.label, label, "xid of " .. n)
    end
    test.equal(pitr.plan(h.pg, { to = "latest" }).backup.label, "second")
    test.equal(pitr.plan(h.pg, { to = "immediate" }).backup.label, "second")
    test.equal(pitr.plan(h.pg, { to = "latest", backup = "first" }).backup.label, "first")
  end)

  test.it("shows the window that can be recovered", function()
    local h = history()
    local window = pitr.window(h.pg)
    test.equal(window.from_lsn, h.first.stop_lsn)
    test.equal(window.from_time, h.first.stop_time)
    test.ok(window.to_lsn > h.commits[6].end_lsn)
    test.ok(window.to_time > h.commits[6].time)
  end)
end)

test.describe("restore", function()
  test.it("to a time: commits up to it, the same instant included or not", function()
    local h = history()
    test.equal(restored_rows { time = h.commits[2].after }, "0 1 2")
    test.equal(restored_rows { time = h.commits[4].time, inclusive = true }, "0 1 2 3 4")
    test.equal(restored_rows { time = h.commits[4].time, inclusive = false }, "0 1 2 3")
  end)

  test.it("to a transaction: with it or up to it", function()
    local h = history()
    test.equal(restored_rows { xid = h.commits[5].xid }, "0 1 2 3 4 5")
    test.equal(restored_rows { xid = h.commits[5].xid, inclusive = false }, "0 1 2 3 4")
  end)

  test.it("to a position: the record that starts there, or up to it", function()
    local h = history()
    test.equal(restored_rows { lsn = h.commits[5].lsn, inclusive = true }, "0 1 2 3 4 5")
    test.equal(restored_rows(pitr.before(h.commits[5])), "0 1 2 3 4")
    test.equal(restored_rows("lsn:" .. tostring(h.commits[1].end_lsn)), "0 1")
  end)

  test.it("to a restore point, to the end of the backup, to the end of the archive", function()
    test.equal(restored_rows { name = "after-five" }, "0 1 2 3 4 5")
    test.equal(restored_rows("immediate", { backup = "first" }), "0")
    test.equal(restored_rows "latest", "0 1 2 3 4 5 6 7")
  end)

  test.it("leaves a server that is open for writing, on a timeline of its own, and says why it stopped", function()
    local h = history()
    local node <close> = support.restore(h.pg, { to = pitr.before(h.commits[6]) })
    test.equal(node:status(), "running")
    test.equal(node:timeline(), 2)
    node:admin():exec "INSERT INTO log VALUES (100)"
    local p = node.proof
    test.equal(p.asked, "lsn " .. tostring(h.commits[6].lsn) .. " (exclusive)")
    test.equal(p.backup, "second")
    test.equal(p.reached_lsn, h.commits[6].lsn)
    test.equal(p.expected_lsn, h.commits[6].lsn)
    test.equal(p.last_commit.xid, h.commits[5].xid)
    test.equal(p.next_commit.xid, h.commits[6].xid)
    test.equal({ p.parent_timeline, p.timeline }, { 1, 2 })
    test.ok(p.restored_files >= 1)
    test.ok(p.server_says:find(tostring(h.commits[6].lsn), 1, true), p.server_says)
    local text = pitr.describe(node)
    for _, part in ipairs { "asked:", "timeline 1 -> 2", "backup second", "transaction " .. h.commits[6].xid } do
      test.ok(text:find(part, 1, true), text)
    end
    test.equal(support.rows(h.pg), "0 1 2 3 4 5 6 7", "the original")
  end)

  test.it("paused: look, move on, never back, then promote", function()
    local h = history()
    local node <close> = support.restore(h.pg, { to = { xid = h.commits[4].xid }, action = "pause" })
    test.equal(node:status(), "standby")
    test.equal(support.rows(node), "0 1 2 3 4")
    test.equal(node.proof.timeline, 1)
    test.raises(function()
      node:admin():exec "INSERT INTO log VALUES (100)"
    end, { kind = "sql", code = "25006" })

    pitr.nudge(node, { to = { name = "after-five" } })
    test.equal(support.rows(node), "0 1 2 3 4 5")
    test.equal(node.proof.last_commit.xid, h.commits[5].xid)

    test.raises(function()
      pitr.nudge(node, { to = { xid = h.commits[4].xid } })
    end, { kind = "arg", code = "backwards", match = "already replayed", hint = "restore again" })
    test.equal(support.rows(node), "0 1 2 3 4 5", "after a refused nudge")

    pitr.promote(node)
    node:admin():exec "INSERT INTO log VALUES (100)"
    test.equal(support.rows(node), "0 1 2 3 4 5 100")
    test.equal({ node.proof.parent_timeline, node.proof.timeline }, { 1, 2 })
    test.raises(function()
      pitr.nudge(node, { to = "latest" })
    end, { kind = "state", match = "not a paused restore" })
  end)

  test.it("shut down at the target, it can be started and goes on to promote", function()
    local h = history()
    local node <close> = support.restore(h.pg, { to = { xid = h.commits[5].xid }, action = "shutdown" })
    test.equal(node:status(), "stopped")
    test.equal(node.proof.reached_lsn, node.proof.expected_lsn)
    node:write_conf { recovery_target_action = "promote" }
    node:start { wait = "ready" }
    test.equal(support.rows(node), "0 1 2 3 4 5")
  end)

  test.it("twice without a name makes two servers", function()
    local h = history()
    local a <close> = pitr.restore(h.pg, { to = "immediate", action = "shutdown" })
    local b <close> = pitr.restore(h.pg, { to = "immediate", action = "shutdown" })
    test.ok(a.name ~= b.name)
  end)
end)

test.describe("refuses", function()
  local function refused(to, expected)
    local nodes = #fs.list(lab.info().folder)
    local e = test.raises(function()
      pitr.restore(history().pg, { to = to })
    end, expected)
    test.equal(#fs.list(lab.info().folder), nodes, "folders in the lab")
    return e
  end

  test.it("a target before the first backup, and says which are in reach", function()
    local h = history()
    for _, to in ipairs { { time = h.start }, { time = h.early.after }, { lsn = "0/100028" } } do
      local e = refused(to, { kind = "archive", code = "no_backup_fits" })
      test.ok(e.detail:find(tostring(h.first.stop_lsn), 1, true) and e.detail:find("first", 1, true), e.detail)
    end
    refused(
      { xid = h.early.xid },
      { kind = "wal", code = "not_reached", match = "xid " .. h.early.xid .. ".*from backup first" }
    )
  end)

  test.it("a target after the last archived commit, and says where the WAL ends", function()
    local h = history()
    local e = refused({ time = time.now() + 3600 }, { kind = "wal", code = "not_reached", match = "the WAL ends at" })
    test.ok(e.detail:find("transaction " .. h.parent, 1, true), e.detail)
    refused({ lsn = "7/0" }, { kind = "wal", code = "not_reached" })
    refused({ xid = h.parent + 1000 }, { kind = "wal", code = "not_reached" })
    e = refused(
      { name = "never-made" },
      { kind = "wal", code = "not_reached", match = "never%-made, from backup first" }
    )
    test.ok(e.detail:find("after-five", 1, true), e.detail)
  end)

  test.it("a time without its offset", function()
    for _, to in ipairs { "2026-11-21 05:00:00", "yesterday", "05:00", "2026-13-45 00:00:00Z" } do
      refused({ time = to }, { kind = "arg" })
    end
    refused("2026-11-21 05:00:00", { kind = "arg", match = "offset" })
  end)

  test.it("garbage for a transaction id or a position", function()
    for _, to in ipairs { "12x", "", "0x10", "010", "-5", "2", "99999999999999999999", 1.5, true } do
      refused({ xid = to }, { kind = "arg", match = "transaction id" })
    end
    for _, to in ipairs { "0-16B3748", "G/0", "0/", "/0", "1/123456789", "", 7 } do
      refused({ lsn = to }, { kind = "arg", match = "LSN" })
    end
  end)

  test.it("a subtransaction, and names the transaction it belongs to", function()
    local h = history()
    refused({ xid = h.subxact }, { kind = "wal", code = "subtransaction", hint = tostring(h.parent) })
  end)

  test.it("a restore point that exists twice, and shows where both are", function()
    local e = refused(
      { name = "twice" },
      { kind = "wal", code = "ambiguous_name", match = '2 restore points are named "twice"' }
    )
    test.ok(e.message:match "%x+/%x+, %x+/%x+", e.message)
  end)

  test.it("no target, two targets, an unknown one", function()
    refused({}, { kind = "arg", match = "needs one of" })
    refused({ lsn = "0/3000000", xid = 800 }, { kind = "arg", match = "only one of" })
    refused({ tiem = "2026-11-21 05:00:00Z" }, { kind = "arg", hint = "time" })
    refused({ latest = true, immediate = true }, { kind = "arg", match = "only one of" })
  end)

  test.it("a timeline without a history, a backup that does not exist", function()
    local h = history()
    refused({ xid = h.commits[5].xid, timeline = 9 }, { kind = "wal", match = "timeline 9" })
    test.raises(function()
      pitr.restore(h.pg, { to = "latest", backup = "frist" })
    end, { kind = "arg", match = "frist", hint = "first" })
  end)
end)
