--- Standing environments: what compose runs, seen as nodes; asked before it is disturbed, healed after.

local host, internal = ...
local attached = require "rpitr.lab.attached"
local checks = require "rpitr.lab.checks"
local prompt = require "rpitr.prompt"
local sql = require "rpitr.sql"
local timer = require "rpitr.timer"

local standing = {}

--- A container of a standing environment, as the engine sees it.
---@class rpitr.lab.Service
---@field environment string
---@field project string  of compose
---@field name string
---@field role string
---@field container string
---@field image string
---@field state string  "running", "paused", "exited", "created" ...
---@field exit_code? integer
---@field health? string
---@field host? string  where it is reached from this machine
---@field port? integer
---@field env table<string, string>
---@field network? string

--- An environment that is up. Its nodes are also fields of it, by name and by role.
---@class rpitr.Environment
---@field name string
---@field project string  of compose
---@field nodes table<string, rpitr.AttachedNode>
---@field primary rpitr.AttachedNode
---@field standby? rpitr.AttachedNode
---@field receiver? rpitr.AttachedNode
---@field handle userdata
---@field agreed? boolean  whether somebody has agreed to its being disturbed
---@field touched? boolean  whether something has to be undone when the run ends
---@field package makers { lab: (fun(): rpitr.Lab), add_node: (fun(name: string, role: string, options: table): rpitr.Node) }
---@field package databases table<string, boolean>
---@field package desk_node? rpitr.Node
local Environment = { __name = "rpitr.Environment" }
Environment.__index = Environment

-- Finds an environment that is up. `makers` ({ lab, add_node }): how the lab beside it is made.
function standing.open(name, makers)
  local self = setmetatable({
    name = name,
    handle = host.standing_open(name),
    makers = makers,
    nodes = {},
    databases = {},
  }, Environment)
  for _, service in ipairs(host.standing_services(self.handle)) do
    self.project = service.project
    if service.role ~= "inspector" then
      local made = attached.new(self, service)
      self.nodes[service.name], self[service.role] = made, self[service.role] or made
      self[service.name] = self[service.name] or made
    end
  end
  if not self.primary then
    internal.raise({
      kind = "state",
      code = "not_up",
      message = ("environment %s has no primary"):format(name),
      hint = ("rpitr lab up %s makes what is missing"):format(name),
    }, 2)
  end
  internal.at_exit[#internal.at_exit + 1] = function()
    if self.touched then
      self:heal()
    end
    for _, made in pairs(self.nodes) do
      made:forget_admin()
    end
  end
  return self
end

function Environment:__tostring()
  return "standing environment " .. self.name
end

--- All containers, as the engine sees them now.
---@return rpitr.lab.Service[]
function Environment:services()
  return host.standing_services(self.handle)
end

--- One of them.
---@param name string
---@return rpitr.lab.Service
---@error state  code "container_gone"
function Environment:service(name)
  for _, service in ipairs(self:services()) do
    if service.name == name then
      return service
    end
  end
  internal.raise({
    kind = "state",
    code = "container_gone",
    message = ("%s of environment %s is gone: somebody removed its container"):format(name, self.name),
    hint = ("rpitr lab up %s makes it again"):format(self.name),
  }, 2)
end

-- The lab that works beside the environment.
---@private
function Environment:lab()
  return self.makers.lab()
end

-- A node of that lab, in the environment's network: where the lab's tools reach its servers from.
---@private
function Environment:desk()
  if not self.desk_node then
    local desk = self.makers.add_node("desk", "desk", {})
    host.node_join(desk.handle, self:service(self.primary.name).network)
    self.desk_node = desk
  end
  return self.desk_node
end

-- Disturbing it -------------------------------------------------------------------------------------

-- Something has to be undone when the run ends.
---@private
function Environment:touch()
  self.touched = true
end

--- Asks before the environment is disturbed, once a run. Without an answer that is an error.
---@param what string  what would be done, as an infinitive
---@error state  code "consent"
function Environment:consent(what)
  self:touch()
  if self.agreed then
    return
  end
  if not prompt.confirm(("This would %s in the standing environment %s. Go on?"):format(what, self.name)) then
    internal.raise({
      kind = "state",
      code = "consent",
      message = ("this would %s in the standing environment %s, and nobody agreed"):format(what, self.name),
      hint = "--yes agrees; without --lab the script runs in a lab of its own",
    }, 2)
  end
  self.agreed = true
end

--- Has a database removed when the run ends.
---@param database string
function Environment:drop_later(database)
  self:touch()
  self.databases[database] = true
end

--- Brings the environment back to what it was: everything runs, settings of the run are gone, its
--- databases dropped, standbys stream. A standby that cannot follow any more is made anew if the run was
--- allowed to disturb it. Runs by itself when the run ends.
function Environment:heal()
  local primary = self.primary
  for _, made in pairs(self.nodes) do
    made:forget_admin()
    local state = self:service(made.name).state
    if state == "paused" then
      made:resume()
    end
    local server = made.role == "primary" or made.role == "standby"
    local changed = server and made:restore_conf()
    if state == "exited" or state == "created" then
      if server then
        made:start()
      else
        host.standing_start(self.handle, made.container, nil)
      end
    elseif changed then
      made:reload()
    end
  end
  for name in pairs(self.databases) do
    primary:admin():exec(("DROP DATABASE IF EXISTS %s WITH (FORCE)"):format(sql.identifier(name)))
  end
  self.databases, self.touched = {}, false
  for _, made in pairs(self.nodes) do
    if made.role == "standby" then
      if self.agreed and (made:value "SELECT NOT pg_is_in_recovery()" or not made:slot_usable()) then
        made:rebuild()
      end
      primary:wait_streaming(made)
    end
  end
end

--- Stops and starts one container. A standby or a receiver whose slot is gone makes it again.
---@param name string
---@error arg, timeout
function Environment:restart(name)
  local made = self.nodes[name]
  if not made then
    internal.raise({ kind = "arg", message = ("environment %s has no container %q"):format(self.name, name) }, 2)
  end
  made:forget_admin()
  if self:service(name).state == "paused" then
    made:resume()
  end
  local server = made.role == "primary" or made.role == "standby"
  host.standing_end(self.handle, made.container, server and "SIGINT" or "SIGTERM", 60)
  if server then
    made:start()
    self.touched = false
  else
    host.standing_start(self.handle, made.container, nil)
  end
  if made.role == "standby" and made:value "SELECT pg_is_in_recovery()" then
    self.primary:wait_streaming(made)
  end
end

--- Promotes a standby, for good: what the command line was asked for needs no further consent.
---@param name string
---@error arg, timeout
function Environment:promote(name)
  local made = self.nodes[name]
  if not made or made.role ~= "standby" then
    internal.raise({ kind = "arg", message = ("environment %s has no standby %q"):format(self.name, name) }, 2)
  end
  self.agreed = true
  made:promote()
  self.touched = false
end

--- Takes back what a run that was killed had done: frozen containers go on, its settings go. A database it left
--- is replaced by the next run.
function Environment:undo_leftovers()
  for _, made in pairs(self.nodes) do
    if self:service(made.name).state == "paused" then
      made:resume()
    end
    if (made.role == "primary" or made.role == "standby") and made:restore_conf() and made:status() ~= "starting" then
      made:reload()
    end
  end
end

-- Whether it works ------------------------------------------------------------------------------------

---@class rpitr.lab.Check
---@field what string
---@field ok boolean
---@field why? string  what is wrong
---@field mend? string  what to do about it

--- Checks directories, tables, slots, replication and archiving.
---
--- ```lua
--- -- needs: rpitr lab up recovery
--- local checks, ok = lab.attach("recovery", { check = false }):check()
--- assert(ok, checks[1].why)
--- ```
---@return rpitr.lab.Check[] checks
---@return boolean ok  whether all passed
function Environment:check()
  return checks.run(self)
end

--- Raises an error that names each failed check and how to mend it.
---@return rpitr.Environment environment  itself
---@error state  code "unhealthy"
function Environment:assert_healthy()
  local results, ok = self:check()
  if ok then
    return self
  end
  local lines, mends = {}, {}
  for _, result in ipairs(results) do
    if not result.ok then
      lines[#lines + 1] = ("%s: %s"):format(result.what, result.why)
      mends[#mends + 1] = result.mend
    end
  end
  internal.raise({
    kind = "state",
    code = "unhealthy",
    message = ("environment %s is not healthy: %s"):format(self.name, lines[1]),
    detail = #lines > 1 and table.concat(lines, "\n", 2) or nil,
    hint = table.concat(mends, "; "),
  }, 2)
end

--- Waits until its servers answer and its standbys stream; a container that ended is an error at once.
---@param options { timeout: rpitr.Duration }
---@return rpitr.Environment environment  itself
---@error timeout
---@error state  a container ended
function Environment:wait_ready(options)
  timer.eventually(function()
    for _, service in ipairs(self:services()) do
      if service.state == "exited" and service.role ~= "inspector" then
        internal.raise({
          kind = "state",
          -- Ends the wait at once.
          code = "fatal",
          message = ("%s of environment %s has ended (exit status %d)"):format(
            service.name,
            self.name,
            service.exit_code
          ),
          detail = self.nodes[service.name]:why_died(),
          hint = ("rpitr lab logs %s %s shows everything it said"):format(self.name, service.name),
        }, 2)
      end
    end
    return checks.settled(self)
  end, { timeout = options.timeout, every = 0.25, describe = ("environment %s"):format(self.name) })
  return self
end

--- What is there and how to reach it, for people.
---@return string
function Environment:describe()
  local lines = { ("%s is up: project %s"):format(self.name, self.project) }
  for _, service in ipairs(self:services()) do
    local where = service.port and (service.host .. ":" .. service.port) or "-"
    lines[#lines + 1] = ("  %-15s %-10s %-18s %s"):format(service.name, service.role, where, service.image)
  end
  local env = self:service(self.primary.name).env
  lines[#lines + 1] = ("database %s, user %s, password in the environment's .env"):format(
    env.POSTGRES_DB,
    env.POSTGRES_USER
  )
  lines[#lines + 1] = ("  rpitr lab psql %s %s"):format(self.name, self.primary.name)
  lines[#lines + 1] = ("  rpitr pitr --lab %s"):format(self.name)
  return table.concat(lines, "\n")
end

return standing
