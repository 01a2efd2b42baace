--- Chaos: writers under load, faults by schedule, recovery to any moment, proved commit by commit.
---
--- A fault is plain data (`chaos.pause("primary", "5..20s")`), so that a schedule of faults can be written down;
--- `chaos.inject(cluster, fault)` makes it happen and returns what undoes it. The faults are in `rpitr.chaos.faults`.

local host = ...
local args = require "rpitr.core.args"
local json = require "rpitr.json"
local run = require "rpitr.chaos.run"
local schedule = require "rpitr.chaos.schedule"
local shrink = require "rpitr.chaos.shrink"
local targets = require "rpitr.chaos.targets"
local writers = require "rpitr.workload.writers"

---@class rpitr.chaos
local chaos = {}

-- The constructors of the faults; which may be there together; injecting; a cluster to aim at.
for _, part in ipairs { "faults", "legal", "inject", "cluster" } do
  for name, value in pairs(require("rpitr.chaos." .. part)) do
    chaos[name] = value
  end
end

--- Describes writers, as plain data, for `chaos.run { workload = }`.
---
--- ```lua
--- local w = chaos.writers { n = 10, rows = "1..5", think = "0..10ms" }
--- assert(w.rows[2] == 5)
--- ```
---@param options? rpitr.workload.CrewOptions
---@return rpitr.workload.WritersSpec
---@error arg
chaos.writers = writers.spec

---@class rpitr.chaos.TargetsOptions
---@field restores? integer  (default 12) targets to restore for real
---@field bundle? integer  (default 1000) targets to judge on the bundle
---@field adversarial? number  (default 0.6) share that aims at places where recoveries go wrong
---@field parallel? integer  (default 2) restores at a time

--- Describes how a run is proved, for `chaos.run { targets = }`.
---
--- ```lua
--- local t = chaos.targets { restores = 40 }
--- assert(t.parallel == 2)
--- ```
---@param options? rpitr.chaos.TargetsOptions
---@return rpitr.chaos.TargetsOptions  with everything that was left out
---@error arg
chaos.targets = targets.spec

---@class rpitr.chaos.Trigger
---@field commits? integer  after so many acknowledged operations
---@field segment? integer  once the WAL is so many segments further than at the start
---@field backup? boolean  while a base backup runs
---@field promotion? boolean  while the standby is promoted: after recovery has ended, before it accepts writes. Afterwards
---  it is made a standby again

--- A fault that fires when the run has got somewhere instead of at a time.
---
--- ```lua
--- local fault = chaos.when({ commits = 500 }, chaos.pause "primary")
--- assert(fault.when.commits == 500)
--- ```
---@param trigger rpitr.chaos.Trigger
---@param fault rpitr.chaos.Fault
---@return rpitr.chaos.Fault  a copy, with `when`
---@error arg
chaos.when = schedule.when

---@class rpitr.chaos.ScheduleOptions
---@field seed integer
---@field duration rpitr.Duration  of the run
---@field every? rpitr.chaos.Range  (default "30..60s") pause before each fault, a duration or a range
---@field faults rpitr.chaos.Fault[]

---@class rpitr.chaos.Event
---@field n integer
---@field at? number  seconds from the start of the run
---@field when? rpitr.chaos.Trigger  instead of a time
---@field hold number  seconds the fault lasts
---@field fault rpitr.chaos.Fault

---@class rpitr.chaos.Schedule
---@field schema integer
---@field seed integer
---@field duration number  seconds
---@field events rpitr.chaos.Event[]

--- Makes a schedule from a seed: the same seed and faults give the same schedule, byte for byte. Every fault comes
--- up before one comes up twice, as far as the duration allows. `chaos.run` does this by itself.
---
--- ```lua
--- local plan = chaos.schedule { seed = 7, duration = "5m", faults = { chaos.pause "primary", chaos.reset "client" } }
--- for _, event in ipairs(plan.events) do
---   print(event.at, event.fault.kind, event.hold)
--- end
--- ```
---@param spec rpitr.chaos.ScheduleOptions
---@return rpitr.chaos.Schedule
---@error arg
chaos.schedule = schedule.make

--- The schedule of a bundle, to run it again: `chaos.run { schedule = chaos.read_schedule(dir), ... }`.
---@param dir string
---@return rpitr.chaos.Schedule
---@error io, arg
function chaos.read_schedule(dir)
  return json.decode(host.fs_read(args.check("chaos.read_schedule", "dir", dir, "string") .. "/schedule.json"))
end

--- Seconds of a duration.
---
--- ```lua
--- assert(chaos.seconds "10m" == 600)
--- ```
---@param duration rpitr.Duration
---@return number
---@error arg
function chaos.seconds(duration)
  return args.check("chaos.seconds", "duration", duration, "duration")
end

---@class rpitr.chaos.RunOptions
---@field cluster rpitr.chaos.Cluster
---@field seed? integer  default: the run's
---@field duration? rpitr.Duration  (default "60s")
---@field every? rpitr.chaos.Range  (default "30..60s") pause before each fault, a duration or a range
---@field workload? rpitr.workload.WritersSpec  from `chaos.writers`; default: eight writers
---@field faults? rpitr.chaos.Fault[]  default: none
---@field targets? rpitr.chaos.TargetsOptions  from `chaos.targets`
---@field schedule? rpitr.chaos.Schedule  one that was made before, instead of a new one
---@field dir? string  where the bundle goes: `rpitr lab gc` leaves the servers of a killed run with one to `chaos.resume`; default: below the report, or else in the state folder until the run has passed
---@field require? rpitr.chaos.RequireOptions  less than this, and the verdict is "unknown"
---@field say? fun(text: string)  is told of every fault

---@class rpitr.chaos.RequireOptions
---@field operations? integer  (default 1000) acknowledged; the run goes on for up to three minutes more until it has them
---@field restores? integer  default: as many as `targets` asks for
---@field faults? integer  default: 1 if any is planned

--- Runs writers and faults against a cluster, restores to targets, judges.
---
--- ```lua
--- -- needs: a minute
--- local result = chaos.run {
---   cluster = chaos.cluster { standby = false },
---   duration = "20s",
---   every = "3..5s",
---   faults = { chaos.pause("primary", "1s") },
---   targets = chaos.targets { restores = 3 },
--- }
--- result:assert()
--- ```
---@param spec rpitr.chaos.RunOptions
---@return rpitr.ChaosResult
---@error state  code "not_supervised": kill_orchestrator outside a drill with `supervised = true`
---@error arg, postgres, environment
chaos.run = run.run

---@class rpitr.chaos.ResumeOptions
---@field say? fun(text: string)  is told of every fault

--- Goes on with a run that was killed, on the servers it left: what its schedule still holds, then targets, restores and
--- the verdict over all of it. Writers go on with the numbers they had reached; operations that were in flight are
--- indeterminate. `rpitr chaos resume DIR` does the same.
---
--- ```lua
--- -- needs: the bundle of a run that was killed
--- chaos.resume("runs/1"):assert()
--- ```
---@param dir string  the bundle
---@param options? rpitr.chaos.ResumeOptions
---@return rpitr.ChaosResult
---@error environment  code "lab_gone"
---@error state  code "lab_in_use"
---@error postgres
chaos.resume = run.resume

---@class rpitr.chaos.ShrinkOptions
---@field cluster fun(): rpitr.chaos.Cluster  makes a new one each time
---@field runs? integer  (default 1) how often a part must pass before it is taken for harmless
---@field seed? integer  this and what follows: as for `chaos.run`
---@field workload? rpitr.workload.WritersSpec
---@field targets? rpitr.chaos.TargetsOptions
---@field require? rpitr.chaos.RequireOptions  only its `restores` counts
---@field say? fun(text: string)

---@class rpitr.chaos.Shrunk
---@field schedule rpitr.chaos.Schedule  the smallest that still fails, also in `shrunk.json` of the bundle
---@field tried integer  runs it took
---@field events integer  that are left

--- Shrinks the schedule of a failed run by running parts of it again, each on a new cluster, which is removed afterwards.
--- `kill_orchestrator` is left out: it would end the shrinking, too.
---
--- ```lua
--- -- needs: the bundle of a failed run, and minutes
--- local shrunk = chaos.shrink("runs/1", { cluster = function() return chaos.cluster() end, workload = chaos.writers {} })
--- print(shrunk.events)
--- ```
---@param dir string  the bundle of the failed run
---@param spec rpitr.chaos.ShrinkOptions
---@return rpitr.chaos.Shrunk
---@error arg, io, state, postgres, environment
chaos.shrink = shrink.run

--- Keeps a run's numbers, its targets and its checks in a drill's report.
---@param d rpitr.DrillRun
---@param result rpitr.ChaosResult
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
