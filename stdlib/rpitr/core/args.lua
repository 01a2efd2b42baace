--- Checks what callers pass: types, unknown option keys with a suggestion, units.
--
-- Every public function of the standard library checks its arguments here, so that a typo is an
-- error that names the function and the nearest option instead of a silent nil.

local host, internal = ...

local args = {}

local UNITS = { ms = 0.001, s = 1, m = 60, h = 3600, d = 86400 }
local SIZES = { B = 1, kB = 1024, MB = 1024 ^ 2, GB = 1024 ^ 3, TB = 1024 ^ 4 }

local function refuse(message, hint)
  internal.raise({ kind = "arg", message = message, hint = hint }, 3)
end

--- Seconds from `5`, `"5s"`, `"250ms"`, `"2m"`, `"1h"`.
function args.seconds(value)
  if type(value) == "number" then
    return value >= 0 and value or nil
  end
  if type(value) == "string" then
    local number, unit = value:match "^%s*([%d.]+)%s*(%a*)%s*$"
    number = tonumber(number)
    local factor = UNITS[unit == "" and "s" or unit]
    return number and factor and number * factor or nil
  end
end

--- Bytes from `1024`, `"16MB"`, `"1GB"` (PostgreSQL's units, powers of 1024).
function args.bytes(value)
  if math.type(value) == "integer" then
    return value >= 0 and value or nil
  end
  if type(value) == "string" then
    local number, unit = value:match "^%s*([%d.]+)%s*(%a*)%s*$"
    number = tonumber(number)
    local factor = SIZES[unit == "" and "B" or unit]
    return number and factor and math.floor(number * factor) or nil
  end
end

-- Each type: what it accepts, turned into what the library works with; nil when it does not fit.
local convert = {
  string = function(v)
    return type(v) == "string" and v or nil
  end,
  integer = function(v)
    return math.type(v) == "integer" and v or (type(v) == "number" and math.tointeger(v)) or nil
  end,
  number = function(v)
    return type(v) == "number" and v or nil
  end,
  boolean = function(v)
    if type(v) == "boolean" then
      return v
    end
  end,
  table = function(v)
    return type(v) == "table" and v or nil
  end,
  ["function"] = function(v)
    return type(v) == "function" and v or nil
  end,
  duration = args.seconds,
  size = args.bytes,
  any = function(v)
    return v
  end,
  lsn = function(v)
    if host.is_lsn(v) then
      return v
    end
    return type(v) == "string" and host.lsn_parse(v) or nil
  end,
  time = function(v)
    if host.is_time(v) then
      return v
    end
    return type(v) == "string" and host.time_parse(v) or nil
  end,
}

local EXPECTS = {
  duration = 'a duration such as 5, "5s" or "250ms"',
  size = 'a size such as "16MB"',
  lsn = 'an LSN such as "0/16B3748"',
  time = 'a time with a UTC offset such as "2026-11-21 03:16:27+00"',
}

local function describe(value)
  if type(value) == "string" then
    return ("the string %q"):format(value)
  end
  if type(value) == "number" or type(value) == "boolean" then
    return "the " .. type(value) .. " " .. tostring(value)
  end
  return value == nil and "nothing" or "a " .. type(value)
end

--- Checks one positional argument: `args.check("sql.connect", "url", url, "string")`.
--- A type ending in `?` is optional. Returns the converted value.
function args.check(name, argument, value, kind)
  local optional = kind:sub(-1) == "?"
  if optional then
    kind = kind:sub(1, -2)
  end
  if value == nil and optional then
    return nil
  end
  local converted = value ~= nil and convert[kind](value) or nil
  if kind == "boolean" and type(value) == "boolean" then
    return value
  end
  if converted == nil then
    refuse(
      ("%s: %s must be %s, got %s"):format(
        name,
        argument,
        EXPECTS[kind] or (kind:match "^[aeiou]" and "an " or "a ") .. kind,
        describe(value)
      )
    )
  end
  return converted
end

--- Checks an options table against `{ key = "type" | { "type", default } }` and returns a new table
--- with converted values and defaults. Unknown keys raise with the nearest known one.
function args.options(name, options, spec)
  if options ~= nil and type(options) ~= "table" then
    refuse(("%s: options must be a table, got %s"):format(name, describe(options)))
  end
  local result = {}
  for key, value in pairs(options or {}) do
    if spec[key] == nil then
      local near = internal.suggest(key, spec)
      local names = {}
      for known in pairs(spec) do
        names[#names + 1] = known
      end
      table.sort(names)
      refuse(
        ("%s: unknown option %q"):format(name, tostring(key)),
        near and ("did you mean %q?"):format(near) or "known options: " .. table.concat(names, ", ")
      )
    end
    local kind = type(spec[key]) == "table" and spec[key][1] or spec[key]
    result[key] = args.check(name, "option " .. tostring(key), value, kind)
  end
  for key, entry in pairs(spec) do
    if result[key] == nil then
      if type(entry) == "table" then
        result[key] = entry[2]
      elseif entry:sub(-1) ~= "?" then
        refuse(("%s: option %q is required"):format(name, key))
      end
    end
  end
  return result
end

--- Checks that `value` is one of `choices`.
function args.choice(name, argument, value, choices)
  for _, choice in ipairs(choices) do
    if value == choice then
      return value
    end
  end
  local set = {}
  for _, choice in ipairs(choices) do
    set[choice] = true
  end
  local near = internal.suggest(value, set)
  refuse(
    ("%s: %s must be one of %s, got %s"):format(name, argument, table.concat(choices, ", "), describe(value)),
    near and ("did you mean %q?"):format(near) or nil
  )
end

return args
