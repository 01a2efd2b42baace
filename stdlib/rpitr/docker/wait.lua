--- Wait strategies: when is a container ready? Public as `docker.wait`.
--
-- A container that ends while something else is waited for will never get there: that is an error at once, with
-- the end of its log.

local host, internal = ...
local args = require "rpitr.core.args"
local timer = require "rpitr.timer"

local wait = {}

local Strategy = { __name = "rpitr.WaitStrategy" }
Strategy.__index = Strategy

local OPTIONS = { timeout = { "duration", 60 }, every = { "duration", 0.1 } }

local function strategy(name, options, what, ready)
  local opts = args.options("docker.wait." .. name, options, OPTIONS)
  return setmetatable({ name = name, what = what, ready = ready, timeout = opts.timeout, every = opts.every }, Strategy)
end

--- Whether a value is a strategy.
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

--- Waits as a strategy says. `container:wait` calls this.
function wait.run(one, container)
  return timer.eventually(function()
    local done = one.ready(container)
    if not done and one.name ~= "exit" then
      refuse_ended(container, one.what)
    end
    return done
  end, { timeout = one.timeout, every = one.every, describe = ("%s of container %s"):format(one.what, container.name) })
end

function wait.log(text, options)
  args.check("docker.wait.log", "text", text, "string")
  return strategy("log", options, ("%q in the log"):format(text), function(container)
    return container:logs():find(text, 1, true) ~= nil
  end)
end

function wait.port(port, options)
  args.check("docker.wait.port", "port", port, "integer")
  return strategy("port", options, ("an open port %d"):format(port), function(container)
    local address, published = container:port(port)
    return host.tcp_answers(address, published)
  end)
end

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

function wait.exec(command, options)
  args.check("docker.wait.exec", "command", command, "table")
  return strategy("exec", options, ("success of %s"):format(tostring(command[1])), function(container)
    local words = table.move(command, 1, #command, 1, { check = false, timeout = "10s" })
    local ok, result = pcall(container.exec, container, words)
    return ok and result.code == 0
  end)
end

function wait.exit(options)
  return strategy("exit", options, "the end", function(container)
    local state = container:state()
    return (state.status == "exited" or state.status == "dead") and { state.exit_code }
  end)
end

return wait
