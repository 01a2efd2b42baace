--- Which faults may be there at the same time.
---
--- Two faults on the same thing exclude each other: a server that is frozen cannot be killed and then be expected to
--- go on, a cable that is cut cannot be slow.

local args = require "rpitr.core.args"
local kinds = require("rpitr.chaos.kinds").list

---@class rpitr.chaos
local legal = {}

local function named(list, target)
  local all = {}
  for i, name in ipairs(list or {}) do
    all[i] = name:format(target)
  end
  return all
end

--- What a fault acts on.
---
--- ```lua
--- assert(chaos.uses(chaos.pause "primary")[1] == "process:primary")
--- ```
---@param fault rpitr.chaos.Fault
---@return string[]
function legal.uses(fault)
  local uses = named(kinds[fault.kind].uses, fault.target)
  if fault.kind == "isolate" and fault.target == "primary" then
    -- Everybody's way to the primary.
    uses = { "net:primary", "net:client", "net:standby", "net:receiver" }
  elseif kinds[fault.kind].class == "segment" and fault.segment then
    uses = { "segment:" .. fault.segment }
  end
  return uses
end

local function overlap(list, other)
  for _, a in ipairs(list) do
    for _, b in ipairs(other) do
      if a == b then
        return a
      end
    end
  end
end

--- Whether `fault` may begin while `active` ones are there.
---
--- ```lua
--- assert(not chaos.legal(chaos.kill_tree "primary", { chaos.pause "primary" }))
--- ```
---@param fault rpitr.chaos.Fault
---@param active? rpitr.chaos.Fault[]
---@return boolean legal
---@return string? why  not
---@error arg
function legal.legal(fault, active)
  args.check("chaos.legal", "fault", fault, "table")
  if not kinds[fault.kind] then
    return false, ("there is no kind of fault named %q"):format(tostring(fault.kind))
  end
  local uses = legal.uses(fault)
  local needs = named(kinds[fault.kind].needs, fault.target)
  for _, other in ipairs(active or {}) do
    local theirs = legal.uses(other)
    local thing = overlap(uses, theirs) or overlap(needs, theirs)
    if thing then
      return false, ("%s of %s: %s is taken by %s"):format(fault.kind, fault.target, thing, other.kind)
    end
    if fault.kind == "restart" or fault.kind == "immediate" or fault.kind:find "^kill_" then
      -- A server in order to be stopped waits for its archiver.
      if other.kind == "archive_hang" and fault.target == other.target then
        return false, ("%s of %s: its archiver hangs"):format(fault.kind, fault.target)
      end
    end
  end
  return true
end

return legal
