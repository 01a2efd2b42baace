--- Shrinking: from a schedule under which something goes wrong to the few faults it takes.
---
--- Delta debugging (Zeller): drop ever smaller parts of the list as long as the rest still fails. A run on real
--- servers is not a function of its schedule, so a part is put back only after it has passed several times.

local host = ...
local args = require "rpitr.core.args"
local json = require "rpitr.json"
local inject = require "rpitr.chaos.inject"
local run = require "rpitr.chaos.run"

local shrink = {}

local function without(list, from, to)
  local rest = {}
  for i, item in ipairs(list) do
    if i < from or i > to then
      rest[#rest + 1] = item
    end
  end
  return rest
end

-- The smallest part of `list` found for which `fails(part)` still holds: taking away any one item of it makes
-- `fails` false. `fails(list)` is taken for granted.
function shrink.minimal(list, fails)
  args.check("shrink.minimal", "list", list, "table")
  args.check("shrink.minimal", "fails", fails, "function")
  local parts = 2
  while #list > 0 do
    local size = math.max(#list // parts, 1)
    local smaller
    for from = 1, #list, size do
      local rest = without(list, from, from + size - 1)
      if #rest < #list and fails(rest) then
        smaller = rest
        break
      end
    end
    if smaller then
      list, parts = smaller, math.max(parts - 1, 2)
    elseif size == 1 then
      break
    else
      parts = math.min(parts * 2, #list)
    end
  end
  return list
end

-- A run that kills rpitr would end the shrinking, too.
local function without_kills(events)
  local rest = {}
  for _, event in ipairs(events) do
    if event.fault.kind ~= "kill_orchestrator" then
      rest[#rest + 1] = event
    end
  end
  return rest
end

-- The same faults at the same moments, without those that were dropped.
local function schedule_of(whole, events)
  return { schema = whole.schema, seed = whole.seed, duration = whole.duration, events = json.array(events) }
end

-- Shrinks; see `chaos.shrink`.
function shrink.run(dir, spec)
  args.check("chaos.shrink", "dir", dir, "string")
  args.check("chaos.shrink", "spec", spec, "table")
  args.check("chaos.shrink", "option cluster", spec.cluster, "function")
  local whole = json.decode(host.fs_read(dir .. "/schedule.json"))
  local say, tried = spec.say or function() end, 0
  local function fails(events)
    for _ = 1, spec.runs or 1 do
      tried = tried + 1
      local options = { schedule = schedule_of(whole, events), dir = ("%s/shrink/%03d"):format(dir, tried) }
      for key, value in pairs(spec) do
        if key ~= "runs" and key ~= "cluster" then
          options[key] = value
        end
      end
      -- Fewer faults is the point: that some are left is not required.
      options.require = { operations = 1, restores = spec.require and spec.require.restores, faults = 0 }
      -- What an earlier attempt at shrinking left.
      host.bundle_remove(options.dir)
      options.cluster = spec.cluster()
      local result = run.run(options)
      inject.remove(options.cluster)
      say(("%d of %d events: %s"):format(#events, #whole.events, result.verdict.verdict))
      if result.verdict.verdict == "fail" then
        return true
      end
    end
    return false
  end
  local events = shrink.minimal(without_kills(whole.events), fails)
  local smallest = schedule_of(whole, events)
  host.fs_write(dir .. "/shrunk.json", json.encode(smallest, { pretty = true }) .. "\n")
  return { schedule = smallest, tried = tried, events = #events }
end

return shrink
