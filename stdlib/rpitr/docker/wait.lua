--- Wait strategies: when is a container ready? Public as `docker.wait`.
---
--- A container that ends while something else is waited for will never get there: that is an error at once, with
--- the end of its log.
---@class rpitr.docker.wait
local wait = {}

local host, internal = ...
local args = require "rpitr.core.args"
local timer = require "rpitr.timer"

--- How to tell that a container is ready.
---@class rpitr.WaitStrategy
---@field name string
---@field package what string
---@field package ready fun(container: rpitr.Container): any
---@field package timeout number
---@field package every number
local Strategy = { __name = "rpitr.WaitStrategy" }
Strategy.__index = Strategy

local OPTIONS = { timeout = { "duration", 60 }, every = { "duration", 0.1 } }

local function strategy(name, options, what, ready)
  local opts = args.options("docker.wait." .. name, options, OPTIONS)
  return setmetatable({ name = name, what = what, ready = ready, timeout = opts.timeout, every = opts.every }, Strategy)
end

--- Whether a value is a strategy.
---@param value any
---@return boolean
function wait.is_strategy(value)
  return getmetatable(value) == Strategy
end

local function refuse_ended(container, what)
  local state = container:state()
  if state.status == "exited" or state.status == "dead" then
    internal.raise({
      kind = "state",
      -- What `eventually` takes for final.
      code = "fatal",
      message = ("container %s ended with exit status %d before %s"):format(container.name, state.exit_code, what),
      detail = container:logs { tail = 10 },
    }, 3)
  end
end

--- Waits as a strategy says. `container:wait` does it for several.
---@param one rpitr.WaitStrategy
---@param container rpitr.Container
---@return any
---@error timeout, state
function wait.run(one, container)
  return timer.eventually(function()
    local done = one.ready(container)
    if not done and one.name ~= "exit" then
      refuse_ended(container, one.what)
    end
    return done
  end, { timeout = one.timeout, every = one.every, describe = ("%s of container %s"):format(one.what, container.name) })
end

---@class rpitr.docker.WaitOptions
---@field timeout? rpitr.Duration  (default "60s")
---@field every? rpitr.Duration  (default "100ms") pause between two looks

--- The log holds this text.
---@param text string  plain text, no pattern
---@param options? rpitr.docker.WaitOptions
---@return rpitr.WaitStrategy
---@error arg
function wait.log(text, options)
  args.check("docker.wait.log", "text", text, "string")
  return strategy("log", options, ("%q in the log"):format(text), function(container)
    return container:logs():find(text, 1, true) ~= nil
  end)
end

--- The published port accepts connections.
---@param port integer  the container's
---@param options? rpitr.docker.WaitOptions
---@return rpitr.WaitStrategy
---@error arg
function wait.port(port, options)
  args.check("docker.wait.port", "port", port, "integer")
  return strategy("port", options, ("an open port %d"):format(port), function(container)
    local address, published = container:port(port)
    return host.tcp_answers(address, published)
  end)
end

--- The image's own health check passes.
---@param options? rpitr.docker.WaitOptions
---@return rpitr.WaitStrategy
---@error arg
function wait.healthy(options)
  return strategy("healthy", options, "a passed health check", function(container)
    local health = container:state().health
    if health == nil then
      internal.raise({
        kind = "state",
        code = "fatal",
        message = ("container %s has no health check"):format(container.name),
        hint = "its image declares none; use docker.wait.exec, docker.wait.log or docker.wait.port",
      }, 3)
    end
    return health == "healthy"
  end)
end

--- The program succeeds in the container.
---@param command string[]  the program, then its arguments
---@param options? rpitr.docker.WaitOptions
---@return rpitr.WaitStrategy
---@error arg
function wait.exec(command, options)
  args.check("docker.wait.exec", "command", command, "table")
  return strategy("exec", options, ("success of %s"):format(tostring(command[1])), function(container)
    local words = table.move(command, 1, #command, 1, { check = false, timeout = "10s" })
    local ok, result = pcall(container.exec, container, words)
    return ok and result.code == 0
  end)
end

--- The container has ended; `container:wait` returns its exit status.
---@param options? rpitr.docker.WaitOptions
---@return rpitr.WaitStrategy
---@error arg
function wait.exit(options)
  return strategy("exit", options, "the end", function(container)
    local state = container:state()
    return (state.status == "exited" or state.status == "dead") and { state.exit_code }
  end)
end

return wait
