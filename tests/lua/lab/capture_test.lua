-- Receivers, the catalogue of what they get, and restores from it.

local support = require "support"

-- A primary that archives nothing, a receiver, a backup; rows 1 to 3 in complete segments, row 4 in the partial one.
local captured = support.once(function()
  local c = {}
  c.pg = support.primary { archive = false }
  c.receiver = lab.receiver(c.pg)
  c.base = pitr.backup(c.pg, { label = "base" })
  local db <close> = c.pg:connect()
  db:exec "CREATE TABLE log (n int PRIMARY KEY, filler text)"
  c.commits = {}
  for n = 1, 4 do
    if n == 4 then
      c.segment = c.receiver:complete_segment()
    end
    c.commits[n] = support.commit(db, n)
  end
  c.receiver:wait_received()
  c.tail = archive.snapshot(c.receiver)
  return c
end)

test.describe("a snapshot of the partial segment", function()
  test.it("says what it holds", function()
    local c = captured()
    test.ok(c.tail.segment > c.segment and c.tail.commits >= 1)
    test.ok(c.tail.begins < c.tail.upto and #c.tail.sha256 == 64)
    test.ok(c.tail.source:find(c.tail.segment .. ".partial", 1, true))
  end)

  test.it("recovers the row that is nowhere else", function()
    local c = captured()
    local to = { xid = c.commits[4].xid }
    local e = test.raises(function()
      pitr.plan(c.pg, { to = to, wal = c.receiver.data })
    end, { kind = "wal" })
    test.equal(e.code, "not_reached")
    local node <close> = support.restore(c.pg, { to = to, wal = c.tail })
    test.equal(support.rows(node), "1 2 3 4")
    test.equal(node.proof.last_commit.xid, c.commits[4].xid)
  end, { timeout = "60s" })

  test.it("is not used once the whole segment is there", function()
    local c = captured()
    local db <close> = c.pg:connect()
    support.commit(db, 5)
    c.receiver:complete_segment()
    support.commit(db, 6)
    c.receiver:wait_received()
    local node <close> = support.restore(c.pg, { to = "latest", wal = c.tail })
    test.equal(support.rows(node), "1 2 3 4 5")
    -- The receiver itself, with a snapshot of now.
    local now <close> = support.restore(c.pg, { to = "latest", wal = c.receiver })
    test.equal(support.rows(now), "1 2 3 4 5 6")
  end, { timeout = "60s" })
end)

test.describe("a receiver", function()
  test.it("is a node: it stops, dies, freezes, starts again, and nothing is missing", function()
    local c = captured()
    local r = c.receiver
    test.equal({ r:status(), r.role, r.slot }, { "running", "receiver", "receiver" })
    r:pause()
    test.equal(r:status(), "paused")
    r:resume()
    r:kill()
    test.equal(r:status(), "crashed")
    c.pg:admin():exec "SELECT pg_logical_emit_message(true, 'x', repeat('y', 2500000))"
    test.ok(r:receiver_lag().bytes > 2000000)
    r:start()
    r:stop()
    test.equal(r:status(), "stopped")
    r:start()
    c.pg:restart()
    r:wait_received()
    r:complete_segment()
    test.ok(r:logs():find("starting log streaming", 1, true))
    local scan = archive.catalogue(r):scan()
    test.equal(#scan.problems, 0)
    test.equal(scan.totals.verified, scan.totals.segments)
  end, { timeout = "90s" })

  test.it("says why it does not start", function()
    local c = captured()
    c.pg:admin():exec "SELECT pg_create_physical_replication_slot('gone', true)"
    local r <close> = lab.receiver(c.pg, { name = "short", slot = "gone" })
    r:stop()
    c.pg:admin():exec "SELECT pg_drop_replication_slot('gone')"
    local e = test.raises(function()
      r:start()
    end, { kind = "postgres" })
    test.ok(e.message:find("gone", 1, true) or (e.detail or ""):find("gone", 1, true), e.message)
  end, { timeout = "60s" })

  test.it("holds commits back while it is away, when it is synchronous", function()
    local pg <close> = support.primary { name = "careful", archive = false }
    local r <close> = lab.receiver(pg, { name = "witness", synchronous = true })
    local db <close> = pg:connect()
    db:exec "CREATE TABLE log (n int)"
    r:pause()
    local waiting = task.spawn(function()
      local other <close> = pg:connect()
      other:exec "INSERT INTO log VALUES (1)"
      return true
    end)
    eventually(function()
      return db:value "SELECT true FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    end, { describe = "a commit that waits" })
    test.ok(not waiting:done())
    r:resume()
    test.ok(waiting:join())
    local lag = r:receiver_lag()
    test.ok(lag.flushed >= lag.primary, tostring(lag.flushed))
  end, { timeout = "60s" })
end)

test.describe("a watch", function()
  test.it("keeps the catalogue and its copy on the primary up to date", function()
    local c = captured()
    local watch <close> = archive.watch(c.receiver, { every = "50ms", mirror = true })
    local name = c.receiver:complete_segment()
    eventually(function()
      return c.pg:value("SELECT true FROM rpitr.wal_segments WHERE name = $1 AND state = 'verified'", name)
    end, { describe = name .. " on the primary" })
    test.equal(#watch.catalogue:gaps(), 0)
    test.equal(watch.error, nil)
    -- A mirror that wrote at each look would never come to rest.
    local versions = "SELECT string_agg(xmin::text, ',' ORDER BY name) FROM rpitr.wal_segments WHERE state = 'verified'"
    local written = c.pg:value(versions)
    local scans = watch.scans
    eventually(function()
      return watch.scans >= scans + 5
    end)
    test.equal(c.pg:value(versions), written)
    test.equal(watch.lag.state, "streaming")
  end, { timeout = "60s" })

  test.it("names what is planted", function()
    local c = captured()
    local list = archive.catalogue(c.receiver):list()
    c.receiver:exec { "rm", c.receiver.data .. "/" .. list[2].name }
    c.receiver:exec { "touch", c.receiver.data .. "/notes" }
    local catalogue = archive.catalogue(c.receiver)
    test.equal(#catalogue:scan().appeared, 2)
    local problems = catalogue:problems()
    test.equal({ problems[1].kind, problems[1].name }, { "gap", list[2].name })
    test.equal({ problems[2].kind, problems[2].name }, { "invalid_name", "notes" })
    test.equal(#catalogue:gaps(), 1)
  end)

  test.it("refuses what is no receiver", function()
    test.raises(function()
      archive.snapshot(captured().pg)
    end, { kind = "arg" })
    test.raises(function()
      pitr.plan(captured().pg, { to = "latest", wal = 7 })
    end, { kind = "arg" })
  end)
end)
