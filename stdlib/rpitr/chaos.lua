--- Chaos: writers under load, faults by schedule, recovery to any moment, proved commit by commit.
--
-- A fault is plain data (`chaos.pause("primary", "5..20s")`), so that a schedule of faults can be written down;
-- `chaos.inject(cluster, fault)` makes it happen and returns what undoes it. The faults are in `rpitr.chaos.faults`.

local host = ...
local args = require "rpitr.core.args"
local json = require "rpitr.json"
local run = require "rpitr.chaos.run"
local schedule = require "rpitr.chaos.schedule"
local shrink = require "rpitr.chaos.shrink"
local targets = require "rpitr.chaos.targets"
local writers = require "rpitr.workload.writers"

local chaos = {}

-- The constructors of the faults; which may be there together; injecting; a cluster to aim at.
for _, part in ipairs { "faults", "legal", "inject", "cluster" } do
  for name, value in pairs(require("rpitr.chaos." .. part)) do
    chaos[name] = value
  end
end

--- Describes writers, as plain data: see `workload.writers` for the options.
-- @usage local w = chaos.writers { n = 10, rows = "1..5", think = "0..10ms" }
chaos.writers = writers.spec

--- Describes how a run is proved: how many targets to judge on the bundle, how many to restore for
-- real, what share aims at places where recoveries go wrong, how many restores at a time.
-- @param options { bundle = 1000, restores = 12, adversarial = 0.6, parallel = 2 }
-- @usage local t = chaos.targets { restores = 40 }
chaos.targets = targets.spec

chaos.when = schedule.when

--- Makes a schedule from a seed: a pure function; see `chaos.run`.
-- @param spec { seed, duration, every, faults }
chaos.schedule = schedule.make

--- The schedule of a bundle, to run it again: `chaos.run { schedule = chaos.read_schedule(dir), ... }`.
function chaos.read_schedule(dir)
  return json.decode(host.fs_read(args.check("chaos.read_schedule", "dir", dir, "string") .. "/schedule.json"))
end

--- Seconds of a duration such as "10m".
function chaos.seconds(duration)
  return args.check("chaos.seconds", "duration", duration, "duration")
end

chaos.run = run.run
chaos.resume = run.resume

chaos.shrink = shrink.run

--- Keeps a run's numbers and its targets in a drill's report.
function chaos.record(d, result)
  local verdict = result.verdict
  local sum = { lost = 0, phantom = 0, duplicate = 0, torn = 0, altered = 0 }
  local rows = {}
  for i, one in ipairs(verdict.restores) do
    for name in pairs(sum) do
      sum[name] = sum[name] + one[name]
    end
    rows[i] = {
      one.n,
      one.target,
      one.why,
      one.rows,
      one.lost,
      one.phantom,
      one.torn,
      #one.problems == 0 and "exact" or "WRONG",
    }
  end
  d:record(sum)
  d:record {
    operations = verdict.run.acknowledged,
    indeterminate = verdict.run.indeterminate,
    faults = verdict.run.faults,
    not_healed = verdict.run.faults_not_healed,
    targets = verdict.targets.count,
    restores = #verdict.restores,
    restore_seconds = result.restore_seconds,
    operations_per_second = result.stats.rate,
  }
  if #rows > 0 then
    d:table("targets restored", { "#", "target", "why", "rows", "lost", "phantom", "torn", "" }, rows)
  end
  for _, check in ipairs(verdict.checks) do
    d:check(check.name, #check.problems == 0, table.concat(check.problems, "; "))
  end
end

return chaos
