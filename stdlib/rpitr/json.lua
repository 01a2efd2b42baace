--- JSON to Lua tables and back. `json.null` stands for null where a key must stay.

local host = ...
local args = require "rpitr.core.args"

local json = { null = host.json_null }

--- Text from a value. LSNs and times are written as text.
-- @param options { pretty = boolean? }
-- @usage assert(json.encode({ 1, 2 }) == "[1,2]")
function json.encode(value, options)
  local opts = args.options("json.encode", options, { pretty = { "boolean", false } })
  return host.json_encode(value, opts.pretty)
end

local Array = { __array = true }

--- Marks a table as an array, so that it is written as `[]` while empty.
-- @usage assert(json.encode(json.array {}) == "[]")
function json.array(list)
  return setmetatable(list, Array)
end

--- The value a JSON text stands for. Raises an error of kind "arg" on text that is not JSON.
-- @usage assert(json.decode('{"a":[1,null]}').a[2] == json.null)
function json.decode(text)
  return host.json_decode(args.check("json.decode", "text", text, "string"))
end

return json
