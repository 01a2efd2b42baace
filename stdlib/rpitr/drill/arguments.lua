--- A drill's arguments on the command line: its flags, their values, its help.

local host, internal = ...
local args = require "rpitr.core.args"

local arguments = {}

local function flag(parameter)
  return "--" .. parameter.name:gsub("_", "-")
end

local function usage(message, hint)
  internal.raise({ kind = "arg", code = "usage", message = message, hint = hint, trace = {} }, 2)
end

local function convert(parameter, text)
  if parameter.kind == "integer" then
    return math.tointeger(tonumber(text))
  elseif parameter.kind == "number" then
    return tonumber(text)
  elseif parameter.kind == "boolean" then
    return ({ ["true"] = true, yes = true, on = true, ["false"] = false, no = false, off = false })[text]
  end
  return text
end

-- A value that cannot be right is refused before anything is started.
local function examine(name, parameter, value)
  if parameter.choices then
    local ok, e = xpcall(args.choice, internal.as_error, "drill", name, value, parameter.choices)
    if not ok then
      usage(e.message:gsub("^drill: ", ""), e.hint)
    end
  end
  if parameter.min and value < parameter.min then
    usage(("%s must be at least %s, got %s"):format(name, parameter.min, value))
  end
  if parameter.check then
    local ok, e = xpcall(parameter.check, internal.as_error, value)
    if not ok then
      usage(name .. ": " .. e.message, e.hint)
    end
  end
end

-- The values of a drill's arguments, from the words behind its name.
function arguments.parse(drill, words)
  local values, known = {}, {}
  for _, parameter in ipairs(drill.parameters) do
    values[parameter.name] = parameter.default
    known[flag(parameter)] = parameter
  end
  local i = 1
  while i <= #words do
    local word = words[i]
    local name, value = word:match "^(%-%-[^=]+)=(.*)$"
    name = name or word
    local parameter = known[name]
    if not parameter then
      local names = {}
      for long in pairs(known) do
        names[long] = true
      end
      for _, long in ipairs(host.options.global_flags) do
        names["--" .. long] = true
      end
      local near = internal.suggest(name, names)
      usage(
        (word:sub(1, 1) == "-" and "unknown flag " or "unexpected argument ") .. word,
        near and ("did you mean %s?"):format(near) or ("rpitr help %s lists its arguments"):format(drill.name)
      )
    end
    if value == nil and parameter.kind == "boolean" then
      value = "true"
    elseif value == nil then
      i = i + 1
      value = words[i]
      if value == nil then
        usage(name .. " needs a value", parameter.help)
      end
    end
    local converted = convert(parameter, value)
    if converted == nil then
      usage(
        ("%s must be %s %s, got %q"):format(name, parameter.kind == "integer" and "an" or "a", parameter.kind, value)
      )
    end
    values[parameter.name] = converted
    examine(name, parameter, converted)
    i = i + 1
  end
  return values
end

-- Says what a drill shows, takes and expects.
function arguments.print_help(drill)
  host.print(drill.name .. ": " .. drill.summary)
  if drill.description then
    host.print("\n" .. drill.description:gsub("%s+$", ""))
  end
  host.print "\nArguments:"
  for _, parameter in ipairs(drill.parameters) do
    local default = parameter.default ~= nil and (" [default: " .. tostring(parameter.default) .. "]") or ""
    host.print(("  %-18s %s%s"):format(flag(parameter), parameter.help, default))
  end
  if #drill.expectations > 0 then
    host.print "\nPasses when:"
    for _, expectation in ipairs(drill.expectations) do
      host.print("  " .. expectation.text)
    end
  end
  host.print "\nrpitr --help lists the options every run takes (--report, --keep, --timeout ...)."
end

return arguments
