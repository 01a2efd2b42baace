-- What the standard library says of itself: read from its source, the comments above each function and
-- the options it checks. Help and completion both come from here, so they cannot drift from the code.

local host, internal = ...

local api = {}

-- name -> { signature, text = { line... }, source = { line... }, options = { name... } }
local entries

local function key_of(name)
  return name:lower()
end

-- The body of a function: to the line that closes it at the left margin.
local function body(lines, from)
  local found = {}
  for i = from, #lines do
    found[#found + 1] = lines[i]
    if i > from and lines[i]:match "^end" then
      break
    end
  end
  return found
end

local function option_names(source)
  local names, seen = {}, {}
  local spec = source:match "args%.options%(%s*[^,]+,%s*[%w_.]+,%s*(%b{})"
  if not spec then
    return names
  end
  -- Nested braces are defaults and types, not options.
  local flat = spec:sub(2, -2):gsub("%b{}", "")
  for name in flat:gmatch "([%a_][%w_]*)%s*=" do
    if not seen[name] then
      seen[name] = true
      names[#names + 1] = name
    end
  end
  table.sort(names)
  return names
end

local function read(module, found)
  local source = host.stdlib_source(module)
  local lines, comment = {}, {}
  for line in (source .. "\n"):gmatch "(.-)\n" do
    lines[#lines + 1] = line
  end
  for i, line in ipairs(lines) do
    local text = line:match "^%-%-%-? ?(.*)$"
    local signature = line:match "^function ([%w_.:]+%b())"
    if text and (#comment > 0 or line:sub(1, 3) == "---") then
      comment[#comment + 1] = text
    elseif signature then
      local name, code = signature:match "^[%w_.:]+", body(lines, i)
      local known = { signature = signature, text = comment, source = code, documented = #comment > 0 }
      known.options = option_names(table.concat(code, "\n"))
      found[key_of(name)] = known
      comment = {}
    elseif not text then
      if #comment > 0 and not found[module] and i <= #comment + 1 then
        found[module] = { signature = module, text = comment, source = {}, options = {}, documented = true }
      end
      comment = {}
    end
  end
end

local function all()
  if not entries then
    entries = {}
    for _, module in ipairs(host.stdlib_parts()) do
      read(module, entries)
    end
  end
  return entries
end

--- Reads the library now rather than when it is first asked about.
function api.warm()
  all()
end

--- The entry with that name (`lab.postgres`, `node:stop`, `timer`), or nil.
function api.find(name)
  local found = all()[key_of(name)]
  if found then
    return found
  end
  -- `pg.stop` is what people type for a method.
  return all()[key_of((name:gsub("%.([%w_]+)$", ":%1")))]
end

--- The option keys a function takes.
function api.options(name)
  local found = api.find(name)
  return found and found.options or {}
end

--- Help as text. With `source`, its source too. An unknown name is an error with a suggestion.
function api.help(name, source)
  local found = api.find(name)
  if not found then
    local names = {}
    for known, entry in pairs(all()) do
      names[known] = entry.documented or nil
    end
    local near = internal.suggest(key_of(name), names)
    internal.raise({
      kind = "arg",
      message = "there is no help for " .. name,
      hint = near and ("did you mean %s?"):format(near) or ":help shows how to begin",
      trace = {},
    }, 2)
  end
  local lines = { found.signature }
  for _, text in ipairs(found.text) do
    lines[#lines + 1] = "  " .. text
  end
  if not found.text[1] then
    lines[#lines + 1] = "  (no description)"
  end
  local members = {}
  if #found.source == 0 then
    for known, entry in pairs(all()) do
      if entry.documented and known:match("^" .. name .. "[.]") then
        members[#members + 1] = "  " .. entry.signature .. (entry.text[1] and "  -- " .. entry.text[1] or "")
      end
    end
    table.sort(members)
    table.move(members, 1, #members, #lines + 2, lines)
    lines[#lines - #members] = ""
  end
  if source then
    lines[#lines + 1] = ""
    table.move(found.source, 1, #found.source, #lines + 1, lines)
  end
  return table.concat(lines, "\n")
end

return api
