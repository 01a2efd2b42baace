--- Ranges as users write them: `"5..20s"`, `"0..10ms"`, `"1..5"`, or a single value for both ends.

local _, internal = ...
local args = require "rpitr.core.args"

local range = {}

local function refuse(name, value, example)
  internal.raise({
    kind = "arg",
    message = ("%s: %s is not a range"):format(name, tostring(value)),
    hint = "write it like " .. example,
  }, 4)
end

local function read(name, value, convert, example)
  if type(value) == "table" then
    value = ("%s..%s"):format(tostring(value[1]), tostring(value[2]))
  end
  local low, high, unit
  if type(value) == "string" then
    low, high = value:match "^%s*(.-)%s*%.%.%s*(.-)%s*$"
    -- "5..20s": the unit stands at the end, and holds for both.
    unit = high and high:match "(%a+)$"
    if low and unit and not low:match "%a" then
      low = low .. unit
    end
  end
  low, high = convert(low or value), convert(high or value)
  if not low or not high or low > high then
    refuse(name, value, example)
  end
  return { low, high }
end

--- { low, high } in seconds.
function range.seconds(name, value)
  return read(name, value, args.seconds, '"5..20s"')
end

--- { low, high } as integers from `least` on.
function range.integers(name, value, least)
  return read(name, value, function(text)
    local number = math.tointeger(tonumber(text))
    return number and number >= least and number or nil
  end, '"1..5"')
end

return range
