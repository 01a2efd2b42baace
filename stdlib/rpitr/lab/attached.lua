--- Nodes of a standing environment: servers that compose made, with the interface of a lab's nodes.
---
--- The container is the machine: stopping the server stops it, killing it is a power cut. What needs the
--- lab's files (base backups, the catalogue) runs at the lab's desk, a container beside the environment.
--- Whatever would disturb the environment asks first, and is undone when the run ends.

local host, internal = ...
local args = require "rpitr.core.args"
local node = require "rpitr.lab.node"
local sql = require "rpitr.sql"
local timer = require "rpitr.timer"

local attached = {}

local CONF = "/postgresql.auto.conf"
local MARK = "# rpitr: for one run only; rpitr lab up takes it out"
local STOP_SIGNALS = { smart = "SIGTERM", fast = "SIGINT", immediate = "SIGQUIT" }

--- A server of a standing environment. Of a node's methods `initdb`, `archive_into`, `new_archive`, `wipe` and `limit` are
--- refused: its files are not ours. `start` waits for up to two minutes.
---@class rpitr.AttachedNode: rpitr.Node
---@field environment rpitr.Environment
---@field container string  name of its container
---@field user string  superuser
---@field conf table<string, any>  what this run has set
local Attached = node.derive {
  -- What is asked of the environment or its lab only when somebody wants to know.
  lab = function(self)
    return self.environment:lab()
  end,
  handle = function(self)
    return self.environment:desk().handle
  end,
  major = function(self)
    return self:value "SELECT current_setting('server_version_num')::int / 10000"
  end,
  archive = function(self)
    return self.role == "primary" and self.lab.info.folder .. "/archive/standing" or nil
  end,
  info = function(self)
    local version = self:value "SELECT split_part(current_setting('server_version'), ' ', 1)"
    local service = self:look()
    return { name = self.name, role = self.role, version = version, host = service.host, port = service.port }
  end,
}

--- Wraps a container of an environment.
function attached.new(environment, service)
  return setmetatable({
    environment = environment,
    name = service.name,
    role = service.role,
    container = service.container,
    data = service.env.PGDATA,
    user = service.env.POSTGRES_USER,
    conf = {},
  }, Attached)
end

function Attached:__tostring()
  return ("%s of the standing environment %s"):format(self.name, self.environment.name)
end

-- The environment's servers go on.
function Attached:__close()
  self:forget_admin()
end

-- What the engine says now.
---@private
function Attached:look()
  return self.environment:service(self.name)
end

local function refuse(self, what)
  internal.raise({
    kind = "state",
    code = "standing",
    message = ("%s: %s is for nodes of a lab"):format(tostring(self), what),
  }, 3)
end

for _, name in ipairs { "initdb", "archive_into", "new_archive", "wipe", "disconnect", "reconnect", "limit" } do
  Attached[name] = function(self)
    refuse(self, "node:" .. name)
  end
end

-- Programs and SQL -----------------------------------------------------------------------------------

---@private
function Attached:run_program(request)
  return host.standing_run(self.environment.handle, self.container, request)
end

function Attached:exec_in_lab(command)
  return self.environment:desk():exec(command)
end

function Attached:link()
  local passfile = host.lab_passfile(self.lab.handle)
  return ("host=%s port=5432 user=%s passfile='%s'"):format(self.name, self.user, passfile)
end

function Attached:endpoint()
  local service = self:look()
  return { host = service.host, port = service.port, user = self.user, dbname = "postgres" }
end

function Attached:connect(options)
  local settings = self:endpoint()
  settings.password = self:look().env.POSTGRES_PASSWORD
  settings.application_name = "rpitr"
  for key, value in pairs(options or {}) do
    settings[key] = value
  end
  return sql.connect(settings)
end

--- Creates a database that goes when the run ends. One that a run left behind is replaced, any other is
--- left alone.
---@param name string
---@error state  code "database_exists": no drill made it
---@error sql
function Attached:create_database(name)
  local db, quoted = self:admin(), sql.identifier(name)
  local mark = "made by a drill of rpitr"
  local there = db:row(
    "SELECT shobj_description(oid, 'pg_database') IS NOT DISTINCT FROM $2 AS ours FROM pg_database WHERE datname = $1",
    name,
    mark
  )
  if there and not there.ours then
    internal.raise({
      kind = "state",
      code = "database_exists",
      message = ("%s already has a database %q, which no drill made"):format(tostring(self), name),
    }, 2)
  end
  self.environment:drop_later(name)
  db:exec(("DROP DATABASE IF EXISTS %s WITH (FORCE)"):format(quoted))
  db:exec("CREATE DATABASE " .. quoted)
  db:exec(("COMMENT ON DATABASE %s IS '%s'"):format(quoted, mark))
end

-- Life -----------------------------------------------------------------------------------------------

function Attached:status()
  local service = self:look()
  if service.state == "paused" then
    return "paused"
  elseif service.state ~= "running" then
    return service.exit_code == 0 and "stopped" or "crashed"
  end
  local ok, standby = pcall(function()
    return self:value "SELECT pg_is_in_recovery()"
  end)
  return not ok and "starting" or standby and "standby" or "running"
end

function Attached:start(options)
  local opts = args.options("node:start", options, { timeout = { "duration", 120 }, wait = { "string", "accepting" } })
  self.environment:touch()
  host.standing_start(self.environment.handle, self.container, nil)
  timer.eventually(function()
    local status = self:status()
    if status == "stopped" or status == "crashed" then
      internal.raise({
        kind = "postgres",
        code = "fatal",
        message = self.name .. " did not start",
        detail = self:why_died(),
      }, 2)
    end
    return status == "running" or status == "standby"
  end, { timeout = opts.timeout, every = 0.1, describe = self.name .. " accepting connections" })
  return self
end

function Attached:stop(mode, options)
  mode = args.choice("node:stop", "mode", mode or "fast", { "smart", "fast", "immediate" })
  local opts = args.options("node:stop", options, { timeout = { "duration", 60 } })
  self.environment:consent("stop " .. self.name)
  self:forget_admin()
  if self:look().state == "paused" then
    self:resume()
  end
  host.standing_end(self.environment.handle, self.container, STOP_SIGNALS[mode], opts.timeout)
end

function Attached:kill()
  self.environment:consent("kill " .. self.name)
  self:forget_admin()
  host.standing_end(self.environment.handle, self.container, "SIGKILL", 30)
end

-- Signals the server's processes and no others: not the shell that does it, not a health check.
local SIGNAL_SERVER = [[
for p in /proc/[0-9]*; do
  case $(readlink "$p/exe" 2>/dev/null) in */postgres) kill -s "$1" "${p#/proc/}" 2>/dev/null ;; esac
done; :]]

-- Every process of the server is stopped before the container is frozen: whoever kills it later kills
-- processes that do not run again.
function Attached:pause()
  self.environment:consent("freeze " .. self.name)
  self:exec { "/bin/sh", "-c", SIGNAL_SERVER, "rpitr", "STOP" }
  host.standing_freeze(self.environment.handle, self.container, true)
end

function Attached:resume()
  host.standing_freeze(self.environment.handle, self.container, false)
  self:exec { "/bin/sh", "-c", SIGNAL_SERVER, "rpitr", "CONT" }
end

function Attached:promote(options)
  self.environment:consent("promote " .. self.name)
  node.class.promote(self, options)
end

---@private
function Attached:whole_log()
  return host.standing_log(self.environment.handle, self.container, nil)
end

--- The last lines of the log.
---@return string
function Attached:why_died()
  local lines = {}
  for line in self:whole_log():gmatch "[^\n]+" do
    lines[#lines + 1] = line
  end
  return table.concat(lines, "\n", math.max(1, #lines - 7))
end

-- Configuration ----------------------------------------------------------------------------------------

local function conf_without_ours(self)
  local text = host.standing_read(self.environment.handle, self.container, self.data .. CONF)
  local at = text and text:find(MARK, 1, true)
  return at and text:sub(1, at - 1) or text, at ~= nil
end

--- Sets parameters until the run ends, in a server that runs or is stopped.
---@param settings table<string, string|number|boolean>
---@error state  code "consent"
function Attached:write_conf(settings)
  self.environment:consent("change settings of " .. self.name)
  for name, value in pairs(settings) do
    self.conf[name] = value
  end
  local lines = { conf_without_ours(self) .. MARK }
  for name, value in pairs(self.conf) do
    local text = node.parameter(value)
    lines[#lines + 1] = ("%s = '%s'"):format(name, text:gsub("'", "''"))
  end
  local text = table.concat(lines, "\n") .. "\n"
  host.standing_write(self.environment.handle, self.container, self.data .. CONF, text)
end

--- Takes such settings out again; says whether there were any.
---@return boolean
function Attached:restore_conf()
  local text, changed = conf_without_ours(self)
  self.conf = {}
  if changed then
    host.standing_write(self.environment.handle, self.container, self.data .. CONF, text)
  end
  return changed
end

function Attached:reload()
  self:admin():exec "SELECT pg_reload_conf()"
end

-- Replication --------------------------------------------------------------------------------------------

--- Follows the environment's primary again: with its own data if they fit, else with a new base backup.
---@param primary rpitr.Node  the environment's
---@return rpitr.AttachedNode node  itself
---@error state  another primary; code "consent"
---@error timeout
function Attached:follow(primary)
  if primary ~= self.environment.primary then
    internal.raise({
      kind = "state",
      code = "standing",
      message = ("%s can only follow %s"):format(tostring(self), tostring(self.environment.primary)),
    }, 2)
  end
  self.environment:consent(("make %s follow %s again"):format(self.name, primary.name))
  local changed = self:restore_conf()
  local status = self:status()
  if status == "paused" then
    self:resume()
  elseif status == "stopped" or status == "crashed" then
    self:start()
  elseif changed then
    self:reload()
  end
  if self:value "SELECT NOT pg_is_in_recovery()" or not self:slot_usable() then
    self:rebuild()
  end
  primary:wait_streaming(self)
  return self
end

--- Whether the primary still keeps the WAL this standby needs.
---@return boolean
function Attached:slot_usable()
  return self.environment.primary:value(
    "SELECT coalesce((SELECT wal_status <> 'lost' FROM pg_replication_slots WHERE slot_name = $1), false)",
    self.name
  )
end

--- Has the standby make itself anew from the primary: its own data go.
---@error state  code "consent"
---@error timeout
function Attached:rebuild()
  self.environment:consent(("replace the data of %s"):format(self.name))
  self:exec { "/bin/sh", "-c", ': >"$PGDATA.rebuild"' }
  self:stop "immediate"
  self:start()
end

--- Takes a recovered database into this server, which goes on all the while: as a copy beside the damaged
--- one, compared with where it comes from, then renamed. The damaged one stays until the run ends.
---@param restored rpitr.Node  of the lab
---@param database string
---@return rpitr.AttachedNode node  itself, which clients reach as before
---@error verify  the copy differs from where it comes from
---@error state  code "consent"
---@error sql, postgres
function Attached:bring_back(restored, database)
  self.environment:consent(("replace database %s of %s"):format(database, self.name))
  local verify = require "rpitr.verify"
  local dump = ("%s/backup/%s.dump"):format(self.lab.info.folder, database)
  local copy, damaged = database .. "_recovered", database .. "_damaged"
  restored:exec {
    "pg_dump",
    "--format=custom",
    "--file=" .. dump,
    "--dbname=" .. restored:link() .. " dbname=" .. database,
  }
  self:create_database(copy)
  self:exec_in_lab { "pg_restore", "--exit-on-error", "--dbname=" .. self:link() .. " dbname=" .. copy, dump }
  local there = verify.fingerprint(self, { dbname = copy })
  for name, wanted in pairs(verify.fingerprint(restored, { dbname = database })) do
    local found = there[name]
    if not found or found.hash ~= wanted.hash then
      internal.raise({
        kind = "verify",
        code = "differs",
        message = ("%s of the recovered database arrived changed on %s"):format(name, self.name),
        hint = "the damaged database is untouched",
      }, 2)
    end
  end
  self.environment:drop_later(damaged)
  local db = self:admin()
  for _, name in ipairs { database, copy } do
    db:exec(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()",
      name
    )
  end
  db:tx(function()
    db:exec(("ALTER DATABASE %s RENAME TO %s"):format(sql.identifier(database), sql.identifier(damaged)))
    db:exec(("ALTER DATABASE %s RENAME TO %s"):format(sql.identifier(copy), sql.identifier(database)))
  end)
  return self
end

return attached
