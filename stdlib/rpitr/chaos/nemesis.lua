--- Fires the faults of a schedule at their moments, heals them, and writes both down.

local host, internal = ...
local faults = require "rpitr.chaos.inject"
local occasions = require "rpitr.chaos.occasions"
local task = require "rpitr.task"

local nemesis = {}

local TICK = 0.05

-- Which of the waiting events is due: the first whose time or trigger has come.
local function due(waiting, seen)
  for i, event in ipairs(waiting) do
    local when = event.when
    local ready
    if when then
      ready = (not when.commits or seen.commits() >= when.commits)
        and (not when.segment or seen.segments() >= when.segment)
    else
      ready = seen.elapsed() >= event.at
    end
    if ready then
      return table.remove(waiting, i)
    end
  end
end

-- The number of the segment that is being written.
local SEGMENT = [[
SELECT div(pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0'), setting::numeric)::bigint
FROM pg_settings WHERE name = 'wal_segment_size']]

function nemesis.segment(primary)
  return primary:value(SEGMENT)
end

local function progress(here, crew, started)
  local last, asked = 0, -1
  -- The server may be down just now: then the WAL is where it was.
  local function segments()
    if host.now() - asked < 0.5 then
      return last
    end
    asked = host.now()
    local ok, at = pcall(task.with_timeout, 1, function()
      return nemesis.segment(here.primary)
    end)
    last = ok and at - here.segment or last
    return last
  end
  return {
    segments = segments,
    -- How far the run is, as far as is known without asking.
    position = function()
      return { elapsed = host.now() - started, commits = crew:stats().acknowledged, segment = last }
    end,
    commits = function()
      return crew:stats().acknowledged
    end,
    elapsed = function()
      return host.now() - started
    end,
  }
end

local function failed(here, bundle, event, e, what)
  here.say(("%s of %s: %s: %s"):format(event.fault.kind, event.fault.target, what:gsub("_", " "), e.message))
  bundle:event {
    e = what,
    n = event.n,
    kind = event.fault.kind,
    reason = e.message .. (e.detail and ": " .. e.detail or ""),
  }
end

-- What is written down of a fault that strikes, and how far the run is.
local function inject_event(event, seen)
  local entry = seen.position()
  entry.e, entry.n, entry.hold = "inject", event.n, event.hold
  entry.kind, entry.target = event.fault.kind, event.fault.target
  -- It strikes between this moment and the one the event is stamped with.
  entry.from_us = host.time_micros(host.time_now())
  return entry
end

-- One fault from injection to healed. A fault that could not be injected is written down and does not
-- end the run: the coverage tells.
local function fire(here, bundle, event, seen, occasion)
  here.struck = event.fault.target
  local struck = inject_event(event, seen)
  if event.fault.kind == "kill_orchestrator" then
    -- The last words of this process.
    bundle:event(struck)
  else
    -- Killed in between, the run knows that the fault may have struck.
    bundle:event { e = "injecting", n = event.n, kind = event.fault.kind, target = event.fault.target }
  end
  local ok, undo = xpcall(faults.inject, internal.as_error, here.cluster, event.fault)
  if not ok then
    here.struck = nil
    failed(here, bundle, event, undo, "inject_failed")
    return
  end
  bundle:event(struck)
  if occasion then
    occasion.release()
  end
  here.active = { event.fault.kind .. " " .. event.fault.target }
  local drill = internal.current_drill
  local over = drill and drill.report:band(here.active[1]) or function() end
  host.sleep(event.hold)
  local healed, e = xpcall(undo.heal, internal.as_error, undo)
  over()
  here.active, here.struck = {}, nil
  if healed then
    bundle:event { e = "heal", n = event.n, kind = event.fault.kind, seconds = e.seconds, fired = e.fired }
    here.say(
      ("%5.1f s  %s of %s for %.1f s, healed in %.1f s"):format(
        struck.elapsed,
        event.fault.kind,
        event.fault.target,
        event.hold,
        e.seconds
      )
    )
  else
    failed(here, bundle, event, e, "heal_failed")
  end
end

-- A fault that strikes in the middle of something.
local function fire_during(begin, here, bundle, event, seen)
  local ok, occasion = xpcall(begin, internal.as_error, here, bundle, event)
  if not ok then
    failed(here, bundle, event, occasion, "inject_failed")
    return
  end
  fire(here, bundle, event, seen, occasion)
  occasion.finish()
end

local function occasion_of(event)
  local when = event.when or {}
  return when.backup and occasions.backup or when.promotion and occasions.promotion
end

-- How much longer than planned a run may go on until it has the operations it requires: on a slow machine
-- the clock runs, and nothing happens.
local GRACE = 180

-- Whether the run goes on: it lasts as long as planned, until every event that has a time has fired, and
-- until enough has happened to judge it by: operations, and faults that wait for their occasion.
local function unfinished(here, crew, seen, waiting)
  local elapsed = seen.elapsed()
  if elapsed < here.duration then
    return true
  end
  for _, event in ipairs(waiting) do
    if event.at then
      return true
    end
  end
  local stats = crew:stats()
  local fired = #here.plan.events - #waiting
  local enough = stats.acknowledged >= here.required.operations and fired >= here.required.faults
  return not enough and not stats.finished and elapsed < here.duration + GRACE
end

-- Fires the events; returns when the run is over and the last one is healed.
function nemesis.run(here, bundle, crew, started)
  local waiting = {}
  for _, event in ipairs(here.plan.events) do
    if not here.fired[event.n] then
      waiting[#waiting + 1] = event
    end
  end
  local seen = progress(here, crew, started)
  here.meanwhile = {}
  while unfinished(here, crew, seen, waiting) do
    local event = due(waiting, seen)
    if event then
      local occasion = occasion_of(event)
      if occasion then
        fire_during(occasion, here, bundle, event, seen)
      else
        fire(here, bundle, event, seen)
      end
    else
      host.sleep(TICK)
    end
  end
  for _, running in ipairs(here.meanwhile) do
    running:join()
  end
  for _, event in ipairs(waiting) do
    bundle:event { e = "not_fired", n = event.n, kind = event.fault.kind }
  end
end

-- Heals what may still be there, and waits until the primary takes writes again.
function nemesis.healed(here, bundle)
  local ok, e = xpcall(faults.heal_all, internal.as_error)
  if not ok then
    -- The verdict tells; what matters now is whether the primary can go on.
    bundle:event { e = "heal_failed", n = 0, kind = "all", reason = e.message }
  end
  here.primary:wait_writable { timeout = 120 }
end

return nemesis
