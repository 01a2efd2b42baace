--- Time: sleep, timers, and `eventually`, which polls with a deadline.
---@class rpitr.timer
local timer = {}

local host, internal = ...
local args = require "rpitr.core.args"
local task = require "rpitr.task"

--- Waits. Other tasks run meanwhile.
---
--- ```lua
--- timer.sleep "10ms"
--- ```
---@param duration rpitr.Duration
---@error arg
function timer.sleep(duration)
  -- A tail call: what sleeps by the thousand should hold as few frames as it can.
  return host.sleep(args.check("timer.sleep", "duration", duration, "duration"))
end

--- Seconds since the run started, monotonic.
---@return number
function timer.now()
  return host.now()
end

--- Runs `fn` once after `duration`. Closing the returned task before then prevents it.
---
--- ```lua
--- local late = timer.after("10ms", function()
---   return "done"
--- end)
--- assert(late:join() == "done")
--- ```
---@param duration rpitr.Duration
---@param fn fun(): any
---@return rpitr.Task task  with what `fn` returns
---@error arg
function timer.after(duration, fn)
  local seconds = args.check("timer.after", "duration", duration, "duration")
  args.check("timer.after", "fn", fn, "function")
  return task.spawn(function()
    host.sleep(seconds)
    return fn()
  end)
end

--- Runs `fn(n)` every `duration` until the returned task is closed. Ticks never overlap: one that
--- comes due while `fn` still runs is skipped. An error in `fn` ends the timer and surfaces in its
--- parent, or at `:join()`.
---
--- ```lua
--- local ticks = 0
--- do
---   local ticking <close> = timer.every("5ms", function(n)
---     ticks = n
---   end)
---   timer.sleep "100ms"
--- end
--- assert(ticks > 1)
--- ```
---@param duration rpitr.Duration
---@param fn fun(n: integer)
---@return rpitr.Task
---@error arg
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
---
--- ```lua
--- task.with_timeout("1m", function()
---   assert(timer.deadline() <= 60)
--- end)
--- ```
---@return number?
function timer.deadline()
  return host.deadline_left()
end

---@class rpitr.timer.EventuallyOptions
---@field timeout? rpitr.Duration  (default "30s")
---@field every? rpitr.Duration  (default "20ms") pause between two tries
---@field describe? string  (default "the condition") what is waited for, for the error

--- Calls `fn` until it returns something truthy without raising; returns that. Also the global `eventually`.
--- When time is up it raises the last error, or says how often it tried. An error with code "fatal" is raised at once.
---
--- ```lua
--- local tries = 0
--- timer.eventually(function()
---   tries = tries + 1
---   return tries == 3
--- end, { timeout = "5s", describe = "the third try" })
--- ```
---@param fn fun(): any
---@param options? rpitr.timer.EventuallyOptions
---@return any ...  what `fn` returned
---@error timeout  the cause is the last error of `fn`, if it raised one
---@error arg
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
    local results = internal.attempt(task.with_timeout, limit, fn)
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
