-- A proof must fail when it should: real restores that do something else than they say, and a server
-- that does not keep its promises.

local bundle_of = require "rpitr.chaos.bundle"
local targets = require "rpitr.chaos.targets"

-- Real restores take their time on a busy machine.
local PATIENT = { timeout = "180s" }

local shared

-- One run of writers; its server stays, and the tests restore from it.
local function history()
  if shared then
    return shared
  end
  local primary = lab.postgres { wal_segment_size = "1MB" }
  local dir = lab.info().folder .. "/bundle"
  local result = chaos.run {
    cluster = { primary = primary },
    seed = 11,
    duration = "2s",
    workload = chaos.writers { n = 4, think = "0..2ms" },
    targets = chaos.targets { restores = 1, bundle = 100 },
    require = { operations = 200 },
    dir = dir,
  }
  result:assert()
  local bundle = bundle_of.open(dir)
  local xids = {}
  for line in fs.read(dir .. "/verification_log.jsonl"):gmatch "[^\n]+" do
    local entry = json.decode(line)
    if entry.e == "ok" then
      xids[#xids + 1] = entry.xid
    end
  end
  shared = { primary = primary, bundle = bundle, xid = xids[#xids // 2], commits = #xids }
  return shared
end

-- Restores once, and judges the run with that restore alone.
local function judge(drawn, options)
  local here = history()
  for _, name in ipairs(fs.list(here.bundle:path "restores")) do
    fs.remove(here.bundle:path("restores/" .. name))
  end
  here.n = (here.n or 100) + 1
  targets.restore(here.bundle, here.primary, here.n, { target = drawn, why = "test" }, options)
  local verdict, text = here.bundle:judge()
  return verdict.verdict, text, verdict.restores[1]
end

local function just(xid, inclusive)
  return { kind = "xid", xid = xid, inclusive = inclusive }
end

-- The commit's own record: { lsn, time }.
local function commit()
  local here = history()
  here.commit = here.commit or pitr.commit_of(here.primary, here.xid)
  return here.commit
end

local function at_time(shift, inclusive)
  local us = require("rpitr.chaos.bundle").micros(commit().time) + shift
  return { kind = "time", time_us = us, inclusive = inclusive }
end

local function caught(what, drawn, options)
  local verdict, text, restored = judge(drawn, options)
  test.equal(verdict, "fail", text)
  test.ok(#restored.problems > 0)
  if what then
    test.ok(restored[what] > 0, text)
  end
end

local function tamper(statement)
  return {
    tamper = function(node)
      local db <close> = node:connect { dbname = "writers" }
      db:exec(statement)
    end,
  }
end

test.it("healthy restores pass: time, position, transaction, both sides", function()
  local list = { just(history().xid, true), just(history().xid, false), at_time(0, true), at_time(-1, false) }
  list[#list + 1] = { kind = "lsn", lsn = tostring(commit().lsn), inclusive = false }
  for _, drawn in ipairs(list) do
    local verdict, text = judge(drawn)
    test.equal(verdict, "pass", text)
  end
end, PATIENT)

test.it("another target than the one asked for", function()
  local xid = history().xid
  caught("phantom", just(xid, false), { actual = just(xid, true) })
  caught("lost", at_time(0, true), { actual = at_time(-1, true) })
  -- An hour early, as when a time is read in another zone: there is no such moment in this run.
  caught(nil, at_time(0, true), { actual = at_time(-3600 * 1000000, true) })
  caught("phantom", just(xid, true), { actual = { kind = "latest", inclusive = true } })
end, PATIENT)

test.it("one row lost, torn, altered, there twice, or from nowhere", function()
  local drawn = just(history().xid, true)
  local one = "(SELECT min(op) FROM operations)"
  caught(
    "lost",
    drawn,
    tamper(("WITH e AS (DELETE FROM entries WHERE op = %s) DELETE FROM operations WHERE op = %s"):format(one, one))
  )
  caught("torn", drawn, tamper(("DELETE FROM entries WHERE op = %s AND n = 1"):format(one)))
  caught("altered", drawn, tamper(("UPDATE entries SET payload = payload || 'x' WHERE op = %s AND n = 1"):format(one)))
  caught("phantom", drawn, tamper "INSERT INTO operations (op, items, note) VALUES (1, 0, '')")
  caught(
    "duplicate",
    drawn,
    tamper(
      ("ALTER TABLE operations DROP CONSTRAINT operations_pkey; INSERT INTO operations SELECT * FROM operations WHERE op = %s"):format(
        one
      )
    )
  )
end, PATIENT)

test.it("acknowledged commits that a crash took, although the run promised otherwise", function()
  local primary = lab.postgres { name = "forgetful", conf = { wal_writer_delay = "10s", synchronous_commit = "off" } }
  local dir = lab.info().folder .. "/forgetful"
  local result = chaos.run {
    cluster = { primary = primary },
    seed = 12,
    duration = "2s",
    -- The run does not say that its server may forget.
    workload = chaos.writers { n = 4, think = "0..2ms" },
    faults = { chaos.when({ commits = 100 }, chaos.kill_tree("primary", "100ms")) },
    targets = chaos.targets { restores = 1, bundle = 100 },
    require = { operations = 400 },
    dir = dir,
  }
  test.equal(result.verdict.verdict, "fail", result.text)
  test.ok(result.text:find("acknowledged, but not on the primary", 1, true), result.text)
end, PATIENT)

test.it(
  "what a crash takes with synchronous_commit = off is the end of the log: that passes, and is counted",
  function()
    -- The WAL writer sleeps long: what was acknowledged just before the crash is in nobody's file yet.
    local primary =
      lab.postgres { name = "lenient", conf = { wal_writer_delay = "10s", wal_writer_flush_after = "64MB" } }
    local result = chaos.run {
      cluster = { primary = primary },
      seed = 13,
      duration = "3s",
      workload = chaos.writers { n = 4, think = "0..2ms", synchronous_commit = "off" },
      faults = {
        chaos.when({ commits = 300 }, chaos.kill_tree("primary", "100ms")),
        chaos.when({ commits = 900 }, chaos.kill_tree("primary", "100ms")),
      },
      targets = chaos.targets { restores = 4, bundle = 200 },
      require = { operations = 1200, faults = 2 },
      dir = lab.info().folder .. "/lenient",
    }
    test.equal(result.verdict.verdict, "pass", result.text)
    test.ok(result.verdict.run.given_up > 0, result.text)
    test.ok(result.text:find("as synchronous_commit allows", 1, true), result.text)
  end,
  PATIENT
)
