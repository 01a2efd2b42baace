-- Replacements for what would block the event loop, skip cleanup or tear the terminal; the program.

local raw, internal = ...
local host, raise = internal.host, internal.raise
local load_stdlib = internal.load_stdlib

function print(...)
  local parts = table.pack(...)
  for i = 1, parts.n do
    parts[i] = tostring(parts[i])
  end
  host.print(table.concat(parts, "\t"))
end

-- Written through the printer, so that it stays in order with `print`.
function io.write(...)
  host.write(table.concat { ... })
  return io.stdout
end
io.stdout:setvbuf "no"

-- Leaves through the front door: the script unwinds, cleanup runs, then the process exits.
function os.exit(code)
  if code == nil or code == true then
    code = 0
  elseif code == false then
    code = 1
  end
  code = math.tointeger(code) or 1
  host.exit(code)
  raise(host.scope_reason() or { kind = "cancelled", code = "exit", message = ("os.exit(%d)"):format(code) })
end

function os.execute(command)
  if command == nil then
    return true
  end
  local result = load_stdlib("sh").run { "sh", "-c", command, check = false, inherit = true }
  return result.code == 0 or nil, result.signal and "signal" or "exit", result.signal or result.code
end

function io.popen(command, mode)
  return load_stdlib("sh").popen(command, mode)
end

--- Polls `fn` until it returns something truthy; see `timer.eventually`.
function eventually(fn, options)
  return load_stdlib("timer").eventually(fn, options)
end

debug = { traceback = debug.traceback, getinfo = debug.getinfo }

-- The program --------------------------------------------------------------------------------------

-- What the run met that a report should name: versions of servers.
internal.environment = {}
-- Run when the program has ended, the newest first; then `at_last`.
internal.at_exit = {}
function internal.at_last() end

-- Whether a file calls the drill constructor, and so declares something when it is loaded.
local function declares_drill(source)
  return source:gsub("%-%-[^\n]*", ""):find "%f[%w_]drill%s*[%(\"'%[]" ~= nil
end

local function execute(request)
  internal.script_folder = request.folder
  internal.script, internal.program = request.name, request.program
  if request.program == "repl" then
    return load_stdlib("core.repl.program").run(request)
  end
  local chunk = internal.compile(request.source, request.name)
  request.arguments[0] = request.name
  rawset(_G, "arg", request.arguments)
  local inspect = request.program == "help" or request.program == "check"
  local function describe(what)
    if request.program == "help" then
      host.print(request.name .. ": " .. what)
    end
    return nil, nil, what
  end
  if inspect and not declares_drill(request.source) then
    return describe "a plain script"
  end
  if host.options.dry_run and request.program == "run" and not declares_drill(request.source) then
    raise {
      kind = "arg",
      code = "usage",
      message = ("--dry-run is for drills: %s is a plain script, which cannot say what it would do"):format(
        request.name
      ),
      hint = "rpitr check reads it without running it",
    }
  end
  local result = chunk(table.unpack(request.arguments))
  if internal.suite then
    return internal.suite.run(request)
  end
  local drill = internal.loaded["rpitr.drill"]
  if drill and drill.is_drill(result) then
    return drill.execute(result, request)
  end
  if inspect then
    return describe "a plain script"
  end
  return nil
end

local boot = {}

--- Runs a request to its end, cleanup included, and says how it ended.
function boot.main(request)
  local task = internal.run_here(execute, request)
  internal.run_here(function()
    for i = #internal.at_exit, 1, -1 do
      internal.cleanup(internal.at_exit[i], task.ok, task.error)
    end
    internal.cleanup(internal.at_last)
  end)
  local outcome = { cleanup_failures = #internal.cleanup_failures }
  local error = task.error
  if task.ok then
    -- A script that swallowed the interruption has not passed.
    local _, why = raw.scope_reason()
    error = why and internal.new_error(why)
  end
  if error and error.code ~= "exit" then
    outcome.error = error
  elseif not error then
    outcome.code, outcome.tally, outcome.summary = table.unpack(task.results, 1, 3)
  end
  outcome.code = host.exit_code() or outcome.code
  return outcome
end

return boot
