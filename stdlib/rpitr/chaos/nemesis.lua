--- Fires the faults of a schedule at their moments, heals them, and writes both down.

local host, internal = ...
local faults = require "rpitr.chaos.inject"
local pitr = require "rpitr.pitr"
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

local function progress(here, crew, started)
  local first
  local last, asked = 0, -1
  -- The server may be down just now: then the WAL is where it was.
  local function segments()
    if host.now() - asked < 0.5 then
      return last
    end
    asked = host.now()
    local ok, at = pcall(task.with_timeout, 1, function()
      return here.primary:value "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0') / setting::numeric FROM pg_settings WHERE name = 'wal_segment_size'"
    end)
    if ok and at then
      first = first or math.floor(tonumber(tostring(at)))
      last = math.floor(tonumber(tostring(at))) - first
    end
    return last
  end
  return {
    segments = segments,
    commits = function()
      return crew:stats().acknowledged
    end,
    elapsed = function()
      return host.now() - started
    end,
  }
end

local function failed(bundle, event, e, what)
  bundle:event {
    e = what,
    n = event.n,
    kind = event.fault.kind,
    reason = e.message .. (e.detail and ": " .. e.detail or ""),
  }
end

-- One fault from injection to healed. A fault that could not be injected is written down and does not
-- end the run: the coverage tells.
local function fire(here, bundle, event, inject)
  local ok, undo = xpcall(inject, internal.as_error, here.cluster, event.fault)
  if not ok then
    failed(bundle, event, undo, "inject_failed")
    return
  end
  bundle:event { e = "inject", n = event.n, kind = event.fault.kind, target = event.fault.target, hold = event.hold }
  here.active = { event.fault.kind .. " " .. tostring(event.fault.target or "") }
  host.sleep(event.hold)
  local healed, e = xpcall(undo.heal, internal.as_error, undo)
  here.active = {}
  if healed then
    bundle:event { e = "heal", n = event.n, kind = event.fault.kind, seconds = e.seconds, fired = e.fired }
  else
    failed(bundle, event, e, "heal_failed")
  end
end

-- A base backup that runs while a fault strikes; whether it survives is part of the run.
local function backup_meanwhile(here, bundle, event)
  return task.spawn(function()
    local ok, e = xpcall(pitr.backup, internal.as_error, here.primary, { label = "chaos-" .. event.n })
    bundle:event { e = "backup", n = event.n, kind = "backup", reason = ok and "complete" or e.message }
  end)
end

--- Fires every event; returns when the run's duration is over and the last one is healed.
function nemesis.run(here, bundle, crew, started)
  local waiting = table.move(here.plan.events, 1, #here.plan.events, 1, {})
  local seen = progress(here, crew, started)
  local backups = {}
  while seen.elapsed() < here.duration do
    local event = due(waiting, seen)
    if event then
      if event.when and event.when.backup then
        backups[#backups + 1] = backup_meanwhile(here, bundle, event)
        host.sleep(TICK)
      end
      fire(here, bundle, event, faults.inject)
    else
      host.sleep(math.min(TICK, math.max(here.duration - seen.elapsed(), 0)))
    end
  end
  for _, backup in ipairs(backups) do
    backup:join()
  end
  for _, event in ipairs(waiting) do
    bundle:event { e = "not_fired", n = event.n, kind = event.fault.kind }
  end
end

--- Heals what may still be there, and waits until the primary takes writes again.
function nemesis.healed(here)
  faults.heal_all()
  here.primary:wait_writable { timeout = 120 }
end

return nemesis
