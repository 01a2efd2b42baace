--- One container of a script: its life, programs in it, its files, its log. `docker.run` makes them.

local host, internal = ...
local args = require "rpitr.core.args"
local output = require "rpitr.docker.output"
local sh = require "rpitr.sh"
local task = require "rpitr.task"
local wait = require "rpitr.docker.wait"

local container = {}

local Container = { __name = "rpitr.Container" }
Container.__index = Container

--- Wraps a container of the engine.
function container.attach(all, id, name, image)
  return setmetatable({ all = all, id = id, name = name, image = image }, Container)
end

function Container:__tostring()
  return ("container %s (%s)"):format(self.name, self.image)
end

-- Life -----------------------------------------------------------------------------------------------

--- Starts the container.
-- @error environment  port_taken
function Container:start()
  host.docker_act(self.all, self.id, "start")
end

--- Asks its first process to end, and kills it when it has not.
-- @param options { timeout = "10s" }
function Container:stop(options)
  local opts = args.options("container:stop", options, { timeout = { "duration", 10 } })
  host.docker_act(self.all, self.id, "stop", ("%d"):format(math.ceil(opts.timeout)))
end

--- Stops and starts.
-- @param options { timeout = "10s" }
function Container:restart(options)
  local opts = args.options("container:restart", options, { timeout = { "duration", 10 } })
  host.docker_act(self.all, self.id, "restart", ("%d"):format(math.ceil(opts.timeout)))
end

--- Sends a signal to its first process.
-- @param signal string?  "KILL" by default
function Container:kill(signal)
  host.docker_act(self.all, self.id, "kill", args.check("container:kill", "signal", signal or "KILL", "string"))
end

--- Freezes every process in it.
function Container:pause()
  host.docker_act(self.all, self.id, "pause")
end

--- Lets it go on.
function Container:unpause()
  host.docker_act(self.all, self.id, "unpause")
end

--- Removes it, running or not, with its anonymous volumes. Removing it twice does no harm.
function Container:rm()
  host.docker_act(self.all, self.id, "remove")
end

Container.close = Container.rm
Container.__close = Container.rm

--- Everything the engine knows of it, as `docker inspect` shows it.
-- @error state  container_gone
function Container:inspect()
  return host.docker_inspect(self.all, self.id)
end

--- { status, exit_code, health }: status is "created", "running", "paused", "exited" or "dead"; health is
-- nil, "starting", "healthy" or "unhealthy".
function Container:state()
  local state = self:inspect().State
  local health = state.Health and state.Health.Status
  if health == "none" or health == "" then
    health = nil
  end
  return { status = state.Status, exit_code = state.ExitCode, health = health }
end

--- Where a published port is reached from this machine.
-- @return address, port
-- @usage local address, port = c:port(5432)
function Container:port(port)
  args.check("container:port", "port", port, "integer")
  local published = (self:inspect().NetworkSettings.Ports or {})[("%d/tcp"):format(port)]
  local first = type(published) == "table" and published[1] or nil
  if not first then
    internal.raise({
      kind = "state",
      message = ("%s publishes no port %d"):format(self.name, port),
      hint = ("is it running? name the port when it is made: docker.run(image, { ports = { %d } })"):format(port),
    }, 2)
  end
  return host.docker_host(self.all), math.tointeger(tonumber(first.HostPort))
end

--- Waits as the strategies say, one after the other; see `docker.wait`.
-- @return the exit status, for `docker.wait.exit`
-- @error timeout; state, when the container ends before
-- @usage c:wait(docker.wait.log "ready", docker.wait.port(5432))
function Container:wait(...)
  local result
  local strategies = table.pack(...)
  if strategies.n == 1 and type(strategies[1]) == "table" and not wait.is_strategy(strategies[1]) then
    strategies = strategies[1]
  end
  for _, one in ipairs(strategies) do
    if not wait.is_strategy(one) then
      internal.raise({
        kind = "arg",
        message = "container:wait needs a wait strategy",
        hint = 'such as docker.wait.log "ready" or docker.wait.port(5432)',
      }, 2)
    end
    result = wait.run(one, self)
  end
  return type(result) == "table" and result[1] or nil
end

-- Programs -------------------------------------------------------------------------------------------

local EXEC = {
  env = "table?",
  user = "string?",
  cwd = "string?",
  stdin = "string?",
  timeout = "duration?",
  check = { "boolean", true },
  stdout = "function?",
  stderr = "function?",
}

-- Gives each part to the script's function, or collects it.
local function drain(program, opts)
  local collected = { stdout = {}, stderr = {} }
  while true do
    local source, bytes = host.docker_exec_next(program)
    if not source then
      return table.concat(collected.stdout), table.concat(collected.stderr)
    end
    if opts[source] then
      opts[source](bytes)
    else
      table.insert(collected[source], bytes)
    end
  end
end

local function run_program(self, words, opts)
  local started = host.now()
  local program = host.docker_exec(self.all, self.id, {
    command = words,
    env = opts.env,
    user = opts.user,
    cwd = opts.cwd,
    stdin = opts.stdin,
  })
  local ok, stdout, stderr, code = xpcall(function()
    local out, err = drain(program, opts)
    return out, err, host.docker_exec_code(program)
  end, internal.as_error)
  if not ok then
    -- Nobody waits for it any more: it must not go on.
    task.shield(pcall, host.docker_exec_kill, program)
    error(stdout, 0)
  end
  return { code = code, stdout = stdout, stderr = stderr, seconds = host.now() - started }
end

--- Runs a program in the container and waits for it. The words are passed as they are, no shell in between.
-- Cancelling the task, or a `timeout`, kills the program and what it started (the image needs a shell for that).
-- @param command { program, argument..., env =, user =, cwd =, stdin =, timeout =, check = true,
--   stdout = function(bytes)?, stderr = function(bytes)? }  with a function, output is passed on as it comes
-- @return { code, stdout, stderr, seconds }
-- @error io  exit_status; timeout; state
-- @usage print(c:exec({ "psql", "--version" }).stdout)
function Container:exec(command)
  args.check("container:exec", "command", command, "table")
  local words, options = {}, {}
  for key, value in pairs(command) do
    if math.type(key) ~= "integer" then
      options[key] = value
    end
  end
  for i, word in ipairs(command) do
    words[i] =
      args.check("container:exec", "argument " .. i, type(word) == "number" and tostring(word) or word, "string")
  end
  args.check("container:exec", "program", words[1], "string")
  local opts = args.options("container:exec", options, EXEC)
  local result
  if opts.timeout then
    result = task.with_timeout(opts.timeout, run_program, self, words, opts)
  else
    result = run_program(self, words, opts)
  end
  if opts.check and result.code ~= 0 then
    internal.raise({
      kind = "io",
      code = "exit_status",
      message = ("%s in container %s ended with exit status %d"):format(words[1], self.name, result.code),
      detail = (result.stderr ~= "" and result.stderr or result.stdout):gsub("%s+$", ""),
    }, 2)
  end
  return result
end

-- Log ------------------------------------------------------------------------------------------------

local Lines = { __name = "rpitr.LogLines" }
Lines.__index = Lines

function Lines:__call()
  return self.next()
end

function Lines:close()
  host.docker_close(self.parts)
end

Lines.__close = Lines.close

--- What the container's first process wrote.
-- @param options { tail = integer? }  only the last lines
-- @return text
function Container:logs(options)
  local opts = args.options("container:logs", options, { tail = "integer?" })
  local parts, text = host.docker_logs(self.all, self.id, false, opts.tail), {}
  while true do
    local source, bytes = host.docker_next(parts)
    if not source then
      return table.concat(text)
    end
    text[#text + 1] = bytes
  end
end

--- The log line by line, as it is written, until the container ends. Breaking off is fine.
-- @param options { tail = integer? }
-- @usage for line in c:follow() do print(line) if line:find "ready" then break end end
function Container:follow(options)
  local opts = args.options("container:follow", options, { tail = "integer?" })
  local parts = host.docker_logs(self.all, self.id, true, opts.tail)
  local lines = setmetatable({
    parts = parts,
    next = output.lines(function()
      local _, bytes = host.docker_next(parts)
      return bytes
    end),
  }, Lines)
  return lines, nil, nil, lines
end

-- Files ----------------------------------------------------------------------------------------------

local function split(path)
  local folder, name = path:match "^(.*)/([^/]+)$"
  if not folder then
    internal.raise({ kind = "arg", message = ("%q is not an absolute path of a container"):format(path) }, 3)
  end
  return folder == "" and "/" or folder, name
end

--- Writes a file of the container; its folder must exist. It need not run.
function Container:write(path, contents)
  local folder, name = split(args.check("container:write", "path", path, "string"))
  args.check("container:write", "contents", contents, "string")
  host.docker_upload(self.all, self.id, folder, host.docker_tar(name, contents))
end

--- The contents of a file of the container.
function Container:read(path)
  args.check("container:read", "path", path, "string")
  local contents = host.docker_untar(host.docker_download(self.all, self.id, path))
  if not contents then
    internal.raise({ kind = "io", message = ("%s of container %s is not a file"):format(path, self.name) }, 2)
  end
  return contents
end

--- Copies a file or folder of this machine into a folder of the container.
-- @usage c:copy_in("settings", "/etc")  --> /etc/settings
function Container:copy_in(from, folder)
  args.check("container:copy_in", "from", from, "string")
  args.check("container:copy_in", "folder", folder, "string")
  local parent, name = from:match "^(.*)/([^/]+)/?$"
  local tar = sh.run { "tar", "-c", "-C", parent == nil and "." or parent == "" and "/" or parent, name or from }
  host.docker_upload(self.all, self.id, folder, tar.stdout)
end

--- Copies a file or folder of the container into a folder of this machine.
-- @usage c:copy_out("/var/log/app", "out")  --> out/app
function Container:copy_out(path, folder)
  args.check("container:copy_out", "path", path, "string")
  args.check("container:copy_out", "folder", folder, "string")
  sh.run { "tar", "-x", "-C", folder, "-f", "-", stdin = host.docker_download(self.all, self.id, path) }
end

return container
