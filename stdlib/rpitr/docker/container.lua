--- One container of a script: its life, programs in it, its files, its log. `docker.run` makes them.

local host, internal = ...
local args = require "rpitr.core.args"
local output = require "rpitr.docker.output"
local sh = require "rpitr.sh"
local task = require "rpitr.task"
local wait = require "rpitr.docker.wait"

local container = {}

--- A container; closable, which removes it.
---@class rpitr.Container
---@field id string
---@field name string
---@field image string
---@field package all userdata
local Container = { __name = "rpitr.Container" }
Container.__index = Container

-- Wraps a container of the engine.
function container.attach(all, id, name, image)
  return setmetatable({ all = all, id = id, name = name, image = image }, Container)
end

function Container:__tostring()
  return ("container %s (%s)"):format(self.name, self.image)
end

-- Life -----------------------------------------------------------------------------------------------

--- Starts the container.
---@error environment  code "port_taken"
function Container:start()
  host.docker_act(self.all, self.id, "start")
end

---@class rpitr.docker.StopOptions
---@field timeout? rpitr.Duration  (default "10s") then it is killed

--- Asks its first process to end, and kills it when it has not.
---@param options? rpitr.docker.StopOptions
---@error arg
function Container:stop(options)
  local opts = args.options("container:stop", options, { timeout = { "duration", 10 } })
  host.docker_act(self.all, self.id, "stop", ("%d"):format(math.ceil(opts.timeout)))
end

--- Stops and starts.
---@param options? rpitr.docker.StopOptions
---@error environment, arg
function Container:restart(options)
  local opts = args.options("container:restart", options, { timeout = { "duration", 10 } })
  host.docker_act(self.all, self.id, "restart", ("%d"):format(math.ceil(opts.timeout)))
end

--- Sends a signal to its first process.
---@param signal? string  (default "KILL")
---@error arg
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

--- The same as `container:rm()`.
Container.close = Container.rm
Container.__close = Container.rm

--- Everything the engine knows of it, as `docker inspect` shows it.
---@return table<string, any>
---@error state  code "container_gone"
function Container:inspect()
  return host.docker_inspect(self.all, self.id)
end

---@class rpitr.docker.State
---@field status "created"|"running"|"paused"|"exited"|"dead"
---@field exit_code integer
---@field health? "starting"|"healthy"|"unhealthy"  nil when the image has no health check

--- What it is doing.
---@return rpitr.docker.State
---@error state  code "container_gone"
function Container:state()
  local state = self:inspect().State
  local health = state.Health and state.Health.Status
  if health == "none" or health == "" then
    health = nil
  end
  return { status = state.Status, exit_code = state.ExitCode, health = health }
end

--- Where a published port is reached from this machine.
---
--- ```lua
--- -- needs: a Docker engine and a registry
--- local env = { POSTGRES_PASSWORD = "secret" }
--- local c <close> = docker.run("postgres:15", { env = env, ports = { 5432 }, wait = docker.wait.port(5432) })
--- local address, port = c:port(5432)
--- print(address, port)
--- ```
---@param port integer  the container's
---@return string address
---@return integer port
---@error state  it publishes no such port
---@error arg
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
---
--- ```lua
--- -- needs: a Docker engine
--- local c <close> = docker.run("rpitr/postgres:15", { command = { "sh", "-c", "echo ready; exit 3" } })
--- c:wait(docker.wait.log "ready")
--- assert(c:wait(docker.wait.exit()) == 3)
--- ```
---@param ... rpitr.WaitStrategy|rpitr.WaitStrategy[]
---@return integer? code  the exit status, for `docker.wait.exit`
---@error timeout
---@error state  the container ended before
---@error arg
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

---@class rpitr.docker.Command
---@field [integer] string|number  the program, then its arguments
---@field env? table<string, string>
---@field user? string  name, or uid:gid
---@field cwd? string
---@field stdin? string
---@field timeout? rpitr.Duration  then it is killed; default: none
---@field check? boolean  (default true) raise an error when it fails
---@field stdout? fun(bytes: string)  is given the output as it comes
---@field stderr? fun(bytes: string)  is given the errors as they come

---@class rpitr.docker.Output
---@field code integer  its exit status
---@field stdout string  what no function took
---@field stderr string
---@field seconds number  how long it took

--- Runs a program in the container and waits for it. The words are passed as they are, no shell in between.
--- Cancelling the task, or a `timeout`, kills the program and what it started (the image needs a shell for that).
---
--- ```lua
--- -- needs: a Docker engine
--- local c <close> = docker.run("rpitr/postgres:15", { command = { "sleep", "60" } })
--- c:exec { "sh", "-c", "echo one; echo two", stdout = print }
--- ```
---@param command rpitr.docker.Command
---@return rpitr.docker.Output
---@error io  code "exit_status"
---@error timeout, state, arg
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

--- A log that is followed: call it for the next line, nil at the end; closable.
---@class rpitr.LogLines
---@overload fun(): string?
---@field package parts userdata
---@field package next fun(): string?
local Lines = { __name = "rpitr.LogLines" }
Lines.__index = Lines

function Lines:__call()
  return self.next()
end

--- Stops following.
function Lines:close()
  host.docker_close(self.parts)
end

Lines.__close = Lines.close

---@class rpitr.docker.LogOptions
---@field tail? integer  only so many lines from the end

--- What the container's first process wrote.
---@param options? rpitr.docker.LogOptions
---@return string
---@error state, arg
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
---
--- ```lua
--- -- needs: a Docker engine
--- local c <close> = docker.run("rpitr/postgres:15", { command = { "sh", "-c", "echo ready; sleep 60" } })
--- for line in c:follow() do
---   if line:find "ready" then
---     break
---   end
--- end
--- ```
---@param options? rpitr.docker.LogOptions
---@return rpitr.LogLines lines  for `for`, which closes it
---@return nil
---@return nil
---@return rpitr.LogLines
---@error state, arg
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
---@param path string  absolute
---@param contents string
---@error arg, state, io
function Container:write(path, contents)
  local folder, name = split(args.check("container:write", "path", path, "string"))
  args.check("container:write", "contents", contents, "string")
  host.docker_upload(self.all, self.id, folder, host.docker_tar(name, contents))
end

--- The contents of a file of the container.
---@param path string
---@return string
---@error io  it is not a file
---@error arg, state
function Container:read(path)
  args.check("container:read", "path", path, "string")
  local contents = host.docker_untar(host.docker_download(self.all, self.id, path))
  if not contents then
    internal.raise({ kind = "io", message = ("%s of container %s is not a file"):format(path, self.name) }, 2)
  end
  return contents
end

--- Copies a file or folder of this machine into a folder of the container.
---
--- ```lua
--- -- needs: a Docker engine
--- local c <close> = docker.run("rpitr/postgres:15", { command = { "sleep", "60" } })
--- c:copy_in("scripts", "/tmp") --> /tmp/scripts
--- ```
---@param from string  path on this machine
---@param folder string  of the container; it must exist
---@error io, arg, state
function Container:copy_in(from, folder)
  args.check("container:copy_in", "from", from, "string")
  args.check("container:copy_in", "folder", folder, "string")
  local parent, name = from:match "^(.*)/([^/]+)/?$"
  local tar = sh.run { "tar", "-c", "-C", parent == nil and "." or parent == "" and "/" or parent, name or from }
  host.docker_upload(self.all, self.id, folder, tar.stdout)
end

--- Copies a file or folder of the container into a folder of this machine.
---
--- ```lua
--- -- needs: a Docker engine
--- local c <close> = docker.run("rpitr/postgres:15", { command = { "sleep", "60" } })
--- c:copy_out("/etc/os-release", lab.info().folder) --> os-release in that folder
--- ```
---@param path string  of the container
---@param folder string  on this machine; it must exist
---@error io, arg, state
function Container:copy_out(path, folder)
  args.check("container:copy_out", "path", path, "string")
  args.check("container:copy_out", "folder", folder, "string")
  sh.run { "tar", "-x", "-C", folder, "-f", "-", stdin = host.docker_download(self.all, self.id, path) }
end

return container
