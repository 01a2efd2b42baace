--- JSON to Lua tables and back.
---@class rpitr.json
local json = {}

local host = ...
local args = require "rpitr.core.args"

--- Stands for null where a key must stay, or in an array.
---@type lightuserdata
json.null = host.json_null

---@class rpitr.json.EncodeOptions
---@field pretty? boolean  (default false) over several lines, indented

--- Text from a value. LSNs and times are written as text.
---
--- ```lua
--- assert(json.encode({ 1, 2 }) == "[1,2]")
--- ```
---@param value any
---@param options? rpitr.json.EncodeOptions
---@return string
---@error arg  a value that JSON cannot carry
function json.encode(value, options)
  local opts = args.options("json.encode", options, { pretty = { "boolean", false } })
  return host.json_encode(value, opts.pretty)
end

local Array = { __array = true }

--- Marks a table as an array, so that it is written as `[]` while empty.
---
--- ```lua
--- assert(json.encode(json.array {}) == "[]")
--- ```
---@generic T
---@param list T[]
---@return T[] list  the same table
function json.array(list)
  return setmetatable(list, Array)
end

--- The value a JSON text stands for.
---
--- ```lua
--- assert(json.decode('{"a":[1,null]}').a[2] == json.null)
--- ```
---@param text string
---@return any
---@error arg  it is not JSON
function json.decode(text)
  return host.json_decode(args.check("json.decode", "text", text, "string"))
end

return json
