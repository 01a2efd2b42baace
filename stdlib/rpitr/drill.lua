--- Drills: a recovery exercise with declared arguments, steps, measures and a verdict.
--
-- A file that returns `drill "name" { ... }` gets its arguments as real `--flags`, a deadline, a
-- report and an exit code: 0 only when every step ran, every check held and every expectation was
-- met. A check that could not run is a failure.

local host, internal = ...
local args = require "rpitr.core.args"
local report = require "rpitr.report"
local task = require "rpitr.task"

local Drill = { __name = "rpitr.Drill" }
local Run = { __name = "rpitr.DrillRun" }
Run.__index = Run

local HEADER = {
  summary = "string",
  description = "string?",
  tags = "table?",
  args = "table?",
  budget = "duration?",
  expect = "table?",
  supervised = "boolean?",
  run = "function",
}

local EXPECTATION = "^([%w_]+)%.?(%w*)%s*([<>=~]=?)%s*([%d.]+)%s*(%a*)$"

local function parse_expectation(name, text)
  local metric, aggregate, operator, number, unit = tostring(text):match(EXPECTATION)
  local limit = tonumber(number)
  if limit and unit ~= "" then
    limit = args.seconds(number .. unit) or args.bytes(number .. unit)
  end
  if not limit then
    internal.raise({
      kind = "arg",
      message = ("drill %q: cannot read the expectation %q"):format(name, text),
      hint = 'write a metric, an operator and a value: "rto < 90s", "rows_lost == 0", "failover.p95 < 15s"',
    }, 3)
  end
  return { text = text, metric = metric, aggregate = aggregate, operator = operator, limit = limit }
end

-- Header ------------------------------------------------------------------------------------------

local function declare(name, spec)
  local header = args.options(("drill %q"):format(name), spec, HEADER)
  local parameters = {}
  for argument, declared in pairs(header.args or {}) do
    if type(declared) ~= "table" or type(declared[2]) ~= "string" then
      internal.raise({
        kind = "arg",
        message = ('drill %q: argument %q must be declared as { default, "help" }'):format(name, argument),
      }, 3)
    end
    local default = declared[1]
    local kind = declared.type or (math.type(default) == "integer" and "integer") or type(default)
    if kind == "nil" then
      kind = "string"
    end
    parameters[#parameters + 1] = {
      name = argument,
      default = default,
      help = declared[2],
      kind = kind,
      choices = declared.choices,
      check = declared.check,
    }
  end
  table.sort(parameters, function(a, b)
    return a.name < b.name
  end)
  header.name, header.parameters = name, parameters
  header.expectations = {}
  for i, text in ipairs(header.expect or {}) do
    header.expectations[i] = parse_expectation(name, text)
  end
  return setmetatable(header, Drill)
end

local function flag(parameter)
  return "--" .. parameter.name:gsub("_", "-")
end

-- Arguments from the command line -------------------------------------------------------------------

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
  if parameter.check then
    local ok, e = xpcall(parameter.check, internal.as_error, value)
    if not ok then
      usage(name .. ": " .. e.message, e.hint)
    end
  end
end

local function parse_arguments(drill, words)
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

local function print_help(drill)
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

-- What a drill does while it runs --------------------------------------------------------------------

--- Runs one step: shows it, times it, keeps it in the report. Returns what `fn` returns.
function Run:step(name, fn, ...)
  args.check("d:step", "name", name, "string")
  args.check("d:step", "fn", fn, "function")
  local step = self.report:begin_step(name)
  local outcome = table.pack(xpcall(fn, internal.as_error, ...))
  local e = outcome[2]
  if not outcome[1] and not e.step then
    e.step = name
  end
  self.report:end_step(step, outcome[1], e)
  if not outcome[1] then
    error(e, 0)
  end
  return table.unpack(outcome, 2, outcome.n)
end

--- Times `fn(...)` and keeps the seconds as the metric `name`. Returns what `fn` returns.
function Run:measure(name, fn, ...)
  args.check("d:measure", "name", name, "string")
  local started = host.now()
  local outcome = table.pack(fn(...))
  self:record { [name] = host.now() - started }
  return table.unpack(outcome, 1, outcome.n)
end

--- Keeps numbers (and texts) for the report and the expectations. Numbers recorded more than once
-- can be asked for as `name.p95`, `name.max`, `name.sum`, `name.count`.
function Run:record(metrics)
  args.check("d:record", "metrics", metrics, "table")
  for name, value in pairs(metrics) do
    self.report:metric(name, value)
  end
end

--- The value last recorded under `name`, or nil.
function Run:metric(name)
  local known = self.report.data.metrics[name]
  return known and known.value
end

--- Keeps the outcome of a check. A failed check fails the drill but does not stop it.
-- @param detail string?  what differs, shown when the check failed
-- @return whether it held
function Run:check(name, held, detail)
  args.check("d:check", "name", name, "string")
  self.report:check(name, held and true or false, detail)
  return held
end

--- Whether every check so far held.
function Run:passing()
  return self.report:passing()
end

--- Says what is going on and why; shown while the drill runs and kept in the report.
function Run:say(text, ...)
  if select("#", ...) > 0 then
    text = text:format(...)
  end
  self.report:say(text)
end

--- Shows rows as a table and keeps them in the report.
function Run:table(title, columns, rows)
  self.report:table(title, columns, rows)
end

--- Stops here and opens a session on what the drill has: `d`, its nodes by name, the local variables
-- around this line. Ctrl-D or `:quit` goes on, `:abort` ends the drill. Without a terminal it goes on
-- at once and says so.
function Run:breakpoint()
  local frame = internal.locals_of_caller()
  if not host.options.interactive then
    self:say("breakpoint at line " .. tostring(frame.line) .. " passed: there is no terminal")
    return
  end
  local names = frame.values
  for name, node in pairs(internal.lab_nodes and internal.lab_nodes() or {}) do
    names[name] = names[name] or node
  end
  names.d = self
  host.print(("breakpoint at %s:%s; :quit goes on, :abort ends the drill"):format(frame.file, frame.line))
  local session = require("rpitr.core.repl.session").new(names)
  session:run {}
  if session.aborted then
    internal.raise({ kind = "interrupted", message = "ended at a breakpoint" }, 2)
  end
end

--- Keeps a number of this moment; the report shows all of a name as a plot over time.
-- @param unit string?  "tx/s", "bytes", "s"
-- @usage timer.every("1s", function() d:sample("lag", pg:lag_of(standby).bytes, "bytes") end)
function Run:sample(name, value, unit)
  args.check("d:sample", "name", name, "string")
  args.check("d:sample", "value", value, "number")
  self.report:sample(name, value, unit)
end

--- Marks a stretch of time in the plots, such as a fault. Returns a function that ends it.
-- @usage local over = d:band "standby paused"; standby:resume(); over()
function Run:band(label)
  args.check("d:band", "label", label, "string")
  return self.report:band(label)
end

--- Runs `fn(err)` when the drill ends, however it ends.
function Run:defer(fn)
  args.check("d:defer", "fn", fn, "function")
  self.deferred[#self.deferred + 1] = fn
end

-- Running ------------------------------------------------------------------------------------------

local function run_with_cleanup(drill, run, values)
  local outcome = table.pack(xpcall(drill.run, internal.as_error, run, values))
  for i = #run.deferred, 1, -1 do
    internal.cleanup(run.deferred[i], not outcome[1] and outcome[2] or nil)
  end
  if not outcome[1] then
    error(outcome[2], 0)
  end
end

local EXIT = { pass = 0, fail = 10 }

local module = {}

--- Whether a value is a drill.
function module.is_drill(value)
  return getmetatable(value) == Drill
end

-- Called by the engine with what the script returned.
function module.execute(drill, request)
  if request.program == "help" then
    print_help(drill)
    return 0
  end
  local values = parse_arguments(drill, request.arguments)
  if request.program == "check" then
    host.print(request.name .. ": drill " .. drill.name .. ", ok")
    return 0
  end
  if host.options.dry_run then
    print_help(drill)
    host.print "\nDry run: nothing was started."
    return 0
  end
  if drill.supervised and not host.is_supervised() then
    return host.supervise()
  end
  local run = setmetatable({ report = report.new(drill, values), deferred = {}, drill = drill }, Run)
  internal.current_drill = run
  local verdict
  local function conclude(e)
    verdict = run.report:finish(drill.expectations, e)
    internal.failed = verdict ~= "pass"
  end
  -- A deadline or Ctrl-C can strike between any two instructions: whatever ends the run, it ends
  -- with a verdict, and the report is written when everything else is cleaned up.
  internal.at_exit[#internal.at_exit + 1] = function(_, e)
    if not verdict then
      conclude(e)
    end
  end
  function internal.at_last()
    run.report:write(internal.cleanup_failures)
  end
  local ok, e
  if drill.budget then
    ok, e = xpcall(task.with_timeout, internal.as_error, drill.budget, run_with_cleanup, drill, run, values)
  else
    ok, e = xpcall(run_with_cleanup, internal.as_error, drill, run, values)
  end
  internal.cleanup(conclude, not ok and e or nil)
  if not ok then
    error(e, 0)
  end
  return EXIT[verdict] or EXIT.fail
end

return setmetatable(module, {
  __call = function(_, name)
    args.check("drill", "name", name, "string")
    return function(spec)
      return declare(name, spec)
    end
  end,
})
