--- Random numbers that `--seed` repeats.
---@class rpitr.random
local random = {}

local host = ...
local args = require "rpitr.core.args"

--- Called like `math.random`.
---@class rpitr.random.Generator
---@overload fun(low: integer, high: integer): integer  from `low` to `high`
---@overload fun(high: integer): integer  from 1 to `high`
---@overload fun(): number  from 0 to 1, 1 excluded

--- A generator of random numbers.
---
--- ```lua
--- local r = random.new "example"
--- local n = r(6)
--- assert(n >= 1 and n <= 6)
--- ```
---@param name string  generators of different names do not influence each other
---@return rpitr.random.Generator
---@error arg
function random.new(name)
  return host.random_new(args.check("random.new", "name", name, "string"))
end

return random
