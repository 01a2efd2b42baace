--- Making a fault happen, and undoing it.
---
--- What undoes a fault is on disk before it happens, and a guardian process watches: whatever becomes of this process,
--- the fault is healed. See `src/chaos/`.

local host, internal = ...
local args = require "rpitr.core.args"
local heal = require "rpitr.chaos.heal"
local kinds = require("rpitr.chaos.kinds").list
local legal = require "rpitr.chaos.legal"

---@class rpitr.chaos
local inject = {}

-- How much longer than it should last a fault may stay before the guardian heals it.
local SLACK = 300

local effects = {}
for _, name in ipairs { "process", "network", "archive", "segment", "clock", "orchestration" } do
  effects[name] = require("rpitr.chaos.effects." .. name)
end

-- One journal and one guardian a lab, opened with the first fault.
local session

-- Proxies end with this process: the guardian leads the servers that go through one past it.
local function link(here, primary)
  for name, edge in pairs(primary.edges or {}) do
    if edge.direct and not edge.watched then
      edge.watched = true
      local now = math.floor(host.time_now():unix() * 1000)
      here.links[#here.links + 1] = host.chaos_begin(here.handle, {
        seq = 0,
        fault = { kind = "proxy", target = name },
        undo = { { ["do"] = "relink", node = name, from = edge.through, to = edge.direct } },
        began = now,
        ["until"] = now + 100 * 365 * 86400 * 1000,
      })
    end
  end
end

local function open(cluster)
  local primary = cluster.primary
  if not session then
    local handle, failed = host.chaos_open(primary.lab.handle)
    if failed then
      host.notice "faults of an earlier run could not be healed: see rpitr chaos heal"
    end
    session = { handle = handle, active = {}, links = {} }
    table.insert(internal.at_exit, function()
      local closing = session
      session = nil
      if not host.scope_tripped() then
        for i = #closing.active, 1, -1 do
          -- Servers may have been stopped by now: nothing to probe.
          internal.cleanup(function()
            heal.now(closing, closing.active[i])
          end)
        end
      end
      for _, seq in ipairs(closing.links) do
        internal.cleanup(host.chaos_heal, closing.handle, seq)
      end
      host.chaos_close(closing.handle)
    end)
  end
  local known = { primary = primary.name, archive = primary.archive }
  if cluster.standby and cluster.standby.role == "standby" then
    known.standby = cluster.standby.name
  end
  if cluster.receiver and cluster.receiver.role == "receiver" then
    known.receiver = cluster.receiver.name
  end
  local before = session.cluster or {}
  for _, role in ipairs { "primary", "standby", "receiver", "archive" } do
    if before[role] ~= known[role] then
      host.chaos_cluster(session.handle, known)
      session.cluster = known
      break
    end
  end
  link(session, primary)
  return session
end

-- The faults that are there now.
local function active_faults(here)
  local list = {}
  for i, undo in ipairs(here.active) do
    list[i] = undo.fault
  end
  return list
end

local function node_of(cluster, fault)
  local node = cluster[fault.target]
  if kinds[fault.kind].class ~= "network" and kinds[fault.kind].class ~= "orchestration" and not node then
    internal.raise({
      kind = "arg",
      code = "no_target",
      message = ("%s: the cluster has no %s"):format(fault.kind, tostring(fault.target)),
    }, 3)
  end
  return node
end

local function copy(fault)
  local made = {}
  for key, value in pairs(fault) do
    made[key] = value
  end
  return made
end

---@class rpitr.chaos.InjectOptions
---@field ttl? rpitr.Duration  after this the guardian heals it, whatever the script does; default: the longest it should last, and five minutes

--- Makes a fault happen.
---
--- ```lua
--- local server <close> = lab.postgres { name = "example_fault" }
--- local undo <close> = chaos.inject({ primary = server }, chaos.pause "primary")
--- assert(server:status() == "paused")
--- print(undo:heal().seconds)
--- ```
---@param cluster rpitr.chaos.Cluster
---@param fault rpitr.chaos.Fault
---@param options? rpitr.chaos.InjectOptions
---@return rpitr.Undo
---@error state  code "illegal": another fault stands in the way
---@error arg  code "no_target"
function inject.inject(cluster, fault, options)
  local opts = args.options("chaos.inject", options, { ttl = "duration?" })
  args.check("chaos.inject", "cluster", cluster, "table")
  args.check("chaos.inject", "fault", fault, "table")
  local kind = kinds[fault.kind]
  if not kind then
    internal.raise({
      kind = "arg",
      message = ("chaos.inject: there is no kind of fault named %q"):format(tostring(fault.kind)),
    }, 2)
  end
  fault = copy(fault)
  local node = node_of(cluster, fault)
  local effect = effects[kind.class][fault.kind]
  if effect.resolve then
    effect.resolve(cluster, fault, node)
  end
  local here = open(cluster)
  local ok, why = legal.legal(fault, active_faults(here))
  if not ok then
    internal.raise({
      kind = "state",
      code = "illegal",
      message = "this fault cannot be there now: " .. why,
      hint = "heal the other one first; chaos.legal tells beforehand",
    }, 2)
  end
  local undo = heal.new(here, fault, effect)
  local plan = effect.plan and effect.plan(cluster, fault, node, undo) or {}
  local uses = legal.uses(fault)
  local now = math.floor(host.time_now():unix() * 1000)
  local ttl = opts.ttl or (fault.duration and fault.duration[2] or 0) + SLACK
  undo.seq = host.chaos_begin(here.handle, {
    seq = 0,
    fault = fault,
    undo = plan[1] and plan or nil,
    uses = uses[1] and uses or nil,
    began = now,
    ["until"] = now + math.floor(ttl * 1000),
  })
  table.insert(here.active, undo)
  undo.began = host.now()
  local done, problem = xpcall(effect.strike, internal.as_error, cluster, fault, node, undo)
  if not done then
    -- Half a fault is taken back at once; what went wrong first is what counts.
    pcall(heal.now, here, undo)
    internal.rethrow(problem)
  end
  return undo
end

--- Starts to watch a cluster before the first fault: should this process die, its servers are led past its proxies.
---@param cluster rpitr.chaos.Cluster
function inject.watch(cluster)
  open(cluster)
end

--- The faults that are there now, oldest first.
---@return rpitr.chaos.Fault[]
function inject.active()
  return session and active_faults(session) or {}
end

--- Heals every fault that is there, the newest first.
---@return integer count  how many there were
---@error state  code "heal_failed"
function inject.heal_all()
  local count = 0
  while session and #session.active > 0 do
    session.active[#session.active]:heal()
    count = count + 1
  end
  return count
end

--- Removes the servers of a cluster, with their proxies; whatever is broken in it is healed first. Their names are free again.
---
--- ```lua
--- local c = chaos.cluster { standby = false }
--- chaos.remove(c)
--- assert(chaos.cluster({ standby = false }).primary.name == c.primary.name)
--- ```
---@param cluster rpitr.chaos.Cluster
---@error state  code "heal_failed"
function inject.remove(cluster)
  args.check("chaos.remove", "cluster", cluster, "table")
  inject.heal_all()
  if session then
    -- Nobody has to be led past proxies any more.
    for _, seq in ipairs(session.links) do
      host.chaos_heal(session.handle, seq)
    end
    session.links, session.cluster = {}, nil
  end
  for _, edge in pairs(cluster.primary.edges or {}) do
    host.proxy_close(edge.handle)
  end
  for _, role in ipairs { "receiver", "standby", "primary" } do
    if cluster[role] then
      cluster[role]:remove()
    end
  end
end

--- The journal of this run's faults, or nil before the first one.
---@return string? path
function inject.journal()
  return session and host.chaos_journal(session.handle) or nil
end

return inject
