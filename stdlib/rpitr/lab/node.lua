--- Nodes: one PostgreSQL server of a lab, with the same interface on every runtime.

local host, internal = ...
local args = require "rpitr.core.args"
local sql = require "rpitr.sql"
local stopwatch = require "rpitr.core.stopwatch"
local timer = require "rpitr.timer"

local node = {}

local Node = { __name = "rpitr.Node" }
Node.__index = Node

-- What other kinds of nodes are made from.
node.class = Node

--- Wraps a host node. Labs call this.
function node.attach(handle, lab, role)
  local info = host.node_info(handle)
  internal.environment.postgresql = info.version
  return setmetatable({
    handle = handle,
    lab = lab,
    name = info.name,
    role = role,
    major = info.major,
    data = info.data,
    info = info,
    log_read = 0,
  }, Node)
end

function Node:__tostring()
  return ("node %s (%s, PostgreSQL %d)"):format(self.name, self.role, self.major)
end

-- Programs -----------------------------------------------------------------------------------------

--- Runs a program as the server's user, PostgreSQL's own by bare name. Raises an error of kind
-- "postgres" with its output when it fails.
-- @param command { program, argument..., stdin = string?, env = table?, timeout = duration?, check = true }
-- @return { code, stdout, stderr, seconds }
function Node:exec(command)
  local options, arguments = {}, {}
  for key, value in pairs(command) do
    if math.type(key) == "integer" then
      arguments[key] = tostring(value)
    else
      options[key] = value
    end
  end
  local opts = args.options("node:exec", options, {
    stdin = "string?",
    env = "table?",
    timeout = { "duration", 600 },
    check = { "boolean", true },
  })
  local program = table.remove(arguments, 1)
  local result = self:run_program {
    program = program,
    arguments = arguments,
    stdin = opts.stdin,
    env = opts.env,
    timeout = opts.timeout,
  }
  stopwatch.add(program, result.seconds)
  if opts.check and result.code ~= 0 then
    local full = result.stderr:find("No space left on device", 1, true)
    internal.raise({
      kind = full and "environment" or "postgres",
      code = full and "disk_full" or program,
      message = ("%s failed on %s (exit status %s)"):format(program, self.name, tostring(result.code)),
      detail = (result.stderr ~= "" and result.stderr or result.stdout):gsub("%s+$", ""),
      hint = full and "free space on that disk, or point RPITR_STATE at another one" or nil,
    }, 2)
  end
  return result
end

function Node:run_program(request)
  return host.node_run(self.handle, request)
end

--- Runs a program that sees the lab's files: its backups and archives. For a node of a lab that is any
-- program it runs.
Node.exec_in_lab = Node.exec

--- How programs of the lab reach the server: a connection string without a password.
function Node:link()
  return host.node_conninfo(self.handle, self.handle, host.lab_passfile(self.lab.handle), self.lab.superuser)
end

--- Creates the data directory: data checksums, SCRAM for every connection.
function Node:initdb(options)
  local opts = args.options("node:initdb", options, { wal_segment_size = "integer?", durable = { "boolean", false } })
  local command = {
    "initdb",
    "--pgdata=" .. self.data,
    "--username=" .. self.lab.superuser,
    "--pwfile=" .. host.lab_password_file(self.lab.handle),
    "--auth=scram-sha-256",
    "--data-checksums",
    "--encoding=UTF8",
    "--no-locale",
  }
  if opts.wal_segment_size then
    command[#command + 1] = ("--wal-segsize=%d"):format(opts.wal_segment_size // 1024 ^ 2)
  end
  if not opts.durable then
    command[#command + 1] = "--no-sync"
  end
  self:exec(command)
end

-- Configuration --------------------------------------------------------------------------------------

--- Sets server parameters for the next start. They live in a file of their own, included last.
-- @param settings { name = value }  numbers and booleans are written as PostgreSQL reads them
function Node:write_conf(settings)
  self.settings = self.settings or {}
  for name, value in pairs(settings) do
    self.settings[name] = value
  end
  local written = {}
  for name, value in pairs(self.settings) do
    written[name] = type(value) == "boolean" and (value and "on" or "off") or tostring(value)
  end
  host.node_write_conf(self.handle, written)
end

--- Learns the settings that an earlier run wrote, so that later ones are added to them.
function Node:read_conf()
  self.settings = host.node_conf(self.handle)
end

--- Sets parameters of a running server that a reload applies, and waits until they hold.
function Node:configure(settings)
  self:write_conf(settings)
  self:reload()
  for name, value in pairs(settings) do
    timer.eventually(function()
      local shown = self:setting(name)
      return shown == tostring(value) or shown == tostring(value):gsub('^"(.*)"$', "%1")
    end, { timeout = "10s", describe = ("%s = %s on %s"):format(name, tostring(value), self.name) })
  end
end

--- Has the server read its configuration again.
function Node:reload()
  host.node_reload(self.handle)
end

--- The value of a server parameter, as SHOW prints it.
function Node:setting(name)
  return self:admin():value("SELECT current_setting($1)", name)
end

-- Life -----------------------------------------------------------------------------------------------

--- Starts the server and waits until it accepts connections. When it does not come up, raises an
-- error of kind "postgres" with the FATAL line of its log.
-- @param options { timeout = "60s", wait = "accepting" | "ready" | "exited" }  `ready`: open for
--   writing; `exited`: a recovery that shuts down at its target
function Node:start(options)
  local opts = args.options("node:start", options, {
    timeout = { "duration", 60 },
    wait = { "string", "accepting" },
  })
  args.choice("node:start", "option wait", opts.wait, { "accepting", "ready", "exited" })
  self.status_at_start, self.log_offset = stopwatch.run("postgres start", host.node_start, self.handle, {
    timeout = opts.timeout,
    ["until"] = opts.wait,
    private = self.role == "sandbox",
    env = self.start_env,
  })
  return self
end

--- Stops the server.
-- @param mode "smart" | "fast" | "immediate"  as pg_ctl's; default fast
function Node:stop(mode, options)
  mode = args.choice("node:stop", "mode", mode or "fast", { "smart", "fast", "immediate" })
  local opts = args.options("node:stop", options, { timeout = { "duration", 60 } })
  self:forget_admin()
  stopwatch.run("postgres stop", host.node_stop, self.handle, mode, opts.timeout)
end

--- Stops and starts.
function Node:restart(mode)
  self:stop(mode)
  return self:start()
end

--- SIGKILL to the server and all its processes, as a crash would.
function Node:kill()
  self:forget_admin()
  host.node_kill(self.handle)
end

--- Freezes every process of the server (SIGSTOP): to the others it looks unreachable.
function Node:pause()
  host.node_pause(self.handle)
end

--- Lets a paused server go on.
function Node:resume()
  host.node_resume(self.handle)
end

--- Pulls the node's network cable: the server runs on, nobody reaches it, connections hang. Containers
-- only. Nothing happens when it is pulled already.
-- @error state  on the local runtime, which has no network of its own
-- @usage standby:disconnect()
function Node:disconnect()
  self:forget_admin()
  host.node_disconnect(self.handle)
end

--- Plugs it in again: the same name, port and address.
-- @error state  on the local runtime
function Node:reconnect()
  host.node_reconnect(self.handle)
end

--- What the engine knows of the node's container.
-- @return { container, image, running, paused, oom_killed, exit_code, memory = bytes?, networks = { name = address } }
-- @error state  on the local runtime
function Node:inspect()
  return host.node_inspect(self.handle)
end

--- A file of the node as a string; a relative path begins in the data directory.
-- @usage local version = pg:read_file "PG_VERSION"
function Node:read_file(path)
  return host.node_read(self.handle, args.check("node:read_file", "path", path, "string"))
end

--- Writes a file of the node in one step: readers see the old contents or the new ones. Only below the lab.
function Node:write_file(path, text)
  args.check("node:write_file", "path", path, "string")
  host.node_write(self.handle, path, args.check("node:write_file", "text", text, "string"))
end

--- Copies a file of this machine into the node.
-- @param from path on this machine
-- @param to path in the node, below the lab; relative ones begin in the data directory
function Node:copy_in(from, to)
  self:write_file(to, host.fs_read(args.check("node:copy_in", "from", from, "string")))
end

--- Copies a file of the node to this machine.
function Node:copy_out(from, to)
  host.fs_write(args.check("node:copy_out", "to", to, "string"), self:read_file(from))
end

--- Limits the node's memory (with swap), processors or number of processes. Containers only.
-- @param limits { memory = size?, cpus = number?, pids = integer? }
-- @error state  on the local runtime
function Node:limit(limits)
  local opts = args.options("node:limit", limits, { memory = "size?", cpus = "number?", pids = "integer?" })
  opts.memory = opts.memory and math.floor(opts.memory)
  host.node_limit(self.handle, opts)
end

--- "absent", "stopped", "starting", "running", "standby", "paused" or "crashed".
function Node:status()
  return host.node_status(self.handle)
end

--- Ends recovery; waits until the server accepts writes.
function Node:promote(options)
  local opts = args.options("node:promote", options, { timeout = { "duration", 60 } })
  stopwatch.run("promote", function()
    self:admin():exec "SELECT pg_promote(false)"
    self:wait_writable(opts)
  end)
end

--- Waits until the server has left recovery.
function Node:wait_writable(options)
  local opts = args.options("node:wait_writable", options, { timeout = { "duration", 60 } })
  timer.eventually(function()
    if self:status() == "crashed" then
      internal.raise({ kind = "postgres", code = "fatal", message = self.name .. " died", detail = self:why_died() }, 2)
    end
    return self:admin():value "SELECT NOT pg_is_in_recovery()"
  end, { timeout = opts.timeout, every = 0.005, describe = "the end of recovery on " .. self.name })
end

--- The log lines that say why the server is not running.
function Node:why_died()
  return host.node_why_died(self.handle)
end

--- Has the server write every changed page to disk now, and waits for it.
function Node:checkpoint()
  stopwatch.run("checkpoint", function()
    self:admin():exec "CHECKPOINT"
  end)
end

--- Removes the node's data directory, which the lab made.
function Node:wipe()
  self:forget_admin()
  host.node_remove_tree(self.handle, self.data)
end

--- Kills the server and removes everything that is the node's own; its name is free again. Archive and
-- backups stay with the lab.
function Node:remove()
  self:forget_admin()
  host.node_remove(self.lab.handle, self.handle)
  self.lab.nodes[self.name] = nil
  self.removed = true
end

-- Leaving a block stops the server; the lab removes its files when the run ends.
function Node:__close()
  if self.removed then
    return
  end
  self:forget_admin()
  local status = self:status()
  if status ~= "absent" and status ~= "stopped" and status ~= "crashed" then
    host.node_stop(self.handle, "immediate", 30)
  end
end

-- SQL ------------------------------------------------------------------------------------------------

--- Where the server is reached: { host, port, user, dbname }.
-- @param from node?  as that node sees it; default: as the script does
-- @usage local at = standby:endpoint(primary)  -- primary:exec { "psql", "--host=" .. at.host, ... }
function Node:endpoint(from)
  local at = from and host.node_endpoint(self.handle, from.handle) or host.node_info(self.handle)
  return { host = at.host, port = at.port, user = self.lab.superuser, dbname = "postgres" }
end

--- Opens a connection as the lab's superuser; through the proxy for clients where the node has proxies.
-- @param options table?  anything `sql.connect` takes; default database postgres
-- @usage local db <close> = pg:connect { dbname = "shop" }
function Node:connect(options)
  local settings = self:client_endpoint()
  settings.passfile = host.lab_passfile(self.lab.handle)
  settings.application_name = "rpitr"
  for key, value in pairs(options or {}) do
    settings[key] = value
  end
  return sql.connect(settings)
end

-- One connection a node is kept for questions about the server itself.
function Node:admin()
  if self.connection and self.connection:is_closed() then
    self.connection = nil
  end
  if not self.connection then
    -- Past all proxies: what a fault does to clients must not hide the server from us.
    local direct = self:endpoint()
    self.connection = self:connect { host = direct.host, port = direct.port, application_name = "rpitr admin" }
  end
  return self.connection
end

function Node:forget_admin()
  local connection = self.connection
  self.connection = nil
  if connection then
    pcall(connection.close, connection)
  end
end

--- Rows of a query on the node's postgres database.
function Node:query(statement, ...)
  return self:admin():query(statement, ...)
end

--- The first column of the first row.
function Node:value(statement, ...)
  return self:admin():value(statement, ...)
end

--- Creates a database, unless it exists.
function Node:create_database(name)
  local db = self:admin()
  if not db:value("SELECT true FROM pg_database WHERE datname = $1", name) then
    db:exec("CREATE DATABASE " .. sql.identifier(name))
  end
end

function Node:whole_log()
  return (host.node_log(self.handle))
end

-- Logs -------------------------------------------------------------------------------------------------

--- The server's log.
-- @param options { grep = string? }  keep only lines that contain this text
function Node:logs(options)
  local opts = args.options("node:logs", options, { grep = "string?" })
  local text = self:whole_log()
  if not opts.grep then
    return text
  end
  local lines = {}
  for line in text:gmatch "[^\n]+" do
    if line:find(opts.grep, 1, true) then
      lines[#lines + 1] = line
    end
  end
  return table.concat(lines, "\n")
end

require "rpitr.lab.wal"(Node)
require "rpitr.lab.replication"(Node)
require "rpitr.lab.receiver"(Node)
require "rpitr.lab.files"(Node)
require "rpitr.lab.faults"(Node)

return node
