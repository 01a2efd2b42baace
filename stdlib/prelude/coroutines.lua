-- The interrupt hook, and coroutines that may wait.

local raw, internal = ...
local getinfo, sethook = debug.getinfo, debug.sethook
local co_create, co_resume, co_yield = coroutine.create, coroutine.resume, coroutine.yield
local co_running, co_status, co_close = coroutine.running, coroutine.status, coroutine.close
local raw_setmetatable, raw_pcall = internal.raw_setmetatable, internal.raw_pcall
local new_error, raise = internal.new_error, internal.raise

local function weak_keys()
  return raw_setmetatable({}, { __mode = "k" })
end

-- The interrupt hook -----------------------------------------------------------------------------
-- Set on every coroutine. When the task's scope has tripped it raises; from then on it looks at each
-- instruction, so that a loop around `pcall` does not swallow the interruption.

local HOOK_EVERY = 10000
local tight, closing = weak_keys(), weak_keys()
local scope_tripped = raw.scope_tripped

-- What unwinds must not be cut in half: the prelude, the task library, and mlua's poll loop, which
-- owns the future of a wait.
local function protected(source)
  return source:sub(1, 15) == "=[rpitr prelude" or source == "=[rpitr.task]" or source == "=__mlua_async_poll"
end

local function hook()
  local co = co_running()
  local _, tripped = scope_tripped()
  if not tripped and not closing[co] then
    if tight[co] then
      tight[co] = nil
      sethook(hook, "", HOOK_EVERY)
    end
    return
  end
  -- Before anything else: a loop whose length divides the interval would meet the hook at the same
  -- instruction, perhaps a protected one, for ever.
  if not tight[co] then
    tight[co] = true
    sethook(hook, "", 1)
  end
  if protected(getinfo(2, "S").source) then
    return
  end
  local _, why = raw.scope_reason()
  error(new_error(why or { kind = "cancelled", message = "the coroutine was closed" }), 0)
end

local function set_hook()
  sethook(hook, "", HOOK_EVERY)
end

-- Cleanup inside a coroutine that is being closed runs undisturbed.
local function suspend_closing()
  local co = co_running()
  local was = closing[co]
  closing[co] = nil
  return was
end

local function resume_closing(was)
  if was then
    local co = co_running()
    closing[co], tight[co] = true, true
    sethook(hook, "", 1)
  end
end

-- Coroutines that may wait -------------------------------------------------------------------------
-- A wait inside a script's own coroutine yields the host's marker; it is passed on to the task's
-- outermost coroutine, which the host polls. The body runs protected, because an error that escapes
-- a coroutine would run its `<close>` handlers too late and without the right to wait.
-- The scopes (timeouts, groups) a coroutine has open leave the task's stack when it yields a value
-- and return when it is resumed: its consumer must not run under them, nor lose its own.

local DONE = {}
local waiting, parked = weak_keys(), weak_keys()

local function body(f)
  return function(...)
    set_hook()
    return DONE, raw_pcall(f, ...)
  end
end

local function continue(co, ...)
  waiting[co] = nil
  return co_resume(co, ...)
end

local function forward(co, depth, ok, first, ...)
  if ok and rawequal(first, raw.pending) then
    waiting[co] = true
    return forward(co, depth, continue(co, co_yield(first)))
  end
  local _, open = raw.scope_detach(depth)
  if ok and rawequal(first, DONE) then
    return ...
  end
  parked[co] = open
  return ok, first, ...
end

local function start(co, ...)
  if waiting[co] then
    return false, "cannot resume a coroutine that waits in another task"
  end
  local _, depth = raw.scope_depth()
  if parked[co] then
    raw.scope_attach(parked[co])
    parked[co] = nil
  end
  return forward(co, depth, co_resume(co, ...))
end

function coroutine.create(f)
  if type(f) ~= "function" then
    raise { kind = "arg", message = "coroutine.create expects a function, got " .. type(f) }
  end
  return co_create(body(f))
end

coroutine.resume = start

local function wrapped(ok, ...)
  if ok then
    return ...
  end
  error((...), 0)
end

function coroutine.wrap(f)
  local co = coroutine.create(f)
  return function(...)
    return wrapped(start(co, ...))
  end
end

function coroutine.status(co)
  return waiting[co] and "normal" or co_status(co)
end

--- Ends a suspended coroutine by unwinding it, so that its `<close>` handlers may wait.
function coroutine.close(co)
  local tries = 0
  while co_status(co) == "suspended" and not waiting[co] and getinfo(co, 0) and tries < 100 do
    closing[co], tight[co] = true, true
    sethook(co, hook, "", 1)
    start(co)
    tries = tries + 1
  end
  closing[co] = nil
  return co_close(co)
end

internal.set_hook = set_hook
internal.suspend_closing, internal.resume_closing = suspend_closing, resume_closing
