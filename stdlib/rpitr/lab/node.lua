--- Nodes: one PostgreSQL server of a lab, with the same interface on every runtime.

local host, internal = ...
local args = require "rpitr.core.args"
local sql = require "rpitr.sql"
local stopwatch = require "rpitr.core.stopwatch"
local timer = require "rpitr.timer"

local node = {}

--- Where a server is reached; `sql.connect` takes it as it is.
---@class rpitr.lab.Endpoint: rpitr.sql.Target
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
---@field archive? string  as far as the lab's record has it
---@field slot? string  as far as the lab's record has it
---@field follows? string  name of the node it follows or receives from, as far as the lab's record has it

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
---@field slot? string  a standby's or receiver's replication slot
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
---@field removed? boolean  whether `node:remove` was called
local Node = { __name = "rpitr.Node" }
Node.__index = Node

-- What other kinds of nodes are made from.
node.class = Node

-- A kind of node that differs from a lab's own in some methods. `lazy`: fields that are made when somebody
-- asks for them.
function node.derive(lazy)
  local kind = setmetatable({ __name = Node.__name, __tostring = Node.__tostring }, { __index = Node })
  function kind.__index(self, key)
    local value = kind[key]
    if value == nil and lazy[key] then
      value = lazy[key](self)
      rawset(self, key, value)
    end
    return value
  end
  return kind
end

-- Wraps a host node. Labs call this.
function node.attach(handle, lab, role, kind)
  local info = host.node_info(handle)
  internal.environment.postgresql = info.version
  return setmetatable({
    handle = handle,
    lab = lab,
    name = info.name,
    role = role or info.role,
    major = info.major,
    data = info.data,
    info = info,
    log_read = 0,
  }, kind or Node)
end

--- Puts on record what a process that attaches to the lab has to know of the node.
function Node:note()
  local primary = self.primary
  host.node_note(self.lab.handle, self.handle, {
    role = self.role,
    archive = self.archive,
    follows = primary and rawequal(primary.lab, self.lab) and primary.name or nil,
    slot = self.slot,
  })
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
---@private
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

-- A parameter's value as PostgreSQL reads and shows it.
function node.parameter(value)
  return type(value) == "boolean" and (value and "on" or "off") or tostring(value)
end

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
    written[name] = node.parameter(value)
  end
  host.node_write_conf(self.handle, written)
end

--- Sets parameters of a running server that a reload applies, and waits until they hold.
---
--- ```lua
--- pg:configure { checkpoint_timeout = "10min" }
--- ```
---@param settings table<string, string|number|boolean>  each value as SHOW prints it ("10min", not "600s"); booleans for on and off
---@error timeout  a parameter does not hold: it needs a restart, or its value is shown otherwise
function Node:configure(settings)
  self:write_conf(settings)
  self:reload()
  for name, value in pairs(settings) do
    local wanted = node.parameter(value)
    timer.eventually(function()
      local shown = self:setting(name)
      return shown == wanted or shown == wanted:gsub('^"(.*)"$', "%1")
    end, { timeout = "10s", describe = ("%s = %s on %s"):format(name, wanted, self.name) })
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
---@private
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
---@private
function Node:whole_log()
  return (host.node_log(self.handle))
end

--- Raises unless nodes of this run can read the node's archive and backups; those of its own lab always can.
---@error state  code "lab_in_use"
function Node:assert_readable() end

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

require "rpitr.lab.server"(Node)
require "rpitr.lab.machine"(Node)
require "rpitr.lab.wal"(Node)
require "rpitr.lab.replication"(Node)
require "rpitr.lab.receiver"(Node)
require "rpitr.lab.files"(Node)
require "rpitr.lab.faults"(Node)

return node
