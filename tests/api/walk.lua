-- What is really there: every module's members, every class's methods, every global. Runs with the debug library, which
-- the test's override of the prelude leaves it, because classes are locals of their files. Prints JSON.

local debug = rawget(_G, "whole_debug_library")
local modules, parts = arg[1], arg[2]

local out = { modules = {}, tables = {}, classes = {}, globals = {} }
local seen = {}

local function methods_of(class)
  local names = {}
  for name, value in pairs(class) do
    if type(name) == "string" and name:sub(1, 1) ~= "_" and type(value) == "function" then
      names[#names + 1] = name
    end
  end
  table.sort(names)
  return names
end

-- Follows fields, metatables and upvalues.
local visit

local function visit_table(value)
  local class = rawget(value, "__name")
  if type(class) == "string" and class:match "^rpitr%." then
    -- Kinds of nodes share a name.
    local names = out.classes[class] or {}
    out.classes[class] = names
    for _, name in ipairs(methods_of(value)) do
      names[#names + 1] = name
    end
  end
  for key, member in next, value do
    visit(key)
    visit(member)
  end
end

function visit(value)
  local kind = type(value)
  if (kind ~= "table" and kind ~= "function") or seen[value] then
    return
  end
  seen[value] = true
  if kind == "table" then
    visit_table(value)
    visit(debug.getmetatable(value))
  else
    local i = 1
    while debug.getupvalue(value, i) do
      visit(select(2, debug.getupvalue(value, i)))
      i = i + 1
    end
  end
end

for name in modules:gmatch "%S+" do
  local module, members = _G[name], {}
  for key, value in pairs(module) do
    members[key] = type(value)
    if type(value) == "table" then
      out.tables[name .. "." .. key] = methods_of(value)
    end
  end
  out.modules[name] = members
  visit(module)
end
for name in parts:gmatch "%S+" do
  visit(require("rpitr." .. name))
end
for name, value in next, _G do
  out.globals[name] = type(value)
end

-- Options that are put together while the library runs: a key nobody knows makes the function name those it takes.
out.options = {}
local function known_options(make, ...)
  local ok, e = pcall(make, ...)
  return not ok and tostring(e.hint):match "^known options: (.*)$" or nil
end

local wrong = { qqqqqqqqqqqqqqqqqq = 1 }
for name in arg[4]:gmatch "%S+" do
  local make = chaos[name]
  local known = known_options(make, wrong)
  for _, target in ipairs { "primary", "standby", "client", "receiver", "rpitr" } do
    known = known or known_options(make, target, wrong)
  end
  out.options["chaos." .. name] = known
end

-- Values of Rust: their members can be asked for, not listed.
local values = { Lsn = lsn "0/1", Time = time.now() }
out.values = {}
for class, names in pairs(json.decode(arg[3])) do
  out.values[class] = {}
  for _, name in ipairs(names) do
    local ok, value = pcall(function()
      return values[class][name]
    end)
    out.values[class][name] = ok and type(value) or "nothing"
  end
end
print(json.encode(out))
-- The test module would take this for a suite without tests.
os.exit(0)
