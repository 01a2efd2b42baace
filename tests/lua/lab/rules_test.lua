-- The rules of PostgreSQL's recovery that are easy to get wrong, most of them silently. Each test
-- fails when rpitr stops handling its rule.

local support = require "support"

local RAISED = {
  max_connections = 150,
  max_worker_processes = 12,
  max_wal_senders = 15,
  max_prepared_transactions = 20,
  max_locks_per_transaction = 100,
}

-- What a server may carry in its own files when it is backed up.
local STALE = {
  recovery_target_time = "'2000-01-01 00:00:00+00'",
  recovery_target_action = "'shutdown'",
  restore_command = "'false'",
  primary_conninfo = "'host=192.0.2.1 password=hunter2'",
  primary_slot_name = "'nobody'",
  archive_cleanup_command = "'touch cleaned-up'",
  recovery_end_command = "'touch ended'",
  synchronous_standby_names = "'ghost'",
}

-- A primary with raised limits and stale settings, a quiet backup "quiet", then commits 1 to 4.
local history = support.once(function()
  local pg = support.primary { conf = RAISED }
  local db <close> = pg:connect()
  db:exec "CREATE TABLE log (n int PRIMARY KEY, filler text)"
  support.commit(db, 0)
  for name, value in pairs(STALE) do
    db:exec(("ALTER SYSTEM SET %s = %s"):format(name, value))
  end
  local h = { pg = pg, commits = {} }
  h.before_backup = db:value "SELECT clock_timestamp()"
  h.base = pitr.backup(pg, { label = "quiet" })
  for name in pairs(STALE) do
    db:exec("ALTER SYSTEM RESET " .. name)
  end
  for n = 1, 4 do
    h.commits[n] = support.commit(db, n)
    h.commits[n].segment = n == 2 and pg:flush_archive() or nil
    db:exec "SELECT pg_create_restore_point('same')"
  end
  -- An older transaction that commits later, and one that aborts.
  local early <close> = pg:connect()
  early:exec "BEGIN"
  h.older = early:value "INSERT INTO log VALUES (10) RETURNING xmin::text::bigint"
  h.newer = support.commit(db, 11)
  early:exec "COMMIT"
  db:exec "BEGIN"
  h.aborted = db:value "INSERT INTO log VALUES (12) RETURNING xmin::text::bigint"
  db:exec "ROLLBACK"
  h.last = support.commit(db, 13)
  pg:flush_archive()
  return h
end)

local function to_commit(n, options)
  options = options or {}
  options.to = { xid = history().commits[n].xid }
  return support.restore(history().pg, options)
end

test.describe("rule 2: settings left in the backed-up server", function()
  test.it("do not reach the restored one", function()
    local h = history()
    local kept = fs.read(h.base.folder .. "/postgresql.auto.conf")
    for name in pairs(STALE) do
      test.ok(kept:find(name, 1, true), name .. " is not in the backup: the test tests nothing")
    end
    local node <close> = to_commit(2, { action = "pause" })
    test.equal(support.rows(node), "0 1 2")
    for name in pairs(STALE) do
      local value = node:setting(name)
      if name == "restore_command" then
        test.ok(value:find("archive-fetch", 1, true), value)
      else
        test.equal(value, name == "recovery_target_action" and "pause" or "", name)
      end
    end
    local listed = table.concat(node.scrubbed, "\n")
    for name in pairs(STALE) do
      test.ok(listed:find(name, 1, true), name .. " is not in the list of what was removed")
    end
    test.ok(not listed:find("hunter2", 1, true), "a password is shown")
  end)
end)

test.describe("rule 3: what the server runs with is read back", function()
  test.it("a setting that beats the target is noticed, and the server is not left running", function()
    local h = history()
    local node <close> = to_commit(2, { action = "pause" })
    -- PostgreSQL reads this file last.
    fs.append(node.data .. "/postgresql.auto.conf", "recovery_target_inclusive = off\n")
    test.raises(function()
      pitr.nudge(node, { to = { xid = h.commits[4].xid } })
    end, { kind = "verify", code = "recovery_proof", match = "recovery_target_inclusive = 'off', asked was 'on'" })
    test.equal(support.processes("/" .. node.name .. "/"), {})
  end)
end)

test.describe("rules 4 and 5: a target that is not reached", function()
  test.it("is refused before anything is started: no commit lies behind the time", function()
    local h = history()
    test.raises(function()
      pitr.plan(h.pg, { to = { time = h.last.after + 1 } })
    end, { kind = "wal", code = "not_reached" })
  end)

  test.it("a commit at the very time is in with inclusive, out without", function()
    local h = history()
    local commit = pitr.commit_of(h.pg, h.commits[3].xid)
    local with = pitr.plan(h.pg, { to = { time = commit.time, inclusive = true } })
    local without = pitr.plan(h.pg, { to = { time = commit.time, inclusive = false } })
    test.equal(with.stop.last_commit.xid, h.commits[3].xid)
    test.equal(without.stop.last_commit.xid, h.commits[2].xid)
  end)
end)

test.describe("rule 6: a target before the backup's end", function()
  test.it("is refused although nothing committed during the backup", function()
    local h = history()
    for _, to in ipairs {
      { time = h.before_backup },
      { time = "2001-01-01 00:00:00Z" },
      { lsn = h.base.start_lsn },
      { lsn = h.base.start_lsn, inclusive = false },
    } do
      local e = test.raises(function()
        pitr.restore(h.pg, { to = to })
      end, { kind = "archive", code = "no_backup_fits" })
      test.ok(e.detail:find(tostring(h.base.stop_lsn), 1, true), e.detail)
    end
  end)
end)

test.describe("rule 7: nudging", function()
  test.it("goes forward only, also to a time between two commits that were replayed", function()
    local h = history()
    local node <close> = to_commit(3, { action = "pause" })
    test.raises(function()
      pitr.nudge(node, { to = { time = h.commits[1].after } })
    end, { kind = "arg", code = "backwards" })
    pitr.nudge(node, { to = { time = h.commits[4].after } })
    test.equal(support.rows(node), "0 1 2 3 4")
  end)
end)

test.describe("rule 8: transactions in the order of their commits", function()
  test.it("the older one, which commits later, includes the newer one", function()
    local h = history()
    test.ok(h.older < h.newer.xid)
    local node <close> = support.restore(h.pg, { to = { xid = h.older } })
    test.equal(support.rows(node), "0 1 2 3 4 10 11")
    local other <close> = support.restore(h.pg, { to = { xid = h.newer.xid } })
    test.equal(support.rows(other), "0 1 2 3 4 11")
  end)

  test.it("one that was rolled back is a target, too", function()
    local h = history()
    local node <close> = support.restore(h.pg, { to = { xid = h.aborted } })
    test.equal(support.rows(node), "0 1 2 3 4 10 11")
    test.equal(node.proof.next_commit.xid, h.last.xid)
  end)

  test.it("one that never was is refused", function()
    test.raises(function()
      pitr.plan(history().pg, { to = { xid = 4000000000 } })
    end, { kind = "wal", code = "not_reached" })
  end)
end)

test.describe("rule 9: a restore point's name that exists more than once", function()
  test.it("is refused with all positions", function()
    local e = test.raises(function()
      pitr.plan(history().pg, { to = { name = "same" } })
    end, { kind = "wal", code = "ambiguous_name" })
    local _, positions = e.message:gsub("%x+/%x+", "")
    test.equal(positions, 4)
  end)
end)

test.describe("rule 10: pause", function()
  test.it("is a hot standby one can look at, and opening it is a step of its own", function()
    local node <close> = to_commit(2, { action = "pause" })
    test.equal(node:value "SELECT pg_get_wal_replay_pause_state()", "paused")
    test.equal(node:value "SELECT pg_is_in_recovery()", true)
    pitr.promote(node)
    test.equal(node:value "SELECT pg_is_in_recovery()", false)
    test.equal(support.rows(node), "0 1 2")
  end)

  test.it("needs hot_standby: a restore that switches it off is refused", function()
    test.raises(function()
      to_commit(2, { action = "pause", conf = { hot_standby = "off" } })
    end, { kind = "arg", match = "hot_standby" })
  end)
end)

test.describe("rule 11: limits of the primary", function()
  test.it("hold for the restored server, whatever it is asked to run with", function()
    local node <close> = to_commit(2, { action = "pause" })
    for name, value in pairs(RAISED) do
      test.ok(tonumber(node:setting(name)) >= value, name .. " = " .. node:setting(name))
    end
  end)

  test.it("are not undercut by what the caller sets", function()
    local node <close> = to_commit(2, { action = "pause", conf = { max_connections = 20 } })
    test.equal(node:setting "max_connections", "150")
  end)
end)

test.describe("rules 12 and 13: a gap in the archive", function()
  test.it("is not hidden by the WAL that came with the backup", function()
    local h = history()
    -- The segment that holds the backup's own WAL is in its pg_wal, too.
    local own = fs.list(h.base.folder .. "/pg_wal")
    local segment = own[1]
    test.ok(segment:match "^%x+$" and fs.exists(h.pg.archive .. "/" .. segment), segment)
    support.while_damaged(h.pg.archive .. "/" .. segment, fs.remove, function()
      local e = test.raises(function()
        to_commit(2)
      end, { kind = "wal" })
      test.ok((e.message .. (e.detail or "")):find(segment, 1, true), e.message)
    end)
    fs.write(h.base.folder .. "/pg_wal/leftover", "")
    local node <close> = to_commit(2)
    test.ok(not fs.exists(node.data .. "/pg_wal/leftover"), "the backup's pg_wal was copied")
  end)

  test.it("archive-fetch says 1 for what does not exist and 255 for what it cannot vouch for", function()
    local h = history()
    local node <close> = to_commit(4, { action = "pause" })
    local function fetch(name)
      return support.fetch(node, name, node.data .. "/../fetched").code
    end
    local last = h.commits[2].segment
    test.equal(fetch(last), 0)
    test.equal(fetch "0000000100000009000000FF", 1)
    test.equal(fetch "00000009.history", 1)
    support.while_damaged(h.pg.archive .. "/" .. last, fs.remove, function()
      test.equal(fetch(last), 255)
    end)
    support.while_damaged(h.pg.archive .. "/" .. last, function(path)
      support.patch(path, (pitr.commit_of(h.pg, h.commits[2].xid).lsn - lsn "0/0") % (1024 * 1024) + 30, "damage")
    end, function()
      test.equal(fetch(last), 255)
    end)
  end)
end)

test.describe("rule 14: the timeline", function()
  test.it("is a number in the plan, in the settings and in the proof", function()
    local node <close> = to_commit(2, { action = "pause" })
    test.equal(node.plan.timeline, 1)
    test.equal(node:setting "recovery_target_timeline", "1")
    test.ok(pitr.describe(node):find("timeline 1", 1, true))
  end)
end)

test.describe("rule 20: the archive", function()
  test.it("takes the same content again and refuses another", function()
    local h = history()
    local name = h.commits[2].segment
    local before = support.tree(h.pg.archive)
    local again = support.push(h.pg, h.pg.archive .. "/" .. name, name)
    test.equal(again.code, 0, again.stderr)
    local other = h.pg.data .. "/../other"
    h.pg:exec { "cp", h.pg.archive .. "/" .. name, other }
    support.patch(other, 9000, "another")
    local refused = support.push(h.pg, other, name)
    test.equal(refused.code, 1)
    test.ok(refused.stderr:find(name, 1, true) and refused.stderr:find("different", 1, true), refused.stderr)
    test.equal(support.tree(h.pg.archive), before)
  end)
end)

test.describe("rules 21, 24 and 25: quarantine", function()
  test.it("a restored server archives nothing, follows nobody, listens on a private socket", function()
    local node <close> = to_commit(3)
    local quarantine = {
      archive_mode = "off",
      archive_command = "(disabled)",
      primary_conninfo = "",
      primary_slot_name = "",
      synchronous_standby_names = "",
      archive_cleanup_command = "",
      recovery_end_command = "",
    }
    for name, value in pairs(quarantine) do
      test.equal(node:setting(name), value, name)
    end
    test.equal(support.reaches(history().pg, node), false)
    if lab.info().runtime == "local" then
      test.equal(node:setting "listen_addresses", "")
      test.equal(node:endpoint().host:sub(1, 1), "/")
    end
    for _, leftover in ipairs { "cleaned-up", "ended" } do
      test.ok(not fs.exists(node.data .. "/" .. leftover), leftover .. " was run")
    end
  end)

  test.it("promoted and written to, it leaves the archive byte for byte as it was", function()
    local h = history()
    local before = support.tree(h.pg.archive)
    local node <close> = to_commit(3)
    local db <close> = node:connect()
    support.commit(db, 200)
    db:exec "SELECT pg_switch_wal()"
    support.commit(db, 201)
    db:exec "CHECKPOINT"
    node:stop()
    test.equal(support.tree(h.pg.archive), before)
    test.equal(h.pg:value "SELECT count(*) FROM log WHERE n >= 200", 0)
  end)

  test.it("the caller cannot lift it by accident", function()
    for _, conf in ipairs {
      { archive_mode = "on" },
      { archive_command = "cp %p /tmp" },
      { primary_conninfo = "host=127.0.0.1" },
      { restore_command = "cp x y" },
      { recovery_target_time = "2026-01-01 00:00:00Z" },
    } do
      test.raises(function()
        to_commit(2, { conf = conf })
      end, { kind = "arg", match = next(conf) })
    end
  end)

  test.it("taking over, it archives into a folder of its own", function()
    local h = history()
    local before = support.tree(h.pg.archive)
    local pg = support.primary { name = "second" }
    local db <close> = pg:connect()
    db:exec "CREATE TABLE log (n int PRIMARY KEY, filler text)"
    pitr.backup(pg, { label = "of-second" })
    local commit = support.commit(db, 1)
    pg:flush_archive()
    db:close()
    local node <close> = support.restore(pg, { to = { xid = commit.xid, inclusive = true } })
    local old, port = support.tree(pg.archive), pg:endpoint().port
    pg:stop()
    old = support.tree(pg.archive)
    node:take_over(pg)
    test.equal(node:endpoint().port, port)
    test.ok(node.archive ~= pg.archive and node.archive ~= h.pg.archive)
    node:flush_archive()
    test.equal(support.tree(pg.archive), old)
    test.equal(support.tree(h.pg.archive), before)
  end)
end)
