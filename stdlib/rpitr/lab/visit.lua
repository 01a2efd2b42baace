--- Labs that another process made: their servers as nodes of this one.
---
--- The lab's record says where everything is; nothing else of what its maker knew is needed. Whoever visits a lab
--- removes nothing of it by leaving. While its owner runs, what would pull a server from under the owner's feet is
--- refused; a lab whose owner is gone can be adopted.

local host, internal = ...
local node = require "rpitr.lab.node"

local visit = {}

local function refuse(self, what, owner)
  internal.raise({
    kind = "state",
    code = "lab_in_use",
    message = ("%s is for the run that lab %s belongs to (process %d)"):format(what, self.lab.id, owner),
    hint = "wait until it has ended, or work on a copy: pitr.restore(...) restores beside it",
  }, 3)
end

-- Read from the node when somebody asks: a stopped container need not be woken up for it.
local Visited = node.derive {
  settings = function(self)
    return host.node_read_conf(self.handle)
  end,
  clock = function(self)
    return self:existing_clock()
  end,
  start_env = function(self)
    return self.clock and self:clock_env()
  end,
}

-- Leaving a block leaves the server alone, unless the lab has become this run's own.
function Visited:__close()
  if self.lab.adopted then
    node.class.__close(self)
  else
    self:forget_admin()
  end
end

local function assert_there(self)
  if not host.lab_exists(self.lab.handle) then
    internal.raise({
      kind = "state",
      code = "lab_gone",
      message = ("lab %s is gone, and %s with it: the run it belonged to has ended"):format(self.lab.id, self.name),
      hint = "a run with --keep leaves its lab; rpitr lab ls lists those that are there",
    }, 3)
  end
end

-- In containers archive and backups lie in a volume of the lab's own.
function Visited:assert_readable()
  if self.lab.info.runtime == "docker" and not self.lab.shared then
    internal.raise({
      kind = "state",
      code = "lab_in_use",
      message = ("the archive of %s is in a volume of lab %s, which nodes of this run do not see"):format(
        self.name,
        self.lab.id
      ),
      hint = "once the run it belongs to has ended, attach to the lab before anything else is made",
    }, 4)
  end
end

for _, name in ipairs { "run_program", "connect", "start" } do
  Visited[name] = function(self, ...)
    assert_there(self)
    return node.class[name](self, ...)
  end
end

local OWNERS = {
  "initdb",
  "wipe",
  "remove",
  "follow",
  "rewind_from",
  "take_over",
  "receive_from",
  "unpack",
  "archive_into",
  "fake_clock",
}
for _, name in ipairs(OWNERS) do
  Visited[name] = function(self, ...)
    local owner = host.lab_owner(self.lab.handle)
    if owner then
      refuse(self, "node:" .. name, owner)
    end
    return node.class[name](self, ...)
  end
end

function Visited:edge(who)
  if self.lab.adopted and self.proxied then
    return node.class.edge(self, who)
  end
  internal.raise({
    kind = "state",
    code = "not_proxied",
    message = ("the proxies on the ways to %s end with the process that made it"):format(self.name),
    hint = "faults of the network need a lab of this run, with lab.postgres { proxied = true }",
  }, 2)
end

-- Whether a node was there before this process attached to its lab.
function visit.is_visited(value)
  return getmetatable(value) == Visited
end

--- A lab: the run's own, or one of another process, as `lab.attach` gives it. Of the latter each node is also a field
--- under its name and its role: `there.primary`.
---@class rpitr.Lab
---@field id? string  nil of the run's own, whose `info` has it
---@field nodes table<string, rpitr.Node>  by name
---@field info rpitr.lab.Info
---@field handle userdata
---@field name? string  the same as `id`
---@field superuser string
---@field password? string
---@field adopted? boolean  whether it has become this run's own
---@field primary? rpitr.Node
---@field standby? rpitr.Node
---@field receiver? rpitr.Node
local Lab = { __name = "rpitr.Lab" }
Lab.__index = Lab

function Lab:__tostring()
  local names = {}
  for name in pairs(self.nodes) do
    names[#names + 1] = name
  end
  table.sort(names)
  return ("lab %s (%s)"):format(self.id, table.concat(names, ", "))
end

--- The process that owns the lab and removes it when it ends; nil once that is gone, or if it is this one.
---@return integer?
function Lab:owner()
  return host.lab_owner(self.handle)
end

-- What another process did to a node's neighbours, as this one's nodes know it.
local function tie(there)
  for _, made in pairs(there.nodes) do
    local info = made.info
    made.slot, made.archive = info.slot, info.archive
    made.primary = info.follows and there.nodes[info.follows]
    if made.role == "receiver" then
      made.archive = made.data
      if made.primary then
        made.primary.receivers = made.primary.receivers or {}
        table.insert(made.primary.receivers, made)
      end
    end
  end
end

local function attach(name, adopt)
  local ok, handle = pcall(host.lab_attach, name, adopt)
  if ok then
    return handle
  end
  if handle.code == "unknown_lab" then
    local known = {}
    for _, entry in ipairs(host.lab_list()) do
      known[entry.id], known[entry.id:gsub("^rpitr%-", "")] = true, true
    end
    for _, environment in ipairs(host.standing_names()) do
      known[environment] = true
    end
    local near = internal.suggest(name, known)
    handle.hint = (near and ("did you mean %s? "):format(near) or "") .. (handle.hint or "")
  end
  error(handle, 0)
end

-- Attaches to a lab; see `lab.attach`.
function visit.open(name, adopt)
  local handle = attach(name, adopt)
  local info = host.lab_info(handle)
  local superuser, password = host.lab_credentials(handle)
  local there = setmetatable({
    handle = handle,
    info = info,
    id = info.id,
    name = info.id,
    nodes = {},
    superuser = superuser,
    password = password,
    adopted = adopt,
  }, Lab)
  for _, one in ipairs(host.lab_nodes(handle)) do
    local made = node.attach(one, there, nil, Visited)
    there.nodes[made.name] = made
    there[made.name] = there[made.name] or made
  end
  for _, made in pairs(there.nodes) do
    there[made.role] = there[made.role] or made
  end
  tie(there)
  table.insert(internal.at_exit, function()
    for _, made in pairs(there.nodes) do
      made:forget_admin()
    end
  end)
  return there
end

-- Takes along what this run made in a lab that stays.
function visit.leave(there)
  for _, made in pairs(there.nodes) do
    if not visit.is_visited(made) then
      made:remove()
    end
  end
end

return visit
