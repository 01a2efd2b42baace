--- Time: sleep, timers, and `eventually`, which polls with a deadline.

local host, internal = ...
local args = require "rpitr.core.args"
local task = require "rpitr.task"

local timer = {}

--- Waits. Other tasks run meanwhile.
-- @param duration duration  seconds, or text with a unit
-- @usage timer.sleep "10ms"
function timer.sleep(duration)
  -- A tail call: what sleeps by the thousand should hold as few frames as it can.
  return host.sleep(args.check("timer.sleep", "duration", duration, "duration"))
end

--- Seconds since the run started, monotonic.
function timer.now()
  return host.now()
end

--- Runs `fn` once after `duration`. Closing the returned task before then prevents it.
function timer.after(duration, fn)
  local seconds = args.check("timer.after", "duration", duration, "duration")
  args.check("timer.after", "fn", fn, "function")
  return task.spawn(function()
    host.sleep(seconds)
    return fn()
  end)
end

--- Runs `fn(n)` every `duration` until the returned task is closed. Ticks never overlap: one that
-- comes due while `fn` still runs is skipped. An error in `fn` ends the timer and surfaces in its
-- parent, or at `:join()`.
function timer.every(duration, fn)
  local seconds = args.check("timer.every", "duration", duration, "duration")
  args.check("timer.every", "fn", fn, "function")
  return task.spawn(function()
    local due, n = host.now() + seconds, 0
    while true do
      host.sleep(math.max(due - host.now(), 0))
      n = n + 1
      fn(n)
      due = math.max(due + seconds, host.now())
    end
  end)
end

--- Seconds left until the nearest deadline around the running code, or nil when there is none.
function timer.deadline()
  return host.deadline_left()
end

--- Calls `fn` until it returns something truthy without raising; returns that.
-- When time is up it raises the last error, or says how often it tried.
-- @param fn function
-- @param options { timeout = duration?, every = duration?, describe = string? }  30s, 20ms
-- @usage timer.eventually(function() return true end, { timeout = "1s", describe = "the answer" })
function timer.eventually(fn, options)
  args.check("eventually", "fn", fn, "function")
  local opts = args.options("eventually", options, {
    timeout = { "duration", 30 },
    every = { "duration", 0.02 },
    describe = { "string", "the condition" },
  })
  local started, tries = host.now(), 0
  while true do
    tries = tries + 1
    -- An attempt that hangs ends with the time there is, though each gets a second.
    local limit = math.max(opts.timeout - (host.now() - started), 1)
    local results = table.pack(xpcall(task.with_timeout, internal.as_error, limit, fn))
    if results[1] and results[2] then
      return table.unpack(results, 2, results.n)
    end
    local last = not results[1] and results[2] or nil
    if last and (last.kind == "interrupted" or last.kind == "cancelled" or last.code == "fatal") then
      error(last, 0)
    end
    local waited = host.now() - started
    if waited >= opts.timeout then
      internal.raise({
        kind = "timeout",
        message = ("%s did not happen in %.1fs (%d tries)"):format(opts.describe, waited, tries),
        cause = last,
      }, 2)
    end
    host.sleep(math.min(opts.every, opts.timeout - waited))
  end
end

return timer
