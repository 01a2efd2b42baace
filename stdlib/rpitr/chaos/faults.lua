--- The faults. Each constructor returns plain data that JSON carries; `chaos.inject` makes it happen.
--
-- The last argument of each is either how long it lasts, a duration or a range ("2s", "5..20s"), or a table of
-- options with `duration` among them. A range is for whoever draws a schedule; `chaos.inject` heals when it is told.

local _, internal = ...
local args = require "rpitr.core.args"
local kinds = require("rpitr.chaos.kinds").list
local range = require "rpitr.core.range"

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
-- @param target "primary" | "standby" | "receiver"
-- @param options duration, range or { duration }
-- @return fault
-- @usage local fault = chaos.pause("primary", "5..20s")
function faults.pause(target, options)
  return make("pause", target, options)
end

--- SIGKILL to every process of a server, as a crash of its machine would. It stays down until it is healed.
function faults.kill_tree(target, options)
  return make("kill_tree", target, options, nil, { duration = "0..2s" })
end

--- SIGKILL to the postmaster alone: its children find out by themselves.
function faults.kill_postmaster(target, options)
  return make("kill_postmaster", target, options, nil, { duration = "0..2s" })
end

--- SIGKILL to one backend, after which the server takes itself down and recovers.
function faults.kill_backend(target, options)
  return make("kill_backend", target, options)
end

--- Stops a server in mode immediate: no checkpoint, recovery at the next start.
function faults.immediate(target, options)
  return make("immediate", target, options, nil, { duration = "0..2s" })
end

--- Stops a server, or the WAL receiver, in order and starts it again.
-- @param options { mode = "fast" }  or "smart", "immediate"
function faults.restart(target, options)
  return make("restart", target, options, { mode = { "string", "fast" } })
end

--- Kills a server whenever it has just come up.
-- @param options { times = 3, every = "500ms", duration }
function faults.crash_loop(target, options)
  return make("crash_loop", target, options, { times = { "integer", 3 }, every = { "duration", 0.5 } })
end

-- Network --------------------------------------------------------------------------------------------

--- Cuts a server off from everybody: clients, standbys, receivers.
function faults.isolate(target, options)
  return make("isolate", target, options)
end

--- Cuts the way between the primary and `target` in both directions. Connections stay open and go on when it is healed.
-- @param target "client" | "standby" | "receiver"
function faults.cut_pair(target, options)
  return make("cut_pair", target, options)
end

--- Cuts one direction between the primary and `target`.
-- @param options { way = "up" | "down", duration }  `up`: towards the primary
function faults.cut_oneway(target, options)
  local fault = make("cut_oneway", target, options, { way = { "string", "up" } })
  args.choice("chaos.cut_oneway", "option way", fault.way, { "up", "down" })
  return fault
end

--- Delays everything between the primary and `target`, each direction.
-- @param options { delay = "50ms", jitter = "0ms", duration }
function faults.latency(target, options)
  return make("latency", target, options, { delay = { "duration", 0.05 }, jitter = { "duration", 0 } })
end

--- Limits the bytes each second between the primary and `target`, each direction.
-- @param options { bytes = "64kB", duration }
function faults.rate(target, options)
  local fault = make("rate", target, options, { bytes = { "size", 64 * 1024 } })
  fault.bytes = math.floor(fault.bytes)
  return fault
end

--- Tears down all connections between the primary and `target` (RST), and new ones as long as it lasts.
function faults.reset(target, options)
  return make("reset", target, options, nil, { duration = "0..1s" })
end

--- Loses acknowledgements: the server commits, its answer to COMMIT never arrives, the connection is torn down.
-- @param options { probability = 0, every = 0, most = integer?, seed = 1, duration }  `every = 3`: each third one;
--   neither given: the first one
-- @usage local fault = chaos.ack_loss("client", { probability = 0.01, seed = 7 })
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

--- The archive's disk is full once `bytes` more have been written to it.
-- @param options { bytes = "0B", duration }
function faults.archive_full(options)
  return push_fault("archive_full", options, { bytes = { "size", 0 } })
end

--- Pushes to the archive fail.
-- @param options { nth = 1, count = 1, duration }  `nth`: the first one that does, counted from now on;
--   `count`: how many, retries included
function faults.archive_fail(options)
  return push_fault("archive_fail", options)
end

--- A push to the archive hangs until the fault is healed.
function faults.archive_hang(options)
  return push_fault("archive_hang", options)
end

--- A push says that it has archived the segment, and has not. Healing brings the segment after all.
function faults.archive_lie(options)
  return push_fault("archive_lie", options)
end

--- A push dies half-way and leaves the start of a segment under its final name: the archiver is stuck until somebody
-- removes it.
-- @param options { nth = 1, count = 1, bytes = "64kB", duration }
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

--- A segment is gone from the archive.
-- @param options { pick = 0.5, segment = name?, duration }
function faults.segment_missing(options)
  return segment_fault("segment_missing", options)
end

--- An archived segment has lost its end.
-- @param options { pick = 0.5, segment = name?, keep = 0.5, duration }  `keep`: the part that is left
function faults.segment_truncated(options)
  return segment_fault("segment_truncated", options, { keep = { "number", 0.5 } })
end

--- One bit of an archived segment is wrong.
-- @param options { pick = 0.5, segment = name?, at = 0.5, duration }  `at`: where, from 0 to 1
function faults.segment_bitflip(options)
  return segment_fault("segment_bitflip", options, { at = { "number", 0.5 } })
end

--- The second half of an archived segment is zeros, as after a torn write.
-- @param options { pick = 0.5, segment = name?, keep = 0.5, duration }
function faults.segment_zeroed(options)
  return segment_fault("segment_zeroed", options, { keep = { "number", 0.5 } })
end

-- Clock and orchestration ----------------------------------------------------------------------------

--- Sets a server's clock forward or back. The node must have been created with `clock = true`.
-- @param options { by = -5, duration }  seconds; negative is back
function faults.clock_step(target, options)
  return make("clock_step", target, options, { by = { "number", -5 } })
end

--- Kills the WAL receiver (pg_receivewal); healing starts it again.
function faults.kill_capturer(options)
  return make("kill_capturer", "receiver", options, nil, { duration = "0..2s" })
end

--- Kills rpitr itself (SIGKILL), in the middle of whatever it does. Its guardian heals the other faults.
function faults.kill_orchestrator()
  return make("kill_orchestrator", "rpitr")
end

return faults
