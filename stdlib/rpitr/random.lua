--- Random numbers that `--seed` repeats.
---@class rpitr.random
local random = {}

local host = ...
local args = require "rpitr.core.args"

--- Called like `math.random`: `r()` from 0 to 1, `r(n)` an integer from 1 to n, `r(low, high)` one from low to high.
---@alias rpitr.random.Generator fun(low?: integer, high?: integer): number

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
