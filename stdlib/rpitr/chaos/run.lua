--- A chaos run: writers, faults by schedule, then targets, restores and a verdict.
---
--- Everything it learns goes into a bundle as it happens; the verdict is reached from the bundle
--- alone, so that anybody can reach it again.

local host, internal = ...
local args = require "rpitr.core.args"
local Bundle = require "rpitr.chaos.bundle"
local json = require "rpitr.json"
local nemesis = require "rpitr.chaos.nemesis"
local pitr = require "rpitr.pitr"
local resume = require "rpitr.chaos.resume"
local schedule = require "rpitr.chaos.schedule"
local targets = require "rpitr.chaos.targets"
local timer = require "rpitr.timer"
local watch = require "rpitr.chaos.watch"
local writers = require "rpitr.workload.writers"

local run = {}

local SPEC = {
  cluster = "table",
  seed = "integer?",
  duration = { "duration", 60 },
  every = { "any", "30..60s" },
  workload = "table?",
  faults = "table?",
  targets = "table?",
  schedule = "table?",
  dir = "string?",
  require = "table?",
  say = "function?",
}

-- Backups of one run after another need names of their own.
local runs = 0

local REQUIRE = { operations = { "integer", 1000 }, restores = "integer?", faults = "integer?" }

-- What the run is about, known before it starts; what comes later is added by `conclude`.
local function prepare(opts)
  runs = runs + 1
  local seed = opts.seed or host.options.seed
  local plan = opts.schedule
    or schedule.make { seed = seed, duration = opts.duration, every = opts.every, faults = opts.faults or {} }
  local proof = opts.targets or targets.spec()
  local required = args.options("chaos.run: require", opts.require, REQUIRE)
  required.restores = required.restores or proof.restores
  required.faults = required.faults or (#plan.events > 0 and 1 or 0)
  local clock_moved = false
  for _, event in ipairs(plan.events) do
    clock_moved = clock_moved or event.fault.kind == "clock_step"
  end
  return {
    seed = seed,
    plan = plan,
    proof = proof,
    required = required,
    workload = opts.workload or writers.spec(),
    primary = opts.cluster.primary,
    cluster = opts.cluster,
    say = opts.say or function(_) end,
    label = ("chaos-%s-%d"):format(host.options.run_id, runs),
    clock_moved = clock_moved,
    active = {},
    duration = plan.duration,
    epoch = 1,
    elapsed = 0,
    fired = {},
  }
end

-- A run that kills rpitr needs somebody to go on with it.
local function check_supervised(plan)
  for _, event in ipairs(plan.events) do
    if event.fault.kind == "kill_orchestrator" and not host.is_supervised() then
      internal.raise({
        kind = "state",
        code = "not_supervised",
        message = "chaos.run: nobody would go on with this run once it has killed rpitr",
        hint = "run it from a drill with supervised = true, such as rpitr chaos; or leave kill_orchestrator out",
      }, 3)
    end
  end
end

local function facts(here, extra)
  local known = {
    schema = 1,
    seed = here.seed,
    major = here.primary.major,
    workload = here.workload,
    synchronous_commit = here.workload.synchronous_commit or "on",
    clock_moved = here.clock_moved,
    receiver = here.cluster.receiver and here.cluster.receiver.name,
    targets = here.proof.bundle,
    proof = here.proof,
    label = here.label,
    cluster = resume.describe(here.cluster),
    temporary = here.temporary or false,
    require = here.required,
    backups = json.array {},
  }
  for key, value in pairs(extra or {}) do
    known[key] = value
  end
  return known
end

local function describe_backup(one)
  return {
    label = one.label,
    start_lsn = tostring(one.start_lsn),
    stop_lsn = tostring(one.stop_lsn),
    stop_time_us = host.time_micros(one.stop_time),
  }
end

-- Everything a restore can start from, once writers have begun.
local function first_backup(here)
  for _, one in ipairs(pitr.catalog(here.primary)) do
    if one.label:find(here.label .. "-begin", 1, true) == 1 then
      return
    end
  end
  pitr.backup(here.primary, { label = ("%s-begin-%d"):format(here.label, here.epoch) })
end

-- Writers work, faults fire; returns when both are over and everything is healed.
local function storm(here, bundle)
  local primary = here.primary
  if not host.fs_exists(bundle:path "verification_log.jsonl") then
    writers.init(primary)
  end
  first_backup(here)
  if not here.segment then
    here.segment = nemesis.segment(primary)
    bundle:event { e = "storm", segment = here.segment }
  end
  local crew <close> = writers.start(primary, here.workload, {
    log = bundle:path "verification_log.jsonl",
    seed = here.seed,
    endpoint = here.cluster.endpoint,
  })
  local started = host.now() - here.elapsed
  local watching <close> = watch.start(here, bundle, crew, started)
  nemesis.run(here, bundle, crew, started)
  watching:cancel()
  crew:stop()
  nemesis.healed(here, bundle)
  crew:wait_gone()
  here.stats = crew:stats()
  bundle:event { e = "over", stats = here.stats }
end

-- Waits until the receiver has the last segment, too. One that never gets it is for the verdict.
local function received(receiver, last)
  pcall(timer.eventually, function()
    return host.archive_has(receiver.data, last)
  end, { timeout = "60s", every = 0.02, describe = ("%s at %s"):format(last, receiver.name) })
end

-- A last commit behind everything, so that every target has something after it; then the rows, and
-- the WAL up to there.
local function conclude(here, bundle)
  local primary = here.primary
  host.progress "the last segment, the rows at the end, a copy of the WAL"
  primary:value "SELECT pg_current_xact_id()"
  local end_lsn = primary:lsn()
  local last = primary:flush_archive()
  if here.cluster.receiver then
    received(here.cluster.receiver, last)
    bundle:wal(here.cluster.receiver.data, "received")
  end
  bundle:rows(primary, "final.tsv.zst")
  bundle:wal(primary.archive, "archive")
  local backups = json.array {}
  for _, one in ipairs(pitr.catalog(primary)) do
    if one.label:find(here.label, 1, true) == 1 then
      backups[#backups + 1] = describe_backup(one)
    end
  end
  bundle:write(
    "bundle.json",
    facts(here, { end_lsn = tostring(end_lsn), timeline = primary:timeline(), backups = backups })
  )
  bundle:write("targets.json", bundle:draw("restores", here.proof.restores, here.proof.adversarial))
  bundle:event { e = "concluded" }
end

local function prove(here, bundle)
  local list = bundle:read "targets.json"
  local started = host.now()
  local results = targets.restore_all(bundle, here.primary, list, here.proof.parallel, function(done, count)
    host.progress(("restored %d of %d targets"):format(done, count))
  end)
  here.restore_seconds = host.now() - started
  return results
end

--- One look at the writers, once a second.
---@class rpitr.chaos.Sample
---@field elapsed number  seconds
---@field rate number  acknowledged operations a second
---@field acknowledged integer
---@field indeterminate integer
---@field failed integer
---@field lag? integer  bytes the standby is behind
---@field faults string[]  that are there just now

--- What a run came to.
---@class rpitr.ChaosResult
---@field verdict table  as in `verdict.json`; `verdict.verdict` is "pass", "fail" or "unknown"
---@field text string  the verdict for people
---@field dir string  the bundle; `rpitr verify DIR` judges it again
---@field stats rpitr.workload.WritersStats
---@field schedule rpitr.chaos.Schedule
---@field coverage table<string, integer>  how often each kind of fault was planned
---@field samples rpitr.chaos.Sample[]
---@field events table[]  what happened: injected, healed, failed to
---@field restore_seconds number  what all restores took
local Result = { __name = "rpitr.ChaosResult" }
Result.__index = Result

--- Raises unless the verdict is a pass.
---@return rpitr.ChaosResult result  itself
---@error verify
function Result:assert()
  if self.verdict.verdict ~= "pass" then
    internal.raise({
      kind = "verify",
      code = self.verdict.verdict,
      message = "the run is not proved: " .. self.verdict.verdict,
      detail = self.text,
      hint = "rpitr verify " .. self.dir .. " judges it again",
    }, 2)
  end
  return self
end

--- Whether the verdict is a pass.
---@return boolean
function Result:passed()
  return self.verdict.verdict == "pass"
end

-- A bundle nobody asked for is of no use without a verdict once its servers are gone. What is put first is done last:
-- when the lab was removed, or not.
local function discard_with_lab(here, bundle)
  local folder = here.primary.lab.info.folder
  table.insert(internal.at_exit, 1, function()
    if not host.fs_exists(folder) and not host.fs_exists(bundle:path "verdict.json") then
      bundle:discard()
    end
  end)
end

-- The parts of a run, in order; a run that is resumed begins with the first one that is not over.
local function go_on(here, bundle)
  local handle = here.primary.lab.handle
  local keep = host.options.keep == "always"
  -- Whoever asked for the bundle may want to resume the run: `lab gc` leaves it its servers.
  host.lab_run(handle, bundle.dir, keep or not bundle.temporary)
  discard_with_lab(here, bundle)
  bundle:event { e = "epoch", epoch = here.epoch, elapsed = here.elapsed }
  if not here.over then
    storm(here, bundle)
  end
  if not here.concluded then
    conclude(here, bundle)
  end
  prove(here, bundle)
  local verdict, text = bundle:judge()
  host.lab_run(handle, nil, keep)
  local result = setmetatable({
    verdict = verdict,
    text = text,
    dir = bundle.dir,
    stats = here.stats,
    schedule = here.plan,
    coverage = schedule.coverage(here.plan),
    restore_seconds = here.restore_seconds,
    samples = bundle:lines "samples.jsonl",
    events = bundle:lines "events.jsonl",
  }, Result)
  if result:passed() then
    bundle:discard()
  end
  return result
end

-- Runs; see `chaos.run`.
function run.run(spec)
  local opts = args.options("chaos.run", spec, SPEC)
  local here = prepare(opts)
  check_supervised(here.plan)
  local bundle = Bundle.new(opts.dir)
  here.temporary = bundle.temporary
  bundle:write("schedule.json", here.plan)
  bundle:write("bundle.json", facts(here, { end_lsn = "0/0", timeline = 0 }))
  host.fs_append(bundle:path "events.jsonl", "")
  host.fs_append(bundle:path "samples.jsonl", "")
  return go_on(here, bundle)
end

-- Notes what became of the faults that were there when rpitr was killed.
local function note_healed(bundle, open, not_healed)
  for n, event in pairs(open) do
    if #not_healed == 0 then
      bundle:event { e = "heal", n = n, kind = event.kind, by = "guardian" }
    else
      bundle:event { e = "heal_failed", n = n, kind = event.kind, reason = table.concat(not_healed, "; ") }
    end
  end
end

-- Goes on with a killed run; see `chaos.resume`.
function run.resume(dir, options)
  args.check("chaos.resume", "dir", dir, "string")
  local opts = args.options("chaos.resume", options, { say = "function?" })
  local bundle = Bundle.open(dir)
  local known, plan = bundle:read "bundle.json", bundle:read "schedule.json"
  check_supervised(plan)
  local cluster, not_healed = resume.cluster(bundle, known.cluster)
  -- The lab is this run's from here on: nobody else writes to the bundle.
  bundle:mend()
  local past = resume.past(bundle, plan)
  note_healed(bundle, past.open, not_healed)
  watch.recall(bundle)
  local drill = internal.current_drill
  if drill then
    -- What the run was drawn from, not what this process was given.
    drill.report.data.seed = known.seed
  end
  bundle.temporary = known.temporary
  local here = {
    seed = known.seed,
    plan = plan,
    proof = known.proof,
    required = known.require,
    workload = known.workload,
    primary = cluster.primary,
    cluster = cluster,
    say = opts.say or function(_) end,
    label = known.label,
    clock_moved = known.clock_moved,
    temporary = known.temporary,
    active = {},
    duration = plan.duration,
  }
  for key, value in pairs(past) do
    here[key] = value
  end
  here.say(("epoch %d of the run, %.1f s after it began"):format(here.epoch, here.elapsed))
  return go_on(here, bundle)
end

return run
