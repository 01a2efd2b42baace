--- Tests for Lua code: `rpitr test` runs every `*_test.lua` below a folder.
---
--- Each file is one program in a Lua state of its own; each test is a task of its own with a
--- deadline. A test fails when it raises, when a cleanup handler failed, or when it leaves a task
--- behind.
---@class rpitr.test
local test = {}

local host, internal = ...
local args = require "rpitr.core.args"
local task = require "rpitr.task"

local SKIPPED = {}
local cases, prefix = {}, ""
local cleanup_failures = {}

--- Groups tests under a name.
---
--- ```lua
--- test.describe("numbers", function()
---   test.it("add", function()
---     test.equal(1 + 1, 2)
---   end)
--- end)
--- ```
---@param name string
---@param fn fun()  declares tests with `test.it`
---@error arg
function test.describe(name, fn)
  args.check("test.describe", "name", name, "string")
  args.check("test.describe", "fn", fn, "function")
  local outer = prefix
  prefix = outer .. name .. ": "
  fn()
  prefix = outer
end

---@class rpitr.test.Options
---@field timeout? rpitr.Duration  (default "2m") a loaded machine is slow, a hang is endless

--- Declares a test.
---
--- ```lua
--- test.it("adds", function()
---   test.equal(1 + 1, 2)
--- end, { timeout = "10s" })
--- ```
---@param name string
---@param fn fun()  raises when something is wrong
---@param options? rpitr.test.Options
---@error arg
function test.it(name, fn, options)
  args.check("test.it", "name", name, "string")
  args.check("test.it", "fn", fn, "function")
  local opts = args.options("test.it", options, { timeout = { "duration", 120 } })
  cases[#cases + 1] = { name = prefix .. name, fn = fn, timeout = opts.timeout }
end

--- Leaves the running test without a verdict.
---
--- ```lua
--- test.it("needs a second disk", function()
---   test.skip "there is only one"
--- end)
--- ```
---@param reason? string  (default "skipped")
---@return nil  it does not return
function test.skip(reason)
  internal.raise({ kind = "assert", code = "skipped", message = reason or "skipped", value = SKIPPED }, 2)
end

-- Comparing ----------------------------------------------------------------------------------------

local function show(value, depth)
  if type(value) == "string" then
    return ("%q"):format(value):gsub("\\\n", "\\n")
  end
  if type(value) ~= "table" or internal.is_error(value) then
    return tostring(value)
  end
  if (depth or 0) >= 3 then
    return "{...}"
  end
  local parts, length = {}, #value
  for i = 1, math.min(length, 20) do
    parts[i] = show(value[i], (depth or 0) + 1)
  end
  local keys = {}
  for key in next, value do
    if not (math.type(key) == "integer" and key >= 1 and key <= length) then
      keys[#keys + 1] = key
    end
  end
  table.sort(keys, function(a, b)
    return tostring(a) < tostring(b)
  end)
  for i = 1, math.min(#keys, 20) do
    local name = type(keys[i]) == "string" and keys[i] or "[" .. tostring(keys[i]) .. "]"
    parts[#parts + 1] = name .. " = " .. show(value[keys[i]], (depth or 0) + 1)
  end
  if length > 20 or #keys > 20 then
    parts[#parts + 1] = "..."
  end
  return "{ " .. table.concat(parts, ", ") .. " }"
end

local function place(path, key)
  if type(key) == "string" and key:match "^[%a_][%w_]*$" then
    return path .. "." .. key
  end
  return path .. "[" .. show(key) .. "]"
end

-- Adds a line for every place where the two differ.
local function compare(actual, expected, path, seen, lines)
  local plain = type(actual) ~= "table" or type(expected) ~= "table"
  if plain then
    local same = actual == expected and math.type(actual) == math.type(expected)
    if not same and not (actual ~= actual and expected ~= expected) then
      lines[#lines + 1] = ("%s: expected %s, got %s"):format(path, show(expected), show(actual))
    end
    return
  end
  if rawequal(actual, expected) or seen[actual] == expected then
    return
  end
  seen[actual] = expected
  for key, value in next, expected do
    compare(rawget(actual, key), value, place(path, key), seen, lines)
  end
  for key, value in next, actual do
    if rawget(expected, key) == nil then
      lines[#lines + 1] = ("%s: expected nothing, got %s"):format(place(path, key), show(value))
    end
  end
end

--- Raises unless both are equal: tables by content, `1` and `1.0` differ.
---
--- ```lua
--- test.equal({ 1, { a = 2 } }, { 1, { a = 2 } })
--- ```
---@param actual any
---@param expected any
---@param message? string  what is being compared
---@error assert  with every place where the two differ
function test.equal(actual, expected, message)
  local lines = {}
  compare(actual, expected, "value", {}, lines)
  if #lines == 0 then
    return
  end
  table.sort(lines)
  if lines[11] then
    lines[11] = ("and %d more"):format(#lines - 10)
  end
  internal.raise({
    kind = "assert",
    message = (message and message .. ": " or "") .. (lines[2] and "the tables differ" or lines[1]),
    detail = lines[2] and table.concat(lines, "\n", 1, math.min(#lines, 11)) or nil,
  }, 2)
end

--- Raises unless `value` is truthy. Returns it.
---@param value any
---@param message? string
---@return any value
---@error assert
function test.ok(value, message)
  if not value then
    internal.raise({ kind = "assert", message = message or ("expected a true value, got " .. show(value)) }, 2)
  end
  return value
end

--- Raises unless the numbers are at most `tolerance` apart.
---
--- ```lua
--- test.near(0.1 + 0.2, 0.3, 1e-9)
--- ```
---@param actual number
---@param expected number
---@param tolerance number
---@error assert, arg
function test.near(actual, expected, tolerance)
  args.check("test.near", "actual", actual, "number")
  args.check("test.near", "expected", expected, "number")
  args.check("test.near", "tolerance", tolerance, "number")
  if not (math.abs(actual - expected) <= tolerance) then
    internal.raise({
      kind = "assert",
      message = ("expected %s within %s, got %s"):format(expected, tolerance, actual),
    }, 2)
  end
end

---@class rpitr.test.Expected
---@field kind? rpitr.err.Kind
---@field code? string
---@field match? string  a Lua pattern in the message
---@field hint? string  a Lua pattern in the hint

--- Calls `fn`, which must raise an error with this kind, code, and patterns in message and hint.
---
--- ```lua
--- test.raises(function()
---   timer.sleep "soon"
--- end, { kind = "arg", match = "timer.sleep" })
--- ```
---@param fn fun()
---@param expected? rpitr.test.Expected
---@return rpitr.Error e
---@error assert, arg
function test.raises(fn, expected)
  args.check("test.raises", "fn", fn, "function")
  local want =
    args.options("test.raises", expected, { kind = "string?", code = "string?", match = "string?", hint = "string?" })
  local ok, e = xpcall(fn, internal.as_error)
  if ok then
    internal.raise({ kind = "assert", message = "expected an error, but the function returned" }, 2)
  end
  local text = { kind = e.kind, code = e.code, match = tostring(e.message), hint = e.hint }
  for key, value in pairs(want) do
    local found = text[key]
    local fits = found == value
    if key == "match" or key == "hint" then
      fits = found ~= nil and found:find(value) ~= nil
    end
    if not fits then
      internal.raise({
        kind = "assert",
        message = ("the error's %s is %s, expected %s"):format(
          key == "match" and "message" or key,
          show(found),
          show(value)
        ),
        cause = e,
      }, 2)
    end
  end
  return e
end

--- The failures of cleanup handlers in this test so far. Taking them keeps them from failing it.
---@return rpitr.Error[]
function test.cleanup_failures()
  local taken = cleanup_failures
  cleanup_failures = {}
  return taken
end

-- Running ------------------------------------------------------------------------------------------

local function ends_everything(e)
  return e.kind == "interrupted" or e.code == "deadline" or e.code == "exit"
end

local function run_case(case)
  cleanup_failures = {}
  local before = task.count()
  local ok, e = xpcall(function()
    task.spawn(task.with_timeout, case.timeout, case.fn):join()
  end, internal.as_error)
  if not ok and ends_everything(e) then
    error(e, 0)
  end
  if ok and cleanup_failures[1] then
    ok, e = false, cleanup_failures[1]
  end
  local left = task.count() - before
  if ok and left > 0 then
    ok = false
    e = internal.new_error { kind = "assert", code = "leak", message = left .. " tasks are still alive after the test" }
  end
  return ok, e
end

-- Runs what the file declared; the engine's main program calls this after the file itself.
local function run(request)
  local only = request.program == "test" and request.arguments[1] or nil
  local tally = { passed = 0, failed = 0, skipped = 0 }
  internal.report_cleanup = function(e)
    cleanup_failures[#cleanup_failures + 1] = e
  end
  for _, case in ipairs(cases) do
    if not only or (request.name .. ": " .. case.name):find(only, 1, true) then
      local ok, e = run_case(case)
      if ok then
        tally.passed = tally.passed + 1
      elseif rawequal(e.value, SKIPPED) then
        tally.skipped = tally.skipped + 1
        host.narrate(("SKIP %s: %s: %s"):format(request.name, case.name, e.message))
      else
        tally.failed = tally.failed + 1
        host.print(("FAIL %s: %s\n%s"):format(request.name, case.name, host.render_error(e)))
      end
    end
  end
  local nothing_ran = tally.passed + tally.failed + tally.skipped == 0
  return tally.failed > 0 and 10 or nothing_ran and 2 or 0, tally
end

internal.suite = { run = run }

return test
