--- Watching a run: how fast the writers are, how far the standby is behind, what is broken; once a second into the bundle,
-- the status line and the report.

local host, internal = ...
local json = require "rpitr.json"
local report = require "rpitr.report"
local task = require "rpitr.task"
local timer = require "rpitr.timer"

local watch = {}

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

local function plot(drill, seen, at)
  drill.report:sample("throughput", seen.rate, "operations a second", at)
  drill.report:sample("lag", seen.lag or 0, "bytes", at)
end

--- Starts to watch; close what it returns to end.
---@param here table  the run
---@param bundle rpitr.Bundle
---@param crew rpitr.Writers
---@param started number  when the run would have begun, had it never been killed
function watch.start(here, bundle, crew, started)
  local before = { acknowledged = crew:stats().acknowledged, at = host.now() }
  return timer.every("1s", function()
    local seen = sample(here, crew, started, before)
    host.fs_append(bundle:path "samples.jsonl", json.encode(seen) .. "\n")
    show(seen)
    local drill = internal.current_drill
    if drill then
      plot(drill, seen)
    end
  end)
end

--- Puts what was seen before rpitr was killed into the report of the process that goes on.
---@param bundle rpitr.Bundle
function watch.recall(bundle)
  local drill = internal.current_drill
  local seen = bundle:lines "samples.jsonl"
  if not drill or #seen == 0 then
    return
  end
  drill.report:reach_back(seen[#seen].elapsed)
  local over, label
  for _, one in ipairs(seen) do
    plot(drill, one, one.elapsed)
    if one.faults[1] ~= label then
      if over then
        over(one.elapsed)
      end
      label = one.faults[1]
      over = label and drill.report:band(label, one.elapsed)
    end
  end
  if over then
    over(seen[#seen].elapsed)
  end
end

return watch
