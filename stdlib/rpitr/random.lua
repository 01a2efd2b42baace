--- Random numbers that `--seed` repeats.

local host = ...
local args = require "rpitr.core.args"

local random = {}

--- A generator called like `math.random`: `r()`, `r(n)`, `r(low, high)`.
-- @param name string  generators of different names do not influence each other
-- @usage local r = random.new "example"; local n = r(6); assert(n >= 1 and n <= 6)
function random.new(name)
  return host.random_new(args.check("random.new", "name", name, "string"))
end

return random
