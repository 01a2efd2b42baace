--- WAL positions: `lsn "0/16B3748"`. They compare, subtract to bytes and add bytes.
---@class rpitr.lsn
---@overload fun(text: string): rpitr.Lsn
local lsn = {}

local host, internal = ...

local args = require "rpitr.core.args"

--- Reads an LSN as PostgreSQL prints it; `lsn "0/20"` is the same.
---
--- ```lua
--- assert(lsn.parse "0/20" - lsn "0/10" == 16)
--- assert(lsn "0/10" + 16 == lsn "0/20")
--- ```
---@param text string|rpitr.Lsn
---@return rpitr.Lsn
---@error arg
function lsn.parse(text)
  return args.check("lsn.parse", "text", text, "lsn")
end

--- Whether a value is an LSN.
---@param value any
---@return boolean
function lsn.is(value)
  return host.is_lsn(value)
end

return setmetatable(lsn, {
  __call = function(_, text)
    return lsn.parse(text)
  end,
  __index = function(_, key)
    internal.raise({ kind = "arg", message = "lsn." .. tostring(key) .. " does not exist" }, 2)
  end,
})
