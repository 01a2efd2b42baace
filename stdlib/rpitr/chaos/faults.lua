--- The faults. Each constructor returns plain data that JSON carries; `chaos.inject` makes it happen.
---
--- The last argument of each is either how long it lasts, a duration or a range ("2s", "5..20s"), or a table of
--- options with `duration` among them. A range is for whoever draws a schedule; `chaos.inject` heals when it is told.

local _, internal = ...
local args = require "rpitr.core.args"
local kinds = require("rpitr.chaos.kinds").list
local range = require "rpitr.core.range"

--- A duration, or two between which each time is drawn: `"5..20s"`.
---@alias rpitr.chaos.Range number|string|number[]

--- A fault as plain data: its kind, its target, and the options of its constructor.
---@class rpitr.chaos.Fault
---@field kind string  "pause", "kill_tree" ...
---@field target string  "primary", "standby", "receiver", "client" or "rpitr"
---@field duration? number[]  the least and the most seconds it lasts
---@field when? rpitr.chaos.Trigger
---@field mode? string
---@field times? integer
---@field every? number
---@field way? "up"|"down"
---@field delay? number  seconds
---@field jitter? number  seconds
---@field bytes? integer
---@field probability? number
---@field most? integer
---@field seed? integer
---@field nth? integer
---@field count? integer
---@field pick? number
---@field segment? string
---@field keep? number
---@field at? number
---@field by? number  seconds

---@class rpitr.chaos.FaultOptions
---@field duration? rpitr.chaos.Range  (default "2..5s") how long it lasts, a duration or a range

---@class rpitr.chaos.CrashOptions
---@field duration? rpitr.chaos.Range  (default "0..2s") how long the server stays down, a duration or a range

---@class rpitr.chaos
local faults = {}

local function make(kind, target, options, spec, defaults)
  local name = "chaos." .. kind
  args.choice(name, "target", target, kinds[kind].targets)
  if type(options) == "string" or type(options) == "number" then
    options = { duration = options }
  end
  local all = { duration = { "any", defaults and defaults.duration or "2..5s" } }
  for key, value in pairs(spec or {}) do
    all[key] = value
  end
  local fault = args.options(name, options, all)
  fault.kind, fault.target = kind, target
  fault.duration = range.seconds(name .. ": option duration", fault.duration)
  if kinds[kind].lasting == false then
    fault.duration = nil
  end
  return fault
end

-- Processes ------------------------------------------------------------------------------------------

--- Freezes every process of a server (SIGSTOP): connections stay open, nobody answers.
---
--- ```lua
--- local fault = chaos.pause("primary", "5..20s")
--- assert(fault.duration[2] == 20)
--- ```
---@param target "primary"|"standby"|"receiver"
---@param options? rpitr.chaos.Range|rpitr.chaos.FaultOptions
---@return rpitr.chaos.Fault
---@error arg
function faults.pause(target, options)
  return make("pause", target, options)
end

--- SIGKILL to every process of a server, as a crash of its machine would. It stays down until it is healed.
---@param target "primary"|"standby"
---@param options? rpitr.chaos.Range|rpitr.chaos.CrashOptions
---@return rpitr.chaos.Fault
---@error arg
function faults.kill_tree(target, options)
  return make("kill_tree", target, options, nil, { duration = "0..2s" })
end

--- SIGKILL to the postmaster alone: its children find out by themselves.
---@param target "primary"|"standby"
---@param options? rpitr.chaos.Range|rpitr.chaos.CrashOptions
---@return rpitr.chaos.Fault
---@error arg
function faults.kill_postmaster(target, options)
  return make("kill_postmaster", target, options, nil, { duration = "0..2s" })
end

--- SIGKILL to one backend, after which the server takes itself down and recovers. It is over when it has happened.
---@param target "primary"|"standby"
---@param options? rpitr.chaos.Range|rpitr.chaos.FaultOptions
---@return rpitr.chaos.Fault
---@error arg
function faults.kill_backend(target, options)
  return make("kill_backend", target, options)
end

--- Stops a server in mode immediate: no checkpoint, recovery at the next start.
---@param target "primary"|"standby"
---@param options? rpitr.chaos.Range|rpitr.chaos.CrashOptions
---@return rpitr.chaos.Fault
---@error arg
function faults.immediate(target, options)
  return make("immediate", target, options, nil, { duration = "0..2s" })
end

---@class rpitr.chaos.RestartOptions: rpitr.chaos.FaultOptions
---@field mode? "smart"|"fast"|"immediate"  (default "fast")

--- Stops a server, or the WAL receiver, in order and starts it again. It is over when it has happened.
---@param target "primary"|"standby"|"receiver"
---@param options? rpitr.chaos.Range|rpitr.chaos.RestartOptions
---@return rpitr.chaos.Fault
---@error arg
function faults.restart(target, options)
  return make("restart", target, options, { mode = { "string", "fast" } })
end

---@class rpitr.chaos.CrashLoopOptions: rpitr.chaos.FaultOptions
---@field times? integer  (default 3)
---@field every? rpitr.Duration  (default "500ms")

--- Kills a server whenever it has just come up.
---@param target "primary"|"standby"
---@param options? rpitr.chaos.Range|rpitr.chaos.CrashLoopOptions
---@return rpitr.chaos.Fault
---@error arg
function faults.crash_loop(target, options)
  return make("crash_loop", target, options, { times = { "integer", 3 }, every = { "duration", 0.5 } })
end

-- Network --------------------------------------------------------------------------------------------

--- Cuts a server off from everybody: clients, standbys, receivers.
---@param target "primary"|"standby"
---@param options? rpitr.chaos.Range|rpitr.chaos.FaultOptions
---@return rpitr.chaos.Fault
---@error arg
function faults.isolate(target, options)
  return make("isolate", target, options)
end

--- Cuts the way between the primary and `target` in both directions. Connections stay open and go on when it is healed.
---@param target "client"|"standby"|"receiver"
---@param options? rpitr.chaos.Range|rpitr.chaos.FaultOptions
---@return rpitr.chaos.Fault
---@error arg
function faults.cut_pair(target, options)
  return make("cut_pair", target, options)
end

---@class rpitr.chaos.CutOptions: rpitr.chaos.FaultOptions
---@field way? "up"|"down"  (default "up") `up`: towards the primary

--- Cuts one direction between the primary and `target`.
---@param target "client"|"standby"|"receiver"
---@param options? rpitr.chaos.Range|rpitr.chaos.CutOptions
---@return rpitr.chaos.Fault
---@error arg
function faults.cut_oneway(target, options)
  local fault = make("cut_oneway", target, options, { way = { "string", "up" } })
  args.choice("chaos.cut_oneway", "option way", fault.way, { "up", "down" })
  return fault
end

---@class rpitr.chaos.LatencyOptions: rpitr.chaos.FaultOptions
---@field delay? rpitr.Duration  (default "50ms")
---@field jitter? rpitr.Duration  (default "0ms") up to this much more

--- Delays everything between the primary and `target`, each direction.
---@param target "client"|"standby"|"receiver"
---@param options? rpitr.chaos.Range|rpitr.chaos.LatencyOptions
---@return rpitr.chaos.Fault
---@error arg
function faults.latency(target, options)
  return make("latency", target, options, { delay = { "duration", 0.05 }, jitter = { "duration", 0 } })
end

---@class rpitr.chaos.RateOptions: rpitr.chaos.FaultOptions
---@field bytes? rpitr.Size  (default "64kB") each second

--- Limits the bytes each second between the primary and `target`, each direction.
---@param target "client"|"standby"|"receiver"
---@param options? rpitr.chaos.Range|rpitr.chaos.RateOptions
---@return rpitr.chaos.Fault
---@error arg
function faults.rate(target, options)
  local fault = make("rate", target, options, { bytes = { "size", 64 * 1024 } })
  fault.bytes = math.floor(fault.bytes)
  return fault
end

---@class rpitr.chaos.ResetOptions
---@field duration? rpitr.chaos.Range  (default "0..1s") how long it lasts, a duration or a range

--- Tears down all connections between the primary and `target` (RST), and new ones as long as it lasts.
---@param target "client"|"standby"|"receiver"
---@param options? rpitr.chaos.Range|rpitr.chaos.ResetOptions
---@return rpitr.chaos.Fault
---@error arg
function faults.reset(target, options)
  return make("reset", target, options, nil, { duration = "0..1s" })
end

---@class rpitr.chaos.AckLossOptions: rpitr.chaos.FaultOptions
---@field probability? number  (default 0) share of the answers that are lost
---@field every? integer  (default 0) 3: each third one; with no probability either, the first one only
---@field most? integer  how many at most
---@field seed? integer  (default 1) of the probability

--- Loses acknowledgements: the server commits, its answer to COMMIT never arrives, the connection is torn down.
---
--- ```lua
--- local fault = chaos.ack_loss("client", { probability = 0.01, seed = 7 })
--- assert(fault.kind == "ack_loss")
--- ```
---@param target "client"
---@param options? rpitr.chaos.Range|rpitr.chaos.AckLossOptions
---@return rpitr.chaos.Fault
---@error arg
function faults.ack_loss(target, options)
  local fault = make("ack_loss", target, options, {
    probability = { "number", 0 },
    every = { "integer", 0 },
    most = "integer?",
    seed = { "integer", 1 },
  })
  if fault.probability == 0 and fault.every == 0 then
    fault.every, fault.most = 1, fault.most or 1
  end
  fault.most = fault.most or 1000000000
  return fault
end

-- Archiving ------------------------------------------------------------------------------------------

local function push_fault(kind, options, spec)
  local all = { nth = { "integer", 1 }, count = { "integer", 1 } }
  for key, value in pairs(spec or {}) do
    all[key] = value
  end
  local fault = make(kind, "primary", options, all)
  fault.bytes = math.floor(fault.bytes or 0)
  return fault
end

---@class rpitr.chaos.PushOptions: rpitr.chaos.FaultOptions
---@field nth? integer  (default 1) the first push it strikes, counted from now on
---@field count? integer  (default 1) how many it strikes, retries included

---@class rpitr.chaos.FullOptions: rpitr.chaos.PushOptions
---@field bytes? rpitr.Size  (default "0B") how much still fits

--- The archive's disk is full once `bytes` more have been written to it.
---@param options? rpitr.chaos.Range|rpitr.chaos.FullOptions
---@return rpitr.chaos.Fault
---@error arg
function faults.archive_full(options)
  return push_fault("archive_full", options, { bytes = { "size", 0 } })
end

--- Pushes to the archive fail.
---@param options? rpitr.chaos.Range|rpitr.chaos.PushOptions
---@return rpitr.chaos.Fault
---@error arg
function faults.archive_fail(options)
  return push_fault("archive_fail", options)
end

--- A push to the archive hangs until the fault is healed.
---@param options? rpitr.chaos.Range|rpitr.chaos.PushOptions
---@return rpitr.chaos.Fault
---@error arg
function faults.archive_hang(options)
  return push_fault("archive_hang", options)
end

--- A push says that it has archived the segment, and has not. Healing brings the segment after all.
---@param options? rpitr.chaos.Range|rpitr.chaos.PushOptions
---@return rpitr.chaos.Fault
---@error arg
function faults.archive_lie(options)
  return push_fault("archive_lie", options)
end

---@class rpitr.chaos.PartialOptions: rpitr.chaos.PushOptions
---@field bytes? rpitr.Size  (default "64kB") how much of the segment it leaves

--- A push dies half-way and leaves the start of a segment under its final name: the archiver is stuck until somebody
--- removes it.
---@param options? rpitr.chaos.Range|rpitr.chaos.PartialOptions
---@return rpitr.chaos.Fault
---@error arg
function faults.archive_partial(options)
  return push_fault("archive_partial", options, { bytes = { "size", 64 * 1024 } })
end

-- Segments at rest -----------------------------------------------------------------------------------

-- `pick` says which one by its place among the archived segments: 0 is the oldest, 1 the newest.
local function segment_fault(kind, options, spec)
  local all = { pick = { "number", 0.5 }, segment = "string?" }
  for key, value in pairs(spec or {}) do
    all[key] = value
  end
  local fault = make(kind, "primary", options, all)
  if fault.pick < 0 or fault.pick > 1 then
    internal.raise({ kind = "arg", message = ("chaos.%s: option pick must be between 0 and 1"):format(kind) }, 3)
  end
  return fault
end

---@class rpitr.chaos.SegmentOptions: rpitr.chaos.FaultOptions
---@field pick? number  (default 0.5) which one, by its place among the archived: 0 is the oldest, 1 the newest
---@field segment? string  this one, by its name

--- A segment is gone from the archive.
---@param options? rpitr.chaos.Range|rpitr.chaos.SegmentOptions
---@return rpitr.chaos.Fault
---@error arg
function faults.segment_missing(options)
  return segment_fault("segment_missing", options)
end

---@class rpitr.chaos.CutShortOptions: rpitr.chaos.SegmentOptions
---@field keep? number  (default 0.5) the part that is left as it was, from 0 to 1

--- An archived segment has lost its end.
---@param options? rpitr.chaos.Range|rpitr.chaos.CutShortOptions
---@return rpitr.chaos.Fault
---@error arg
function faults.segment_truncated(options)
  return segment_fault("segment_truncated", options, { keep = { "number", 0.5 } })
end

---@class rpitr.chaos.BitflipOptions: rpitr.chaos.SegmentOptions
---@field at? number  (default 0.5) where, from 0 to 1

--- One bit of an archived segment is wrong.
---@param options? rpitr.chaos.Range|rpitr.chaos.BitflipOptions
---@return rpitr.chaos.Fault
---@error arg
function faults.segment_bitflip(options)
  return segment_fault("segment_bitflip", options, { at = { "number", 0.5 } })
end

--- The second half of an archived segment is zeros, as after a torn write; `keep` says how much is left before them.
---@param options? rpitr.chaos.Range|rpitr.chaos.CutShortOptions
---@return rpitr.chaos.Fault
---@error arg
function faults.segment_zeroed(options)
  return segment_fault("segment_zeroed", options, { keep = { "number", 0.5 } })
end

-- Clock and orchestration ----------------------------------------------------------------------------

---@class rpitr.chaos.ClockOptions: rpitr.chaos.FaultOptions
---@field by? number  (default -5) seconds; negative is back

--- Sets a server's clock forward or back. The node must have been created with `clock = true`.
---@param target "primary"|"standby"
---@param options? rpitr.chaos.Range|rpitr.chaos.ClockOptions
---@return rpitr.chaos.Fault
---@error arg
function faults.clock_step(target, options)
  return make("clock_step", target, options, { by = { "number", -5 } })
end

--- Kills the WAL receiver (pg_receivewal); healing starts it again.
---@param options? rpitr.chaos.Range|rpitr.chaos.CrashOptions
---@return rpitr.chaos.Fault
---@error arg
function faults.kill_capturer(options)
  return make("kill_capturer", "receiver", options, nil, { duration = "0..2s" })
end

--- Kills rpitr itself (SIGKILL), in the middle of whatever it does. Its guardian heals the other faults.
---@return rpitr.chaos.Fault
function faults.kill_orchestrator()
  return make("kill_orchestrator", "rpitr")
end

return faults
