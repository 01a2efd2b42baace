-- Errors: one table shape, located at the script's line, raised on the Lua side only.
--
-- The prelude's files run once, in order, before any script. They share `internal`, and are the
-- only Lua code that sees the raw host table and the debug library.

local raw, internal = ...
local getinfo, traceback = debug.getinfo, debug.traceback
local getlocal, getupvalue = debug.getlocal, debug.getupvalue
local raw_pcall, raw_xpcall, raw_setmetatable = pcall, xpcall, setmetatable

local Error = { __name = "rpitr.Error" }
Error.__index = Error

function Error.__tostring(e)
  local at = rawget(e, "where")
  local place = type(at) == "table" and (" (%s:%s)"):format(at.file, at.line) or ""
  return ("%s: %s%s"):format(e.kind, e.message, place)
end

local function is_error(e)
  return getmetatable(e) == Error
end

-- The script frames of the running coroutine, innermost first: those whose chunk came from a file.
local function script_frames()
  local frames, level = {}, 2
  while #frames < 30 do
    local info = getinfo(level, "Sln")
    if not info then
      break
    end
    if info.source:sub(1, 1) == "@" and info.currentline > 0 then
      local name = info.what ~= "main" and info.name or nil
      frames[#frames + 1] = { file = info.source:sub(2), line = info.currentline, name = name }
    end
    level = level + 1
  end
  return frames
end

-- The name under which the script called the function that failed: the frame just inside it.
local function called_name()
  local name, level = nil, 3
  while true do
    local info = getinfo(level, "Sn")
    if not info then
      return nil
    end
    if info.source:sub(1, 1) == "@" then
      return name
    end
    name = info.namewhat ~= "hook" and info.name or name
    level = level + 1
  end
end

local function locate(e)
  if rawget(e, "trace") == nil then
    local frames = script_frames()
    e.trace = frames
    if raw.options.trace then
      e.full_trace = traceback("", 2):gsub("^%s*stack traceback:%s*", "")
    end
    if frames[1] and rawget(e, "where") == nil then
      e.where = { file = frames[1].file, line = frames[1].line, name = called_name() }
    end
  end
  return e
end

local function new_error(fields)
  return locate(raw_setmetatable(fields, Error))
end

-- The nearest script frame: { file, line, values = { local variable = value } }.
function internal.locals_of_caller()
  local level = 2
  local info = getinfo(level, "Sl")
  while info and info.source:sub(1, 1) ~= "@" do
    level = level + 1
    info = getinfo(level, "Sl")
  end
  local found = { values = {} }
  if not info then
    return found
  end
  found.file, found.line = info.source:sub(2), info.currentline
  local i, name, value = 1, getlocal(level, 1)
  while name do
    if name:match "^[%a_]" then
      found.values[name] = value
    end
    i = i + 1
    name, value = getlocal(level, i)
  end
  local f = getinfo(level, "f").func
  i = 1
  name, value = getupvalue(f, 1)
  while name do
    if name ~= "_ENV" and found.values[name] == nil then
      found.values[name] = value
    end
    i = i + 1
    name, value = getupvalue(f, i)
  end
  return found
end

-- The names of the files that were compiled, to tell "file:3: text" from text that only looks so.
local chunks = {}

-- Lua cuts long file names at the front.
local function chunk_named(text)
  if chunks[text] then
    return text
  end
  local tail = text:match "^%.%.%.(.+)$"
  for name in pairs(tail and chunks or {}) do
    if name:sub(-#tail) == tail then
      return name
    end
  end
end

local CANNOT_WAIT = "functions that wait (sql, timer, lab ...) cannot be called inside table.sort, string.gsub or "
  .. "__tostring; collect the data first"

local function from_text(text)
  local head, rest = text:match "^([^\n]*)\n?(.*)$"
  local fields = { kind = "script", message = head, detail = rest ~= "" and rest or nil }
  if head:find("attempt to yield across a C-call boundary", 1, true) then
    fields.hint = CANNOT_WAIT
  end
  local file, line, message = head:match "^(.-):(%d+): (.*)$"
  local known = file and chunk_named(file)
  if known then
    fields.message, fields.where = message, { file = known, line = math.tointeger(line) }
  elseif file and file:match "^%[.*%]$" then
    fields.message = message
  end
  return fields
end

local function description(value)
  if value == nil then
    return "nil was raised"
  end
  local _, text = raw_pcall(tostring, value)
  return ("a %s was raised: %s"):format(type(value), tostring(text))
end

-- Objects with a metatable of their own are raised as they are; what stands for them meanwhile.
local stand_ins = raw_setmetatable({}, { __mode = "k" })

-- Any raised value as an Error. Plain tables become one themselves, so that they keep their
-- identity; what a script raised as text keeps its place.
local function as_error(e)
  if is_error(e) then
    return locate(e)
  end
  local kind = type(e)
  if kind == "string" then
    return new_error(from_text(e))
  elseif kind == "table" and getmetatable(e) == nil then
    e.kind = e.kind or "script"
    e.message = e.message ~= nil and tostring(e.message) or "a table without a message was raised"
    return new_error(e)
  elseif kind == "userdata" then
    local _, fields = raw.error_fields(e)
    return new_error(fields or { kind = "script", message = description(e) })
  elseif kind == "table" or kind == "function" or kind == "thread" then
    if not stand_ins[e] then
      local ok, text = raw_pcall(tostring, e)
      local own = ok and not text:find "^%a+: 0x"
      stand_ins[e] = new_error { kind = "script", message = own and text or description(e), value = e }
    end
    return stand_ins[e]
  end
  return new_error { kind = "script", message = description(e), value = e }
end

-- Raises again what `as_error` made, as the script raised it.
local function rethrow(e)
  local value = rawget(e, "value")
  if value ~= nil and stand_ins[value] == e then
    error(value, 0)
  end
  error(e, 0)
end

local function raise(fields)
  error(new_error(fields), 0)
end

-- Errors of userdata (an LSN compared with a number) leave Rust as opaque values; scripts shall see
-- the one error shape.
local function readable(ok, e, ...)
  if not ok and type(e) == "userdata" then
    return ok, as_error(e)
  end
  return ok, e, ...
end

function pcall(...)
  return readable(raw_pcall(...))
end

function xpcall(f, handler, ...)
  if handler == as_error or type(handler) ~= "function" then
    return raw_xpcall(f, handler, ...)
  end
  return raw_xpcall(f, function(e)
    return handler(type(e) == "userdata" and as_error(e) or e)
  end, ...)
end

-- What pcall would return, packed; an error is always of the one shape.
function internal.attempt(f, ...)
  return table.pack(raw_xpcall(f, as_error, ...))
end

-- Host functions return `true, ...` or `false, error`; scripts see results or a raised Error.
local function unwrap(ok, ...)
  if ok then
    return ...
  end
  error(new_error((...)), 0)
end

local host = {}
for name, value in pairs(raw) do
  if type(value) == "function" then
    host[name] = function(...)
      return unwrap(value(...))
    end
  else
    host[name] = value
  end
end

internal.raw, internal.host = raw, host
internal.raw_setmetatable, internal.raw_pcall, internal.raw_xpcall = raw_setmetatable, raw_pcall, raw_xpcall
internal.Error, internal.is_error, internal.new_error = Error, is_error, new_error
internal.as_error, internal.raise, internal.rethrow = as_error, raise, rethrow
internal.chunks = chunks
