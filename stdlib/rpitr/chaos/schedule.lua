--- Schedules: which fault when, decided before the run from a seed alone.
---
--- The same seed and the same description give the same schedule, byte for byte. What the writers do
--- and which targets are tried come from streams of their own: one more writer moves no fault.

local host, internal = ...
local args = require "rpitr.core.args"
local range = require "rpitr.core.range"

local schedule = {}

-- Between the end of one fault and the begin of the next.
local BREATH = 1.0

-- A fault's length in seconds: drawn from its range, or fixed.
local function length_of(fault, draw)
  local length = fault.length or fault.duration or fault.seconds
  if type(length) == "table" then
    return length[1] + (length[2] - length[1]) * draw()
  end
  return length or 0
end

local function round(seconds)
  return math.floor(seconds * 1000 + 0.5) / 1000
end

local TRIGGERS = { commits = "integer?", segment = "integer?", backup = "boolean?", promotion = "boolean?" }

-- A fault with a trigger; see `chaos.when`.
function schedule.when(trigger, fault)
  local checked = args.options("chaos.when", trigger, TRIGGERS)
  if next(checked) == nil then
    internal.raise(
      { kind = "arg", message = "chaos.when: name a trigger", hint = "commits, segment, backup or promotion" },
      2
    )
  end
  args.check("chaos.when", "fault", fault, "table")
  local copy = { when = checked }
  for key, value in pairs(fault) do
    copy[key] = value
  end
  return copy
end

local function shuffled(list, draw)
  local copy = table.move(list, 1, #list, 1, {})
  for i = #copy, 2, -1 do
    local j = draw(i)
    copy[i], copy[j] = copy[j], copy[i]
  end
  return copy
end

local function event(n, fault, draw)
  local plain = {}
  for key, value in pairs(fault) do
    if key ~= "when" then
      plain[key] = value
    end
  end
  return { n = n, fault = plain, hold = round(length_of(fault, draw)), when = fault.when }
end

-- Makes a schedule; see `chaos.schedule`.
function schedule.make(spec)
  local opts = args.options("schedule.make", spec, {
    seed = "integer",
    duration = "duration",
    every = { "any", "30..60s" },
    faults = "table",
  })
  local every = range.seconds("every", opts.every)
  local draw = host.random_seeded(opts.seed, "schedule")
  local timed, events = {}, {}
  for _, fault in ipairs(opts.faults) do
    if fault.when then
      events[#events + 1] = event(#events + 1, fault, draw)
    else
      timed[#timed + 1] = fault
    end
  end
  local turn, at, free = {}, 0, 0
  while #timed > 0 do
    at = math.max(at + every[1] + (every[2] - every[1]) * draw(), free)
    if #turn == 0 then
      turn = shuffled(timed, draw)
    end
    local made = event(#events + 1, table.remove(turn), draw)
    if at + made.hold > opts.duration then
      break
    end
    made.at, free = round(at), at + made.hold + BREATH
    events[#events + 1] = made
  end
  return { schema = 1, seed = opts.seed, duration = opts.duration, events = events }
end

-- How often each kind of fault comes up: { kind = count }.
function schedule.coverage(made)
  local count = {}
  for _, one in ipairs(made.events) do
    count[one.fault.kind] = (count[one.fault.kind] or 0) + 1
  end
  return count
end

return schedule
