-- Modules, strict globals and `require`.

local _, internal = ...
local host, raise, rethrow = internal.host, internal.raise, internal.rethrow
local getinfo, raw_load, raw_setmetatable = debug.getinfo, load, internal.raw_setmetatable
local raw_xpcall = internal.raw_xpcall

local loaded, loading = {}, {}
local stdlib_names = {}
for _, name in ipairs(host.stdlib_modules()) do
  stdlib_names[name] = true
end

local function suggest(word, names)
  local list = {}
  for name in pairs(names) do
    if type(name) == "string" then
      list[#list + 1] = name
    end
  end
  table.sort(list)
  return type(word) == "string" and host.nearest(word, list) or nil
end

-- What scripts get for a module: misspelt names and any assignment are refused.
local function seal(name, module)
  if type(module) ~= "table" or getmetatable(module) then
    return module
  end
  raw_setmetatable(module, {
    __index = function(_, key)
      local near = suggest(key, module)
      raise {
        kind = "arg",
        code = "unknown_function",
        message = name .. "." .. tostring(key) .. " does not exist",
        hint = near and ("did you mean " .. name .. "." .. near .. "?") or nil,
      }
    end,
  })
  return raw_setmetatable({}, {
    __index = module,
    __pairs = function()
      return next, module
    end,
    __newindex = function(_, key)
      raise { kind = "arg", message = name .. " is read-only; " .. tostring(key) .. " cannot be set" }
    end,
  })
end

local function load_stdlib(name)
  if loaded["rpitr." .. name] then
    return loaded["rpitr." .. name]
  end
  local source, chunk_name = host.stdlib_source(name)
  if not source then
    return nil
  end
  local chunk, message = raw_load(source, chunk_name, "t")
  if not chunk then
    raise { kind = "script", code = "syntax", message = message }
  end
  if loading[name] then
    raise { kind = "internal", message = "rpitr." .. name .. " requires itself" }
  end
  loading[name] = true
  local ok, module = raw_xpcall(chunk, internal.as_error, host, internal)
  loading[name] = nil
  if not ok then
    rethrow(module)
  end
  loaded["rpitr." .. name] = seal(name, module)
  return loaded["rpitr." .. name]
end

-- Strict globals -----------------------------------------------------------------------------------

local predeclared = {}
raw_setmetatable(predeclared, {
  __index = function(_, name)
    local module = stdlib_names[name] and load_stdlib(name)
    if module then
      rawset(predeclared, name, module)
      return module
    end
    local known = {}
    for key in pairs(_G) do
      known[key] = true
    end
    for key in pairs(stdlib_names) do
      known[key] = true
    end
    local near = suggest(name, known)
    raise {
      kind = "script",
      code = "undeclared",
      message = "global '" .. tostring(name) .. "' is not declared",
      hint = near and ("did you mean " .. near .. "?") or "declare it with local",
    }
  end,
})

-- Whether the running code is the top level of a chunk, where a global may be declared.
local function at_top_level(level)
  local info = getinfo(level + 1, "S")
  return info == nil or info.what == "main" or info.what == "C"
end

raw_setmetatable(_G, {
  __index = predeclared,
  __newindex = function(globals, name, value)
    if stdlib_names[name] then
      raise {
        kind = "script",
        message = "global '" .. name .. "' is an rpitr module and read-only",
        hint = "use another name, or a local",
      }
    end
    if not at_top_level(2) then
      raise {
        kind = "script",
        code = "undeclared",
        message = "assignment to undeclared global '" .. tostring(name) .. "'",
        hint = "write: local " .. tostring(name),
      }
    end
    rawset(globals, name, value)
  end,
})

-- Loading ------------------------------------------------------------------------------------------

local function remember(chunk_name)
  if type(chunk_name) == "string" and chunk_name:sub(1, 1) == "@" then
    internal.chunks[chunk_name:sub(2)] = true
  end
end

-- Only text chunks: bytecode could crash the process.
function load(chunk, name, _, ...)
  remember(name)
  if select("#", ...) > 0 then
    return raw_load(chunk, name, "t", (...))
  end
  return raw_load(chunk, name, "t")
end

-- A leading `#!` line or byte order mark is not Lua.
local function without_shebang(source)
  return (source:gsub("^\xEF\xBB\xBF", ""):gsub("^#[^\n]*", ""))
end

local function compile(source, path)
  remember("@" .. path)
  local chunk, message = raw_load(without_shebang(source), "@" .. path, "t")
  if chunk then
    return chunk
  end
  local line, text = message:match ":(%d+): (.*)$"
  raise {
    kind = "script",
    code = "syntax",
    message = text or message,
    where = { file = path, line = math.tointeger(line) or 1 },
    trace = {},
  }
end

local function folder_of(level)
  local info = getinfo(level + 1, "S")
  local path = info and info.source:match "^@(.*)$"
  return path and (path:match "^(.*)/[^/]*$" or ".")
end

-- Modules are looked up beside the file that asks, then beside the script, then in its lib folder.
local function find_module(name, asking)
  local relative = name:gsub("^%./", ""):gsub("%.", "/")
  local home = internal.script_folder or "."
  local tried, seen = {}, {}
  for _, folder in ipairs { asking or home, home, home .. "/lib" } do
    for _, pattern in ipairs { "/%s.lua", "/%s/init.lua" } do
      local path = folder .. pattern:format(relative)
      if not seen[path] then
        seen[path] = true
        local source = host.lua_source(path)
        if source then
          return source, path
        end
        tried[#tried + 1] = path
      end
    end
  end
  return nil, tried
end

-- Waits while another task loads the module; a circle of modules is an error, whoever closes it.
local function await_loading(name, path)
  local me = internal.current_task()
  while loading[path] do
    local entry = loading[path]
    local owner = entry.owner
    while owner and owner ~= me and owner.requires do
      owner = loading[owner.requires] and loading[owner.requires].owner
    end
    if owner == me then
      raise { kind = "script", code = "circular", message = "module '" .. name .. "' requires itself" }
    end
    me.requires = path
    host.event_wait(entry.event)
    me.requires = nil
  end
end

local function load_module(name, source, path)
  local entry = { owner = internal.current_task(), event = host.event_new() }
  loading[path] = entry
  local ok, result = raw_xpcall(function()
    return compile(source, path)(name, path)
  end, internal.as_error)
  loading[path] = nil
  host.event_notify(entry.event)
  if not ok then
    rethrow(result)
  end
  loaded[path] = result == nil and true or result
end

--- Loads a module once. Unlike Lua's own, the module may wait while it loads.
function require(name)
  if type(name) ~= "string" then
    raise { kind = "arg", message = "require expects a name, got " .. type(name) }
  end
  if loaded[name] ~= nil then
    return loaded[name]
  end
  local short = name:match "^rpitr%.([%w_.]+)$"
  if short then
    local module = load_stdlib(short)
    if module then
      return module
    end
    local near = suggest(short, stdlib_names)
    raise {
      kind = "arg",
      code = "no_module",
      message = "there is no module " .. name,
      hint = near and ("did you mean rpitr." .. near .. "?") or nil,
    }
  end
  local source, path = find_module(name, folder_of(2))
  if not source then
    raise {
      kind = "arg",
      code = "no_module",
      message = "module '" .. name .. "' was not found",
      detail = "looked for " .. table.concat(path, ", "),
    }
  end
  await_loading(name, path)
  if loaded[path] == nil then
    load_module(name, source, path)
  end
  return loaded[path]
end

function dofile(path)
  local source = host.lua_source(path)
  if not source then
    raise { kind = "io", code = "not_found", message = "cannot open " .. tostring(path) }
  end
  return compile(source, path)()
end

function loadfile(path, _, ...)
  local source = host.lua_source(path)
  if not source then
    return nil, "cannot open " .. tostring(path)
  end
  return load(without_shebang(source), "@" .. path, "t", ...)
end

package = nil

function internal.is_stdlib(name)
  return stdlib_names[name] == true
end

internal.suggest, internal.compile = suggest, compile
internal.loaded, internal.load_stdlib = loaded, load_stdlib
