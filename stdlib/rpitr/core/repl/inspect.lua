-- Values as a person at the prompt wants to read them: bounded in depth, length and width.

local host = ...
local report = require "rpitr.report"

local inspect = {}

local DEPTH, ENTRIES, ROWS, CELL = 4, 40, 20, 48

local function paint(code, text)
  return host.color() and ("\27[%sm%s\27[0m"):format(code, text) or text
end

local function cut(text, length)
  if (utf8.len(text) or #text) <= length then
    return text
  end
  local stop = utf8.offset(text, length) or length + 1
  return text:sub(1, stop - 1) .. "…"
end

local function is_name(key)
  return type(key) == "string" and key:match "^[%a_][%w_]*$" ~= nil
end

-- Numbers first and in order, then everything else by its text: the same value looks the same twice.
local function sorted_keys(value)
  local keys = {}
  for key in next, value do
    keys[#keys + 1] = key
  end
  table.sort(keys, function(a, b)
    local a_number, b_number = type(a) == "number", type(b) == "number"
    if a_number and b_number then
      return a < b
    elseif a_number ~= b_number then
      return a_number
    end
    return tostring(a) < tostring(b)
  end)
  return keys
end

local show

local function show_key(key, position)
  if key == position then
    return ""
  elseif is_name(key) then
    return key .. " = "
  end
  return "[" .. (type(key) == "string" and ("%q"):format(key) or tostring(key)) .. "] = "
end

local function show_table(value, depth, seen)
  if seen[value] then
    return paint("2", "<seen above>")
  elseif depth > DEPTH then
    return "{…}"
  end
  seen[value] = true
  local parts, width, keys = {}, 0, sorted_keys(value)
  for i, key in ipairs(keys) do
    if i > ENTRIES then
      parts[#parts + 1] = paint("2", ("… %d more"):format(#keys - ENTRIES))
      break
    end
    local text = show_key(key, i) .. show(rawget(value, key), depth + 1, seen)
    parts[#parts + 1] = text
    width = width + #text + 2
  end
  if #parts == 0 then
    return "{}"
  end
  local lines = table.concat(parts, ", ")
  if width <= 76 and not lines:find "\n" then
    return "{ " .. lines .. " }"
  end
  local indent = ("  "):rep(depth + 1)
  return "{\n" .. indent .. table.concat(parts, ",\n" .. indent) .. "\n" .. ("  "):rep(depth) .. "}"
end

function show(value, depth, seen)
  local kind = type(value)
  if kind == "string" then
    return paint("32", ("%q"):format(value):gsub("\\\n", "\\n"))
  elseif kind == "number" or kind == "boolean" or kind == "nil" then
    return paint("33", tostring(value))
  elseif kind == "table" then
    local meta = getmetatable(value)
    if type(meta) == "table" and rawget(meta, "__tostring") then
      return paint("36", tostring(value))
    end
    return show_table(value, depth, seen)
  elseif kind == "userdata" then
    return paint("36", tostring(value))
  end
  return paint("2", "<" .. kind .. ">")
end

-- Rows -----------------------------------------------------------------------------------------------

local function is_rows(value)
  local columns = type(value) == "table" and rawget(value, "columns")
  return type(columns) == "table" and type(columns[1]) == "string"
end

local function plain(value)
  return (show(value, 0, {}):gsub("\27%[[%d;]*m", ""):gsub("%s+", " "))
end

local function cell(value)
  if value == nil then
    return ""
  elseif type(value) == "table" and getmetatable(value) == nil then
    return cut(plain(value), CELL)
  end
  return cut(tostring(value):gsub("\n", "⏎"), CELL)
end

--- Rows as an aligned table, numbers to the right, at most `limit` of them.
function inspect.rows(rows, limit)
  limit = limit or ROWS
  local columns, widths, numeric = rows.columns, {}, {}
  for c, column in ipairs(columns) do
    widths[c], numeric[c] = utf8.len(column) or #column, #rows > 0
    for r = 1, math.min(#rows, limit) do
      local value = rows[r][column]
      widths[c] = math.max(widths[c], utf8.len(cell(value)) or 0)
      numeric[c] = numeric[c] and (value == nil or type(value) == "number")
    end
  end
  local function line(at)
    local parts = {}
    for c, column in ipairs(columns) do
      local text = at(column)
      local pad = (" "):rep(widths[c] - (utf8.len(text) or #text))
      parts[c] = numeric[c] and pad .. text or text .. pad
    end
    return (table.concat(parts, "  "):gsub("%s+$", ""))
  end
  local out = { paint(
    "1",
    line(function(column)
      return column
    end)
  ) }
  for r = 1, math.min(#rows, limit) do
    out[#out + 1] = line(function(column)
      return cell(rows[r][column])
    end)
  end
  local more = #rows > limit and (", the first %d shown"):format(limit) or ""
  out[#out + 1] = paint("2", ("(%d row%s%s)"):format(#rows, #rows == 1 and "" or "s", more))
  return table.concat(out, "\n")
end

--- Any value as text for the prompt.
function inspect.value(value)
  if is_rows(value) then
    return inspect.rows(value)
  end
  return show(value, 0, {})
end

--- The same in one line, cut where it grows long.
function inspect.line(value)
  if is_rows(value) then
    return ("%d rows"):format(#value)
  end
  return cut(plain(value), 80)
end

--- Several results, one a line.
function inspect.results(results)
  local parts = {}
  for i = 1, results.n do
    parts[i] = inspect.value(results[i])
  end
  return table.concat(parts, "\n")
end

inspect.seconds, inspect.bytes = report.seconds, report.bytes

return inspect
