--- WAL positions: `lsn "0/16B3748"`. They compare, subtract to bytes and add bytes.

local host, internal = ...

local args = require "rpitr.core.args"

local lsn = {}

--- Reads an LSN as PostgreSQL prints it; same as `lsn.parse`.
-- @usage assert(lsn.parse "0/20" - lsn.parse "0/10" == 16)
function lsn.parse(text)
  return args.check("lsn.parse", "text", text, "lsn")
end

--- Whether a value is an LSN.
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
