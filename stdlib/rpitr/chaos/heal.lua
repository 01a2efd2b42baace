--- What a fault leaves in the script's hand: the way back, and the proof that it was taken.

local host, internal = ...
local args = require "rpitr.core.args"

local heal = {}

--- A fault that is there, and the way back; closable, which heals it.
---@class rpitr.Undo
---@field fault rpitr.chaos.Fault
---@field healed boolean
---@field result? rpitr.chaos.Healed
---@field session table
---@field effect table
---@field seq? integer  its number in the journal
---@field began? number
local Undo = { __name = "rpitr.Undo" }
Undo.__index = Undo

-- The undo of a fault that is about to happen.
function heal.new(session, fault, effect)
  return setmetatable({ session = session, fault = fault, effect = effect, healed = false }, Undo)
end

function Undo:__tostring()
  return ("%s of %s%s"):format(self.fault.kind, self.fault.target, self.healed and ", healed" or "")
end

local function forget(session, undo)
  for i, other in ipairs(session.active) do
    if other == undo then
      table.remove(session.active, i)
      return
    end
  end
end

-- Heals a fault of a session. Once begun, it is seen through whatever happens around it. `patience`: seconds a probe
-- may take until it holds; nil: no probes.
function heal.now(session, undo, patience)
  if undo.healed then
    return undo.result
  end
  local effect, fired = undo.effect, nil
  if effect.before then
    effect.before(undo)
  end
  if effect.fired then
    fired = effect.fired(undo)
  end
  local result = host.chaos_heal(session.handle, undo.seq, patience)
  -- Nothing to heal any more: its time was up and the guardian came first.
  result = result or { seconds = 0, checks = {}, by = "guardian" }
  if result.failure then
    internal.raise({
      kind = "state",
      code = "heal_failed",
      message = ("%s is undone, but %s"):format(tostring(undo), result.failure),
      hint = "rpitr chaos heal tries again; rpitr lab logs shows what the servers say",
    }, 3)
  end
  if effect.after then
    effect.after(undo)
  end
  forget(session, undo)
  undo.healed = true
  result.fired = fired
  result.lasted = host.now() - (undo.began or host.now())
  undo.result = result
  return result
end

---@class rpitr.chaos.HealOptions
---@field patience? rpitr.Duration  (default "60s") what a probe may take until it holds

---@class rpitr.chaos.Probe
---@field name string
---@field ok? boolean  nil when another fault stands in the way of it
---@field detail string
---@field seconds number

---@class rpitr.chaos.Healed
---@field seconds number  what healing took
---@field checks rpitr.chaos.Probe[]
---@field fired? integer  how often the fault struck, for those that wait for an occasion
---@field lasted number  seconds from the fault to its end
---@field by? string  "guardian" when that came first

--- Takes the fault back and proves that the cluster works again. A second time it does nothing.
---@param options? rpitr.chaos.HealOptions
---@return rpitr.chaos.Healed
---@error state  code "heal_failed"
---@error arg
function Undo:heal(options)
  local opts = args.options("undo:heal", options, { patience = { "duration", 60 } })
  return heal.now(self.session, self, opts.patience)
end

function Undo:__close()
  self:heal()
end

return heal
