-- Cleanup that may wait, and the tasks below `rpitr.task`.

local raw, internal = ...
local host, raise, as_error = internal.host, internal.raise, internal.as_error
local raw_setmetatable, raw_xpcall = internal.raw_setmetatable, internal.raw_xpcall
local pack = table.pack

-- Cleanup ------------------------------------------------------------------------------------------

local CLEANUP_LIMIT = 60
local cleanup_failures = {}

-- Runs `f` out of reach of cancellation, timeouts and the first Ctrl-C, but not for longer than
-- `limit` seconds. A failure is reported and kept for the exit code; the handlers after it still run.
local function cleanup_within(limit, f, ...)
  local closing = internal.suspend_closing()
  local scope = host.scope_shield(limit)
  local ok, e = raw_xpcall(f, as_error, ...)
  local own = host.scope_code(scope)
  host.scope_leave(scope)
  internal.resume_closing(closing)
  -- `os.exit` in a handler is a way out, not a failure.
  if not ok and e.code ~= "exit" then
    if e.code == own then
      e.code = nil
    end
    internal.report_cleanup(e)
  end
end

local function cleanup(f, ...)
  return cleanup_within(CLEANUP_LIMIT, f, ...)
end

function internal.report_cleanup(e)
  cleanup_failures[#cleanup_failures + 1] = e
  raw.notice("cleanup failed: " .. tostring(e))
end

local shielded = raw_setmetatable({}, { __mode = "k" })

-- Every `__close` handler is shielded, the script's own included.
function setmetatable(object, mt)
  local close = type(mt) == "table" and rawget(mt, "__close")
  if close and not shielded[close] then
    local function shield(value, e)
      return cleanup(close, value, e)
    end
    shielded[shield] = true
    mt.__close = shield
  end
  return raw_setmetatable(object, mt)
end

local Deferred = {
  __name = "rpitr.Deferred",
  __close = function(deferred, e)
    cleanup_within(deferred.limit, deferred.run, e)
  end,
}

-- Runs `f(err)` when the surrounding block is left, however it is left; see `stdlib/meta`. `f` may wait, `options.timeout`
-- long: the first Ctrl-C and timeouts around it do not reach it.
function defer(f, options)
  if type(f) ~= "function" then
    raise { kind = "arg", message = "defer expects a function, got " .. type(f) }
  end
  local limit = CLEANUP_LIMIT
  if options ~= nil then
    limit = require("rpitr.core.args").options("defer", options, { timeout = { "duration", limit } }).timeout
  end
  return raw_setmetatable({ run = f, limit = limit }, Deferred)
end

-- Tasks --------------------------------------------------------------------------------------------
-- A task's children end with it: unfinished ones are cancelled, a failure nobody joined fails the
-- parent.

local tasks = {}

local function current_task()
  local _, id = raw.task_current()
  return tasks[id]
end

-- Whether a child's error says something its parent does not know: that it was told to stop, it does.
local function is_news(e, task)
  local told = e.kind == "cancelled" or e.kind == "interrupted" or e.code == "deadline"
  return not told and not (task.expired and task.expired[e.code])
end

-- A task's event is made for the first that waits for it: most have a group to wait for them.
local function wait_for(task)
  task.event = task.event or host.event_new()
  while not task.finished do
    host.event_wait(task.event)
  end
end

local function finish_children(task)
  local children, waits = task.children, false
  if not children then
    return nil
  end
  for i = #children, 1, -1 do
    if not children[i].finished then
      host.task_cancel(children[i].id)
      waits = true
    end
  end
  if waits then
    -- Without a limit: each handler the children still run has its own.
    local shield = host.scope_shield(math.huge)
    for _, child in ipairs(children) do
      wait_for(child)
    end
    host.scope_leave(shield)
  end
  for _, child in ipairs(children) do
    if not child.joined and not child.ok and is_news(child.error, task) then
      return child.error
    end
  end
end

local function conclude(task, ok, ...)
  -- Either way the second value is what went wrong among the children, if anything did.
  local _, failure = raw_xpcall(finish_children, as_error, task)
  task.results = pack(...)
  task.ok, task.error = ok, not ok and (...) or nil
  if failure and ok then
    task.ok, task.error = false, failure
  elseif failure and task.error.cause == nil and not is_news(task.error, {}) and failure ~= task.error then
    -- Stopped from outside, perhaps while it waited in vain for the child that failed.
    task.error.cause = failure
  end
end

local function run_task(task, f, ...)
  internal.set_hook()
  conclude(task, raw_xpcall(f, as_error, ...))
  task.finished = true
  tasks[task.id] = nil
  if task.event then
    host.event_notify(task.event)
  end
  if task.on_finish then
    task.on_finish(task)
  end
end

-- Children that are long over are dropped, so that a loop of short tasks stays small.
local function adopt(parent, task)
  local children = parent.children or {}
  parent.children = children
  if #children >= (parent.sweep_at or 64) then
    local kept = {}
    for _, child in ipairs(children) do
      if not (child.finished and (child.joined or child.ok)) then
        kept[#kept + 1] = child
      end
    end
    parent.children, parent.sweep_at = kept, math.max(64, 2 * #kept)
    children = kept
  end
  children[#children + 1] = task
end

-- Starts `f(...)` as a child of `options.parent` in `options.scope`; of the running task by default.
local function spawn(options, f, ...)
  local task = { on_finish = options.on_finish }
  task.id = host.task_spawn(options.scope, run_task, task, f, ...)
  tasks[task.id] = task
  adopt(options.parent or current_task(), task)
  return task
end

-- Runs `f` as the body of the task the host has just started, with everything a task guarantees.
local function run_here(f, ...)
  local task = { id = select(2, raw.task_current()) }
  tasks[task.id] = task
  run_task(task, f, ...)
  return task
end

-- Runs `f` so that Ctrl-C ends it and nothing else. Returns what pcall would, packed.
function internal.in_foreground(f, ...)
  local scope = host.scope_foreground()
  local outcome = internal.attempt(f, ...)
  host.scope_background()
  host.scope_leave(scope)
  return outcome
end

internal.wait_for = wait_for
internal.cleanup, internal.cleanup_failures = cleanup, cleanup_failures
internal.spawn, internal.current_task, internal.run_here = spawn, current_task, run_here
