--- The ledger: what was sent to the shop, and what it promised.

local _, internal = ...
local json = require "rpitr.json"

local ledger = {}

--- One operation: what was sent and what came of it.
---@class rpitr.workload.Entry
---@field operation integer  its number, which no other operation has
---@field customer integer
---@field total string  as numeric(10, 2)
---@field items integer  how many items the order has
---@field hash string  SHA-256 of its content
---@field sent string  time
---@field answered? string  time
---@field outcome? "ok"|"failed"|"unknown"  nil while it is under way; unknown: nobody knows whether it was committed
---@field order? integer  the number the server gave it
---@field xid? integer
---@field lsn_low? rpitr.Lsn  its commit record begins at or after this
---@field lsn_high? rpitr.Lsn  and before this
---@field error? string  SQLSTATE, or the kind of the error
---@field package committing? boolean  COMMIT was sent and not answered

--- What a workload was promised.
---@class rpitr.Ledger
---@field entries rpitr.workload.Entry[]  every operation, in the order they were sent
---@field path? string  the file it is also written to, one JSON value a line
---@field package file? any  that path, open for appending
local Ledger = { __name = "rpitr.Ledger" }
Ledger.__index = Ledger

-- A new one; written to a file as well when there is a path.
function ledger.open(path)
  local file = path and io.open(path, "a") or nil
  if path and not file then
    internal.raise({ kind = "io", message = "cannot write the ledger " .. path }, 2)
  end
  if file then
    file:setvbuf "line"
  end
  return setmetatable({ path = path, file = file, entries = {} }, Ledger)
end

--- Takes in an operation that is about to be sent.
---@param entry rpitr.workload.Entry
function Ledger:add(entry)
  self.entries[#self.entries + 1] = entry
end

--- Writes down an operation whose outcome is known, one line each: whatever kills rpitr later, the line stays.
---@param entry rpitr.workload.Entry
function Ledger:settle(entry)
  if self.file then
    self.file:write(json.encode(entry), "\n")
  end
end

--- The operations with this outcome; all without one.
---@param outcome? "ok"|"failed"|"unknown"
---@return rpitr.workload.Entry[]
function Ledger:list(outcome)
  local list = {}
  for _, entry in ipairs(self.entries) do
    if outcome == nil or entry.outcome == outcome then
      list[#list + 1] = entry
    end
  end
  return list
end

return ledger
