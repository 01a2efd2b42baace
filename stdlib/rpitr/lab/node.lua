--- Nodes: one PostgreSQL server of a lab, with the same interface on every runtime.

local host, internal = ...
local args = require "rpitr.core.args"
local sql = require "rpitr.sql"
local stopwatch = require "rpitr.core.stopwatch"
local timer = require "rpitr.timer"

local node = {}

--- Where a server is reached; `sql.connect` takes it as it is.
---@class rpitr.lab.Endpoint
---@field host string  name, address, or the folder of a socket
---@field port integer
---@field user string
---@field dbname string

--- What is known of a node without asking its server.
---@class rpitr.lab.NodeInfo
---@field name string
---@field role string
---@field major? integer
---@field version string  of PostgreSQL: "15.4"
---@field data? string  its data directory
---@field folder? string  where everything of the node is
---@field log? string  file of the server's log
---@field host string
---@field port integer

--- The lab a node is in.
---@class rpitr.Lab
---@field handle userdata
---@field info rpitr.lab.Info
---@field nodes table<string, rpitr.Node>
---@field archives integer  how many were made
---@field superuser string

--- One PostgreSQL server, or one receiver of WAL. Closable: leaving the block stops the server, its files stay with
--- the lab until the run ends.
---@class rpitr.Node
---@field name string
---@field role "primary"|"standby"|"sandbox"|"receiver"|"desk"
---@field major integer  of PostgreSQL: 15
---@field data string  its data directory; of a receiver, the folder of its WAL
---@field info rpitr.lab.NodeInfo
---@field lab rpitr.Lab
---@field handle userdata
---@field archive? string  folder it archives into
---@field settings? table<string, any>  what `write_conf` has set
---@field primary? rpitr.Node  whom it follows or receives from
---@field receivers? rpitr.Node[]  those that receive from it
---@field slot? string  a receiver's replication slot
---@field synchronous? boolean  whether the primary waits for this receiver
---@field proxied? boolean  whether it is reached through proxies
---@field edges? table<string, rpitr.lab.Edge>  its proxies, by who goes through them
---@field clock? string  file of its clock, if that can be set
---@field start_env? table<string, string>  what the server finds in its environment
---@field environment? rpitr.Environment  the standing environment it belongs to
---@field source? rpitr.Node  of a restored node: the one it was restored from
---@field plan? rpitr.pitr.Plan  of a restored node
---@field proof? rpitr.pitr.Proof  of a restored node
---@field scrubbed? string[]  of a restored node: settings that were taken out of its configuration
---@field status_at_start? string
---@field log_offset? integer  where the log of the last start begins, in bytes
---@field package log_read integer
---@field package connection? rpitr.Conn
---@field package removed? boolean
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

---@class rpitr.lab.Command
---@field [integer] string|number  the program, then its arguments
---@field stdin? string
---@field env? table<string, string>
---@field timeout? rpitr.Duration  (default "10m")
---@field check? boolean  (default true) raise an error when it fails

---@class rpitr.lab.Output
---@field code? integer  its exit status, nil when a signal ended it
---@field stdout string
---@field stderr string
---@field seconds number  how long it took

--- Runs a program as the server's user, PostgreSQL's own by bare name, no shell in between.
---
--- ```lua
--- local shown = pg:exec { "pg_controldata", pg.data }
--- print(shown.stdout:match "Latest checkpoint location:%s+(%S+)")
--- ```
---@param command rpitr.lab.Command
---@return rpitr.lab.Output
---@error postgres  its output, the code is the program's name
---@error environment  code "disk_full"
---@error timeout, arg
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

-- What `exec` is made of; other kinds of nodes have their own.
function Node:run_program(request)
  return host.node_run(self.handle, request)
end

--- Runs a program that sees the lab's files: its backups and archives. For a node of a lab that is any
--- program it runs; for one of a standing environment it runs beside it.
---@param self rpitr.Node
---@param command rpitr.lab.Command
---@return rpitr.lab.Output
---@error postgres, environment, timeout, arg
Node.exec_in_lab = Node.exec

--- How programs of the lab reach the server: a connection string without a password.
---
--- ```lua
--- pg:exec { "psql", pg:link() .. " dbname=postgres", "-c", "SELECT 1" }
--- ```
---@return string
function Node:link()
  return host.node_conninfo(self.handle, self.handle, host.lab_passfile(self.lab.handle), self.lab.superuser)
end

---@class rpitr.lab.InitdbOptions
---@field wal_segment_size? integer  bytes; default: initdb's, 16 MB
---@field durable? boolean  (default false) have initdb sync what it writes

--- Creates the data directory: data checksums, SCRAM for every connection. `lab.postgres` does.
---@param options? rpitr.lab.InitdbOptions
---@error postgres, arg
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
---
--- ```lua
--- pg:write_conf { log_min_duration_statement = 250, log_checkpoints = true }
--- ```
---@param settings table<string, string|number|boolean>  booleans are written as on and off
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

--- Sets parameters of a running server that a reload applies, and waits until they hold.
---
--- ```lua
--- pg:configure { checkpoint_timeout = "10min" }
--- ```
---@param settings table<string, string|number|boolean>  each value as SHOW prints it: "10min", not "600s"
---@error timeout  a parameter does not hold: it needs a restart, or its value is shown otherwise
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
---
--- ```lua
--- assert(pg:setting "wal_level" == "replica")
--- ```
---@param name string
---@return string
---@error sql  there is no such parameter
function Node:setting(name)
  return self:admin():value("SELECT current_setting($1)", name)
end

-- Life -----------------------------------------------------------------------------------------------

---@class rpitr.lab.StartOptions
---@field timeout? rpitr.Duration  (default "60s")
---@field wait? "accepting"|"ready"|"exited"  (default "accepting") `accepting`: takes connections; `ready`: open for writing; `exited`: a recovery that shuts down at its target

--- Starts the server and waits until it accepts connections. When it does not come up, the error has the FATAL line
--- of its log.
---
--- ```lua
--- local server <close> = lab.postgres { name = "example_start" }
--- server:stop()
--- server:start { timeout = "2m" }
--- ```
---@param options? rpitr.lab.StartOptions
---@return rpitr.Node node  itself
---@error postgres, timeout, arg
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

---@class rpitr.lab.StopOptions
---@field timeout? rpitr.Duration  (default "60s")

--- Stops the server.
---
--- ```lua
--- local server <close> = lab.postgres { name = "example_stop" }
--- server:stop "immediate" -- as a crash: recovery at the next start
--- server:start()
--- ```
---@param mode? "smart"|"fast"|"immediate"  as pg_ctl's; default "fast"
---@param options? rpitr.lab.StopOptions
---@error timeout, arg
function Node:stop(mode, options)
  mode = args.choice("node:stop", "mode", mode or "fast", { "smart", "fast", "immediate" })
  local opts = args.options("node:stop", options, { timeout = { "duration", 60 } })
  self:forget_admin()
  stopwatch.run("postgres stop", host.node_stop, self.handle, mode, opts.timeout)
end

--- Stops and starts.
---@param mode? "smart"|"fast"|"immediate"  as for `node:stop`
---@return rpitr.Node node  itself
---@error postgres, timeout, arg
function Node:restart(mode)
  self:stop(mode)
  return self:start()
end

--- SIGKILL to the server and all its processes, as a crash would.
---
--- ```lua
--- local server <close> = lab.postgres { name = "example_kill" }
--- server:kill()
--- assert(server:status() == "crashed")
--- ```
function Node:kill()
  self:forget_admin()
  host.node_kill(self.handle)
end

--- Freezes every process of the server (SIGSTOP): to the others it looks unreachable.
---
--- ```lua
--- pg:pause()
--- assert(pg:status() == "paused")
--- pg:resume()
--- ```
function Node:pause()
  host.node_pause(self.handle)
end

--- Lets a paused server go on.
function Node:resume()
  host.node_resume(self.handle)
end

--- Pulls the node's network cable: the server runs on, nobody reaches it, connections hang. Containers
--- only. Nothing happens when it is pulled already.
---
--- ```lua
--- -- needs: --runtime docker
--- pg:disconnect()
--- pg:reconnect()
--- ```
---@error state  on the local runtime, which has no network of its own
function Node:disconnect()
  self:forget_admin()
  host.node_disconnect(self.handle)
end

--- Plugs it in again: the same name, port and address.
---@error state  on the local runtime
function Node:reconnect()
  host.node_reconnect(self.handle)
end

---@class rpitr.lab.Inspection
---@field container string
---@field image string
---@field running boolean
---@field paused boolean
---@field oom_killed boolean  the kernel killed a process of it for want of memory
---@field exit_code? integer
---@field memory? integer  limit in bytes, nil when there is none
---@field networks table<string, string>  address in each, by the network's name

--- What the engine knows of the node's container.
---@return rpitr.lab.Inspection
---@error state  on the local runtime
function Node:inspect()
  return host.node_inspect(self.handle)
end

--- A file of the node as a string.
---
--- ```lua
--- local version = pg:read_file "PG_VERSION"
--- assert(version:match "%d+" == tostring(pg.major))
--- ```
---@param path string  a relative one begins in the data directory
---@return string
---@error io, arg
function Node:read_file(path)
  return host.node_read(self.handle, args.check("node:read_file", "path", path, "string"))
end

--- Writes a file of the node in one step: readers see the old contents or the new ones.
---
--- ```lua
--- pg:write_file("example.txt", "hello")
--- assert(pg:read_file "example.txt" == "hello")
--- ```
---@param path string  below the lab; a relative one begins in the data directory
---@param text string
---@error io, arg
function Node:write_file(path, text)
  args.check("node:write_file", "path", path, "string")
  host.node_write(self.handle, path, args.check("node:write_file", "text", text, "string"))
end

--- Copies a file of this machine into the node.
---@param from string  path on this machine
---@param to string  path in the node, below the lab; a relative one begins in the data directory
---@error io, arg
function Node:copy_in(from, to)
  self:write_file(to, host.fs_read(args.check("node:copy_in", "from", from, "string")))
end

--- Copies a file of the node to this machine.
---@param from string  path in the node; a relative one begins in the data directory
---@param to string  path on this machine
---@error io, arg
function Node:copy_out(from, to)
  host.fs_write(args.check("node:copy_out", "to", to, "string"), self:read_file(from))
end

---@class rpitr.lab.Limits
---@field memory? rpitr.Size  with swap
---@field cpus? number  processors: 0.5 is half of one
---@field pids? integer  number of processes

--- Limits the node's memory, processors or number of processes. Containers only.
---
--- ```lua
--- -- needs: --runtime docker
--- pg:limit { memory = "256MB", cpus = 0.5 }
--- ```
---@param limits rpitr.lab.Limits
---@error state  on the local runtime
---@error arg
function Node:limit(limits)
  local opts = args.options("node:limit", limits, { memory = "size?", cpus = "number?", pids = "integer?" })
  opts.memory = opts.memory and math.floor(opts.memory)
  host.node_limit(self.handle, opts)
end

--- What state the server is in.
---@return "absent"|"stopped"|"starting"|"running"|"standby"|"paused"|"crashed"
function Node:status()
  return host.node_status(self.handle)
end

---@class rpitr.lab.PromoteOptions
---@field timeout? rpitr.Duration  (default "60s")

--- Ends recovery; waits until the server accepts writes.
---
--- ```lua
--- local standby <close> = lab.standby(pg, { name = "example_promoted" })
--- standby:promote()
--- assert(standby:timeline() > pg:timeline())
--- ```
---@param options? rpitr.lab.PromoteOptions
---@error timeout, postgres, sql, arg
function Node:promote(options)
  local opts = args.options("node:promote", options, { timeout = { "duration", 60 } })
  stopwatch.run("promote", function()
    self:admin():exec "SELECT pg_promote(false)"
    self:wait_writable(opts)
  end)
end

---@class rpitr.lab.WaitOptions
---@field timeout? rpitr.Duration  (default "60s")

--- Waits until the server has left recovery.
---@param options? rpitr.lab.WaitOptions
---@error timeout
---@error postgres  it died
---@error arg
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
---@return string?
function Node:why_died()
  return host.node_why_died(self.handle)
end

--- Has the server write every changed page to disk now, and waits for it.
---@error sql
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
--- backups stay with the lab.
---
--- ```lua
--- local gone = lab.sandbox { name = "example_removed" }
--- gone:remove()
--- assert(lab.nodes().example_removed == nil)
--- ```
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

--- Where the server is reached.
---
--- ```lua
--- local at = pg:endpoint()
--- print(at.host, at.port, at.user, at.dbname)
--- ```
---@param from? rpitr.Node  as that node sees it; default: as the script does
---@return rpitr.lab.Endpoint
function Node:endpoint(from)
  local at = from and host.node_endpoint(self.handle, from.handle) or host.node_info(self.handle)
  return { host = at.host, port = at.port, user = self.lab.superuser, dbname = "postgres" }
end

--- Opens a connection as the lab's superuser; through the proxy for clients where the node has proxies.
---
--- ```lua
--- local db <close> = pg:connect { dbname = "template1" }
--- assert(db:value "SELECT current_database()" == "template1")
--- ```
---@param options? rpitr.sql.Target  anything `sql.connect` takes in a table; default database postgres
---@return rpitr.Conn
---@error sql, arg
function Node:connect(options)
  local settings = self:client_endpoint()
  settings.passfile = host.lab_passfile(self.lab.handle)
  settings.application_name = "rpitr"
  for key, value in pairs(options or {}) do
    settings[key] = value
  end
  return sql.connect(settings)
end

--- The one connection a node is kept for questions about the server itself, past all proxies. Do not close it.
---@return rpitr.Conn
---@error sql
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

-- Before the server goes away.
function Node:forget_admin()
  local connection = self.connection
  self.connection = nil
  if connection then
    pcall(connection.close, connection)
  end
end

--- Rows of a query on the node's postgres database.
---
--- ```lua
--- for _, row in ipairs(pg:query "SELECT datname FROM pg_database") do
---   print(row.datname)
--- end
--- ```
---@param statement string
---@param ... any  values of `$1`, `$2` ...
---@return rpitr.sql.Rows
---@error sql, arg
function Node:query(statement, ...)
  return self:admin():query(statement, ...)
end

--- The first column of the first row.
---
--- ```lua
--- print(pg:value "SELECT version()")
--- ```
---@param statement string
---@param ... any  values of `$1`, `$2` ...
---@return any
---@error sql, arg
function Node:value(statement, ...)
  return self:admin():value(statement, ...)
end

--- Creates a database, unless it exists.
---
--- ```lua
--- pg:create_database "example_shop"
--- ```
---@param name string
---@error sql
function Node:create_database(name)
  local db = self:admin()
  if not db:value("SELECT true FROM pg_database WHERE datname = $1", name) then
    db:exec("CREATE DATABASE " .. sql.identifier(name))
  end
end

-- What `logs` is made of; other kinds of nodes have their own.
function Node:whole_log()
  return (host.node_log(self.handle))
end

-- Logs -------------------------------------------------------------------------------------------------

---@class rpitr.lab.LogOptions
---@field grep? string  keep only lines that contain this text

--- The server's log.
---
--- ```lua
--- print(pg:logs { grep = "checkpoint" })
--- ```
---@param options? rpitr.lab.LogOptions
---@return string
---@error arg
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
