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
local schedule = require "rpitr.chaos.schedule"
local targets = require "rpitr.chaos.targets"
local task = require "rpitr.task"
local timer = require "rpitr.timer"
local report = require "rpitr.report"
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
    say = opts.say or function() end,
    label = "chaos-" .. runs,
    clock_moved = clock_moved,
    active = {},
    duration = plan.duration,
  }
end

local function facts(here, extra)
  local known = {
    schema = 1,
    seed = here.seed,
    major = here.primary.major,
    workload = here.workload,
    synchronous_commit = here.workload.synchronous_commit or "on",
    clock_moved = here.clock_moved,
    targets = here.proof.bundle,
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

-- How far the standby is behind, in bytes; nothing while the primary is not to be asked: a question to a server that
-- does not answer would hold up the sample.
local function lag_of(here)
  if not here.cluster.standby or here.struck == "primary" or here.struck == "client" then
    return nil
  end
  local ok, lag = pcall(task.with_timeout, 0.5, function()
    return here.primary:lag_of(here.cluster.standby).bytes
  end)
  return ok and lag or nil
end

-- How fast, how far behind, what is broken right now.
local function sample(here, crew, started, before)
  local stats, now = crew:stats(), host.now()
  local rate = (stats.acknowledged - before.acknowledged) / math.max(now - before.at, 0.001)
  before.acknowledged, before.at = stats.acknowledged, now
  return {
    elapsed = now - started,
    rate = rate,
    acknowledged = stats.acknowledged,
    indeterminate = stats.indeterminate,
    failed = stats.failed,
    lag = lag_of(here),
    faults = json.array(table.move(here.active, 1, #here.active, 1, {})),
  }
end

-- The status line of a terminal.
local function show(seen)
  host.progress(
    ("%.0f s  %.0f tps  %d acknowledged, %d unanswered  lag %s  %s"):format(
      seen.elapsed,
      seen.rate,
      seen.acknowledged,
      seen.indeterminate,
      seen.lag and report.bytes(seen.lag) or "unknown",
      #seen.faults > 0 and "FAULT " .. table.concat(seen.faults, ", ") or ""
    )
  )
end

-- Watches the writers while the faults fire, and notes it once a second.
local function watch(here, bundle, crew, started)
  local before = { acknowledged = 0, at = started }
  return timer.every("1s", function()
    local seen = sample(here, crew, started, before)
    host.fs_append(bundle:path "samples.jsonl", json.encode(seen) .. "\n")
    show(seen)
    local drill = internal.current_drill
    if drill then
      drill.report:sample("throughput", seen.rate, "operations a second")
      drill.report:sample("lag", seen.lag or 0, "bytes")
    end
  end)
end

-- Writers work, faults fire; returns when both are over and everything is healed.
local function storm(here, bundle)
  local primary = here.primary
  if not primary:value("SELECT true FROM pg_database WHERE datname = $1", writers.database) then
    writers.init(primary)
  end
  pitr.backup(primary, { label = here.label .. "-begin" })
  local crew <close> = writers.start(primary, here.workload, {
    log = bundle:path "verification_log.jsonl",
    seed = here.seed,
    endpoint = here.cluster.endpoint,
  })
  local started = host.now()
  local watching <close> = watch(here, bundle, crew, started)
  nemesis.run(here, bundle, crew, started)
  watching:cancel()
  crew:stop()
  nemesis.healed(here, bundle)
  crew:wait_gone()
  here.stats = crew:stats()
end

-- A last commit behind everything, so that every target has something after it; then the rows, and
-- the WAL up to there.
local function conclude(here, bundle)
  local primary = here.primary
  primary:value "SELECT pg_current_xact_id()"
  local end_lsn = primary:lsn()
  primary:flush_archive()
  bundle:rows(primary, "final.tsv.zst")
  bundle:archive(primary)
  local backups = json.array {}
  for _, one in ipairs(pitr.catalog(primary)) do
    backups[#backups + 1] = describe_backup(one)
  end
  bundle:write(
    "bundle.json",
    facts(here, { end_lsn = tostring(end_lsn), timeline = primary:timeline(), backups = backups })
  )
end

local function prove(here, bundle)
  local list = bundle:draw("restores", here.proof.restores, here.proof.adversarial)
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

-- Runs; see `chaos.run`.
function run.run(spec)
  local opts = args.options("chaos.run", spec, SPEC)
  local here = prepare(opts)
  local bundle = Bundle.new(opts.dir)
  bundle:write("schedule.json", here.plan)
  bundle:write("bundle.json", facts(here, { end_lsn = "0/0", timeline = 0 }))
  host.fs_append(bundle:path "events.jsonl", "")
  host.fs_append(bundle:path "samples.jsonl", "")
  storm(here, bundle)
  conclude(here, bundle)
  prove(here, bundle)
  local verdict, text = bundle:judge()
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

return run
