--- Tasks: run functions side by side, wait for them, bound their time.
---
--- A task ends with the one that started it: children still running are cancelled, and the failure
--- of a child that nobody joined fails its parent. Cancellation is cooperative: the next wait (or the
--- next few thousand instructions) raises an error of kind "cancelled", the task unwinds, and its
--- `<close>` and `defer` handlers may still wait.
---@class rpitr.task
local task = {}

local host, internal = ...
local args = require "rpitr.core.args"

--- A function that runs beside others. Closable: leaving the block cancels it and waits for its end.
---@class rpitr.Task
---@field ok? boolean  whether it ended without an error, once it has ended
---@field error? rpitr.Error  what it raised
---@field package id integer
---@field package finished? boolean
---@field package joined? boolean
---@field package results? { n: integer, [integer]: any }
local Task = { __name = "rpitr.Task" }
Task.__index = Task

local function start(options, fn, ...)
  return setmetatable(internal.spawn(options, fn, ...), Task)
end

--- Starts `fn(...)` and returns at once.
---
--- ```lua
--- local t = task.spawn(function()
---   return 6 * 7
--- end)
--- assert(t:join() == 42)
--- ```
---@param fn fun(...): any
---@param ... any  what `fn` is called with
---@return rpitr.Task
---@error arg
function task.spawn(fn, ...)
  args.check("task.spawn", "fn", fn, "function")
  return start({}, fn, ...)
end

local wait = internal.wait_for

--- Waits for the task. Returns its results or raises its error.
---@return any ...
---@error state  it is the running task; and whatever it raised
function Task:join()
  if self.id == host.task_current() then
    internal.raise { kind = "state", message = "a task cannot join itself" }
  end
  wait(self)
  -- Only now: a join that was cut short must not hide a failure that comes later.
  self.joined = true
  if self.ok then
    return table.unpack(self.results, 1, self.results.n)
  end
  internal.rethrow(self.error)
end

--- Asks the task to stop; it unwinds at its next wait. Does not wait for it.
---
--- ```lua
--- local t = task.spawn(timer.sleep, "1h")
--- t:cancel()
--- assert(err.is(select(2, pcall(t.join, t)), "cancelled"))
--- ```
function Task:cancel()
  if not self.finished then
    self.joined = true
    host.task_cancel(self.id)
  end
end

--- Whether the task has ended.
---@return boolean
function Task:done()
  return self.finished == true
end

-- Leaving a block closes the task: cancelled, then waited for.
function Task:__close()
  self:cancel()
  wait(self)
end

--- Tasks that end together.
---@class rpitr.Group
---@field package live integer
---@field package options table
---@field package closed? boolean
---@field package event userdata
---@field package scope userdata
---@field package first? rpitr.Task
---@field package failure? rpitr.Error
local Group = { __name = "rpitr.Group" }
Group.__index = Group

--- Starts a task in the group; tasks of the group may do so too.
---@param fn fun(...): any
---@param ... any  what `fn` is called with
---@return rpitr.Task
---@error state  the group has ended
---@error arg
function Group:spawn(fn, ...)
  args.check("group:spawn", "fn", fn, "function")
  if self.closed then
    internal.raise { kind = "state", message = "group:spawn: the group has ended" }
  end
  self.live = self.live + 1
  local t = start(self.options, fn, ...)
  t.joined = true
  return t
end

local function wait_all(group)
  while group.live > 0 do
    host.event_wait(group.event)
  end
end

-- Runs `body(group)` and `finish(group)` in a scope of their own; returns when all the group's tasks
-- have ended. The first failure, of a task or of the body, cancels the others; where `one_wins`, only
-- the first task to end counts.
local function run_group(body, finish, one_wins)
  local group = setmetatable({ live = 0, event = host.event_new(), scope = host.scope_enter() }, Group)
  local function on_finish(t)
    group.live = group.live - 1
    group.first = group.first or t
    if not t.ok and not group.failure and (t == group.first or not one_wins) then
      group.failure = t.error
      host.scope_cancel(group.scope)
    end
    if group.live == 0 or group.first == t then
      host.event_notify(group.event)
    end
  end
  group.options = { parent = internal.current_task(), scope = group.scope, on_finish = on_finish }
  local outcome = internal.attempt(body, group)
  if outcome[1] then
    local ok, e = xpcall(finish, internal.as_error, group)
    if not ok then
      outcome = table.pack(false, e)
    end
  end
  group.closed = true
  if not outcome[1] then
    host.scope_cancel(group.scope)
  end
  -- Shielded: what cancelled the group must not cut the wait for its unwinding tasks short.
  local shield = host.scope_shield(math.huge)
  wait_all(group)
  host.scope_leave(shield)
  host.scope_leave(group.scope)
  local failure = group.failure
  if failure and failure.kind ~= "cancelled" then
    internal.rethrow(failure)
  end
  if not outcome[1] then
    internal.rethrow(outcome[2])
  end
  return table.unpack(outcome, 2, outcome.n)
end

--- Runs `body(g)`, then waits for every `g:spawn(...)`. The first error cancels the rest.
---
--- ```lua
--- task.group(function(g)
---   g:spawn(print, "a")
---   g:spawn(print, "b")
--- end)
--- ```
---@param body fun(g: rpitr.Group): any
---@return any ...  what `body` returns
---@error arg  and whatever the first task to fail raised
function task.group(body)
  args.check("task.group", "body", body, "function")
  return run_group(body, wait_all)
end

local function check_each(name, list)
  args.check(name, "functions", list, "table")
  for i, fn in ipairs(list) do
    args.check(name, "function " .. i, fn, "function")
  end
end

--- Runs all functions side by side and returns their first results in order.
---
--- ```lua
--- local a, b = table.unpack(task.all {
---   function()
---     return 1
---   end,
---   function()
---     return 2
---   end,
--- })
--- assert(a + b == 3)
--- ```
---@param list (fun(): any)[]
---@return any[]
---@error arg  and whatever the first to fail raised
function task.all(list)
  check_each("task.all", list)
  local tasks = {}
  run_group(function(group)
    for i, fn in ipairs(list) do
      tasks[i] = group:spawn(fn)
    end
  end, wait_all)
  local results = {}
  for i, t in ipairs(tasks) do
    results[i] = t.results[1]
  end
  return results
end

--- Runs all functions side by side; the first to end wins, be it with an error, and the others are
--- cancelled.
---
--- ```lua
--- local winner = task.race {
---   function()
---     timer.sleep "1h"
---   end,
---   function()
---     return "quick"
---   end,
--- }
--- assert(winner == "quick")
--- ```
---@param list (fun(): any)[]
---@return any ...  the winner's results
---@error arg  and whatever the winner raised
function task.race(list)
  check_each("task.race", list)
  if not list[1] then
    internal.raise { kind = "arg", message = "task.race: there is no function to run" }
  end
  local winner
  run_group(function(group)
    for _, fn in ipairs(list) do
      group:spawn(fn)
    end
  end, function(group)
    while not group.first do
      host.event_wait(group.event)
    end
    winner = group.first
    host.scope_cancel(group.scope)
  end, true)
  return winner:join()
end

-- Runs `fn` for at most so many seconds. When they are over it raises an error of kind "timeout" with that code.
local function limited(seconds, code, fn, ...)
  local scope = host.scope_enter(seconds)
  local outcome = internal.attempt(fn, ...)
  local own = host.scope_code(scope)
  host.scope_leave(scope)
  if outcome[1] then
    return table.unpack(outcome, 2, outcome.n)
  end
  local e = outcome[2]
  if e.kind == "timeout" and e.code == own then
    e.code = code
    -- Children that ended for the same reason have nothing to add.
    local running = internal.current_task()
    running.expired = running.expired or {}
    running.expired[own] = true
  end
  internal.rethrow(e)
end

-- A drill's budget is a deadline of the run, and ends it as one.
function internal.within_budget(seconds, fn, ...)
  return limited(seconds, "deadline", fn, ...)
end

--- Runs `fn(...)`, and ends it when it takes longer than `limit`. Waits started inside, tasks included, end with
--- the limit; a statement that runs on a server is cancelled.
---
--- ```lua
--- local ok, e = pcall(task.with_timeout, "50ms", db.query, db, "SELECT pg_sleep(60)")
--- assert(not ok and err.is(e, "timeout"))
--- ```
---@param limit rpitr.Duration
---@param fn fun(...): any
---@param ... any  what `fn` is called with
---@return any ...  what `fn` returns
---@error timeout, arg
function task.with_timeout(limit, fn, ...)
  local seconds = args.check("task.with_timeout", "limit", limit, "duration")
  args.check("task.with_timeout", "fn", fn, "function")
  return limited(seconds, nil, fn, ...)
end

--- Runs `fn(...)` out of reach of cancellation, timeouts around it and the first Ctrl-C.
---
--- ```lua
--- task.shield(pg.checkpoint, pg)
--- ```
---@param fn fun(...): any
---@param ... any  what `fn` is called with
---@return any ...  what `fn` returns
---@error arg
function task.shield(fn, ...)
  args.check("task.shield", "fn", fn, "function")
  local scope = host.scope_shield(math.huge)
  local outcome = internal.attempt(fn, ...)
  host.scope_leave(scope)
  if outcome[1] then
    return table.unpack(outcome, 2, outcome.n)
  end
  internal.rethrow(outcome[2])
end

--- How many tasks are alive, the main one not counted.
---@return integer
function task.count()
  return host.task_count()
end

return task
