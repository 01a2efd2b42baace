-- Faults that wait for an occasion strike in the middle of it, and the record of the run says so.

local bundle_of = require "rpitr.chaos.bundle"

local PATIENT = { timeout = "240s" }

local runs = 0

local function run(cluster, faults)
  runs = runs + 1
  return chaos
    .run({
      cluster = cluster,
      seed = 30 + runs,
      duration = "4s",
      workload = chaos.writers { n = 4, think = "0..2ms" },
      faults = faults,
      targets = chaos.targets { restores = 1, bundle = 100 },
      require = { operations = 400, faults = #faults },
      dir = ("%s/triggers-%d"):format(lab.info().folder, runs),
    })
    :assert()
end

local function the(result, what)
  local found = {}
  for _, event in ipairs(result.events) do
    if event.e == what then
      found[#found + 1] = event
    end
  end
  return found
end

-- Clusters are made once; later tests go on with their servers.
local clusters = {}
local function cluster(standby)
  clusters[standby] = clusters[standby] or chaos.cluster { standby = standby }
  return clusters[standby]
end

test.it("after so many commits, once the WAL is so far", function()
  local result = run(cluster(true), {
    chaos.when({ commits = 300 }, chaos.pause("primary", "100ms")),
    chaos.when({ segment = 1 }, chaos.pause("standby", "100ms")),
  })
  local storm = the(result, "storm")[1]
  local seen = {}
  for _, event in ipairs(the(result, "inject")) do
    seen[event.target] = event
  end
  test.ok(seen.primary.commits >= 300)
  test.ok(seen.standby.segment >= 1)
  -- The WAL itself says when the segment began.
  local size = 1024 * 1024
  local first_commit
  for commit in wal.open(result.dir .. "/archive"):commits() do
    local number = commit.lsn:bytes() // size
    if number >= storm.segment + 1 then
      first_commit = first_commit or bundle_of.micros(commit.time)
    end
  end
  test.ok(seen.standby.at_us >= first_commit, "it struck before the segment had begun")
end, PATIENT)

test.it("in the middle of a base backup", function()
  for _, fault in ipairs { chaos.pause("primary", "200ms"), chaos.kill_tree("primary", "100ms") } do
    local result = run(cluster(true), { chaos.when({ backup = true, commits = 100 }, fault) })
    local event, backup = the(result, "inject")[1], the(result, "backup")[1]
    local both = json.encode { event, backup }
    test.ok(backup.began_us <= event.from_us and event.from_us <= backup.ended_us, both)
    -- A server that dies takes its backup along; one that stands still does not.
    if fault.kind == "pause" then
      test.equal(backup.reason, "complete", both)
      test.ok(event.at_us <= backup.ended_us, both)
    else
      test.ok(backup.reason:find("pg_basebackup failed", 1, true) or backup.reason:find "closed", both)
    end
  end
end, PATIENT)

test.it("in the middle of a promotion; what was promoted is the primary's past", function()
  local here = cluster(true)
  local result = run(here, {
    chaos.when({ promotion = true, commits = 100 }, chaos.kill_tree("standby", "100ms")),
    chaos.when({ promotion = true, commits = 200 }, chaos.pause("primary", "300ms")),
    chaos.when({ promotion = true, commits = 300 }, chaos.pause("standby", "300ms")),
  })
  local struck = the(result, "inject")
  test.equal(#struck, 3)
  for _, event in ipairs(struck) do
    local path = ("%s/promotions/%03d.json"):format(result.dir, event.n)
    local promotion = json.decode(fs.read(path))
    test.ok(promotion.began_us <= event.at_us, "it struck before the promotion had begun")
    test.ok(event.at_us <= promotion.accepted_us, "it struck after the new primary took writes")
  end
  -- The server's own log: told to promote, and ready for writes only after each fault.
  local log = here.standby:logs()
  local _, told = log:gsub("received promote request", "")
  test.equal(told, 3)
  -- It is a standby again.
  test.equal(here.standby:status(), "standby")
  here.primary:wait_streaming(here.standby)

  -- A promotion that kept less than it should, or was struck at another time, is found.
  local path = ("%s/promotions/%03d.json"):format(result.dir, struck[1].n)
  local whole = fs.read(path)
  local folder = bundle_of.open(result.dir)
  local function planted(change, shows)
    local promotion = json.decode(whole)
    change(promotion)
    fs.write(path, json.encode(promotion))
    local verdict, text = folder:judge()
    test.equal(verdict.verdict, "fail", text)
    test.ok(text:find(shows, 1, true), text)
    fs.write(path, whole)
  end
  planted(function(promotion)
    promotion.fork_lsn = json.decode(fs.read(result.dir .. "/bundle.json")).end_lsn
  end, "lost: operation")
  planted(function(promotion)
    promotion.struck_us = promotion.accepted_us + 1
  end, "did not strike while it was under way")
  planted(function(promotion)
    promotion.error = "it is dead"
  end, "did not come to its end")
  test.equal(folder:judge().verdict, "pass")
end, PATIENT)
