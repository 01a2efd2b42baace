-- Completion at the prompt. Looks only at what is there, raw: nothing is called, nothing waits.

local host, internal = ...
local nodes = require "rpitr.core.repl.nodes"

local complete = {}

local MAX = 200

local function matching(names, prefix)
  local found = {}
  for name in pairs(names) do
    if type(name) == "string" and name:sub(1, #prefix) == prefix and name:match "^[%w_.%-]+$" then
      found[#found + 1] = name
    end
  end
  table.sort(found)
  return table.move(found, 1, math.min(#found, MAX), 1, {})
end

local function set_of(list)
  local set = {}
  for _, name in ipairs(list or {}) do
    set[name] = true
  end
  return set
end

-- The fields of a value: its own, and those its metatable lends it.
local function fields(value)
  local names, depth = {}, 0
  while type(value) == "table" and depth < 5 do
    for name, field in next, value do
      if type(name) == "string" and name:sub(1, 1) ~= "_" and names[name] == nil then
        names[name] = field
      end
    end
    local meta = getmetatable(value)
    local index = type(meta) == "table" and rawget(meta, "__index") or nil
    -- Classes whose objects make some of their fields when asked keep their methods in the metatable.
    value = type(index) == "function" and meta or index
    depth = depth + 1
  end
  return names
end

local function global(session, name)
  local value = rawget(session.env, name)
  if value == nil then
    value = rawget(_G, name)
  end
  if value == nil and internal.is_stdlib(name) then
    local ok, module = pcall(internal.load_stdlib, name)
    value = ok and module or nil
  end
  return value
end

-- The value of `a.b.c`, without calling anything.
local function resolve(session, path)
  local value
  for name in path:gmatch "[%a_][%w_]*" do
    if value == nil then
      value = global(session, name)
    else
      value = fields(value)[name]
    end
    if value == nil then
      return nil
    end
  end
  return value
end

local function globals(session)
  local names = {}
  for name in next, session.env do
    names[name] = true
  end
  for name in next, _G do
    names[name] = true
  end
  for _, name in ipairs(host.stdlib_modules()) do
    names[name] = true
  end
  return names
end

local function of_command(session, line, name, rest)
  local start = #line - #rest
  if name == "sql" then
    local word = rest:match "[%w_.]*$"
    return #line - #word, matching(set_of(session.tables), word)
  elseif name == "psql" or name == "logs" then
    return start, matching(nodes.all(session), rest)
  end
  return start, {}
end

-- Whose options stand in the brace behind `head`: `f { `, `f(x, { `, and for `f(x, { to = { ` those of `f.to`.
local function owner_of(session, head)
  local outer, key = head:match "^(.*){[^{}]-([%a_][%w_]*)%s*=%s*$"
  if outer then
    local owner = owner_of(session, outer)
    return owner and owner .. "." .. key
  end
  local path = head:match "([%a_][%w_.:]*)%s*$" or head:match "([%a_][%w_.:]*)%s*%([^()]*$"
  return path and complete.name_of(session, path)
end

-- Inside such a brace: the option keys that are not given yet.
local function of_options(session, line)
  -- Tables that are finished say nothing about this one.
  local head, inside = line:gsub("%b{}", "0"):match "^(.*){([^{}]*)$"
  if not head then
    return nil
  end
  local word = inside:match "^%s*([%a_]?[%w_]*)$" or inside:match "[,;]%s*([%a_]?[%w_]*)$"
  local owner = word and owner_of(session, head)
  if not owner then
    return nil
  end
  local types = {}
  for _, option in ipairs(host.api_options(owner)) do
    if not inside:find("%f[%w_]" .. option[1] .. "%s*=") then
      types[option[1]] = option[2]
    end
  end
  if next(types) == nil then
    return nil
  end
  local found = matching(types, word)
  for i, key in ipairs(found) do
    -- Behind the tab: what the list shows in its place.
    found[i] = ("%s = \t%s  %s"):format(key, key, types[key])
  end
  return #line - #word, found
end

-- The name of a handle's class: `rpitr.Node`.
local function class_of(value)
  local meta = getmetatable(value)
  local class = type(meta) == "table" and rawget(meta, "__name")
  return class and tostring(class) or nil
end

-- What a path is called in the reference: `pg:stop` of a node is `rpitr.Node:stop`, `pg` alone `rpitr.Node`.
function complete.name_of(session, path)
  local object, method = path:match "^(.*)[.:]([%w_]+)$"
  local class = class_of(resolve(session, object or path))
  if not class then
    return path
  end
  return method and class .. ":" .. method or class
end

-- Inside quotes, after FROM and its like: names of tables.
local function of_string(session, line)
  local word = line:match "[%s,(][Ff][Rr][Oo][Mm]%s+([%w_.]*)$"
    or line:match "[Jj][Oo][Ii][Nn]%s+([%w_.]*)$"
    or line:match "[Ii][Nn][Tt][Oo]%s+([%w_.]*)$"
    or line:match "[Uu][Pp][Dd][Aa][Tt][Ee]%s+([%w_.]*)$"
    or line:match "[Tt][Aa][Bb][Ll][Ee]%s+([%w_.]*)$"
  if word and session.tables then
    return #line - #word, matching(set_of(session.tables), word)
  end
end

-- `lab.postgres():` and `pg:connect { ... }.`: what the function gives has these, as far as its comment says.
local function of_call(session, line)
  local call, separator, word = line:match "^(.*[)}\"'])([.:])([%a_]?[%w_]*)$"
  local path = call and (call:match "([%a_][%w_.:]*)%s*%b()$" or call:match "([%a_][%w_.:]*)%s*%b{}$")
  local class = path and host.api_returned(complete.name_of(session, path))
  if class then
    return #line - #word, matching(set_of(host.api_members(class, separator == ":")), word)
  end
end

local function of_path(session, line)
  local path, separator, word = line:match "([%a_][%w_.]*)([.:])([%a_]?[%w_]*)$"
  if path then
    local value = resolve(session, path)
    local names = fields(value)
    for _, name in ipairs(host.api_private(class_of(value) or path)) do
      names[name] = nil
    end
    if separator == ":" then
      for name, member in pairs(names) do
        names[name] = type(member) == "function" and member or nil
      end
    end
    return #line - #word, matching(names, word)
  end
  word = line:match "[%a_][%w_]*$" or ""
  if word == "" then
    return #line, {}
  end
  return #line - #word, matching(globals(session), word)
end

-- Candidates for the text before `position` (bytes); returns where the word starts and a list.
function complete.at(session, line, position)
  line = line:sub(1, position)
  local command, rest = line:match "^%s*:(%a+)%s+(.*)$"
  if command then
    return of_command(session, line, command, rest)
  end
  local partial = line:match "^%s*:(%a*)$"
  if partial then
    return #line - #partial, matching(session.command_names, partial)
  end
  local help = line:match "^%s*%?+([%w_.:]*)$" or line:match "^%s*h%s+([%w_.:]*)$"
  if help then
    return of_path(session, help == "" and line or (" "):rep(#line - #help) .. help)
  end
  for _, way in ipairs { of_string, of_options, of_call } do
    local start, found = way(session, line)
    if start then
      return start, found
    end
  end
  return of_path(session, line)
end

return complete
