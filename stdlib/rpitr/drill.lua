--- Drills: a recovery exercise with declared arguments, steps, measures and a verdict.
---
--- A file that returns `drill "name" { ... }` gets its arguments as real `--flags`, a deadline, a
--- report and an exit code: 0 only when every step ran, every check held and every expectation was
--- met. A check that could not run is a failure.
---
--- ```lua
--- return drill "example" {
---   summary = "Shows that a server answers.",
---   args = { rows = { 10, "rows to count" } },
---   expect = { "answer_seconds < 10s" },
---   run = function(d, arg)
---     local server <close> = lab.postgres { name = "example_answers" }
---     local n = d:measure("answer_seconds", server.value, server, "SELECT count(*) FROM generate_series(1, $1)", arg.rows)
---     d:check("every row is counted", n == arg.rows)
---   end,
--- }
--- ```
---@class rpitr.drill
---@overload fun(name: string): (fun(header: rpitr.drill.Header): rpitr.Drill)
local module = {}

local host, internal = ...
local args = require "rpitr.core.args"
local arguments = require "rpitr.drill.arguments"
local casualties = require "rpitr.drill.casualties"
local report = require "rpitr.report"
local task = require "rpitr.task"

--- An argument of a drill: `{ default, "help" }`. Its flag is `--name`, with `-` for `_`.
---@class rpitr.drill.Argument
---@field [1]? any  the default; its type is the argument's
---@field [2] string  what `--help` says of it
---@field type? "string"|"integer"|"number"|"boolean"  where there is no default to tell
---@field choices? any[]  the values it may have
---@field min? number  the least it may be
---@field check? fun(value: any)  raises when a value cannot be right

--- What `drill "name"` is given.
---@class rpitr.drill.Header
---@field summary string  what it shows, in one sentence
---@field description? string  more of it, for `rpitr help`
---@field tags? string[]
---@field args? table<string, rpitr.drill.Argument>
---@field budget? rpitr.Duration  deadline of the whole drill
---@field expect? string[]  what must hold at the end: a metric, an operator and a value, as "rto < 90s", "rows_lost == 0", "failover.p95 < 15s"
---@field supervised? boolean  a process of its own does the work; when that is killed, another one is started with `--resume DIR`, the bundle of the chaos run it was in, among its arguments. The drill must declare the argument
---@field run fun(d: rpitr.DrillRun, arg: table<string, any>)  the drill itself, with the values of its arguments

--- A drill that was declared; a file returns it.
---@class rpitr.Drill: rpitr.drill.Header
---@field name string
---@field package parameters table[]
---@field package expectations table[]
local Drill = { __name = "rpitr.Drill" }

--- What a drill does while it runs: `d`.
---@class rpitr.DrillRun
---@field report rpitr.Report
---@field drill rpitr.Drill
---@field package deferred fun(e: rpitr.Error?)[]
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
      min = declared.min,
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

-- What a drill does while it runs --------------------------------------------------------------------

--- Runs one step: shows it, times it, keeps it in the report. Steps may be nested.
---
--- ```lua
--- local n = d:step("count the databases", function()
---   return db:value "SELECT count(*) FROM pg_database"
--- end)
--- assert(n > 0)
--- ```
---@param name string
---@param fn fun(...): any
---@param ... any  what `fn` is called with
---@return any ...  what `fn` returns
---@error arg  and whatever `fn` raises, with `step`
function Run:step(name, fn, ...)
  args.check("d:step", "name", name, "string")
  args.check("d:step", "fn", fn, "function")
  local step = self.report:begin_step(name)
  local outcome = internal.attempt(fn, ...)
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

--- Times `fn(...)` and keeps the seconds as the metric `name`.
---
--- ```lua
--- d:measure("checkpoint_seconds", pg.checkpoint, pg)
--- assert(d:metric "checkpoint_seconds" > 0)
--- ```
---@param name string
---@param fn fun(...): any
---@param ... any  what `fn` is called with
---@return any ...  what `fn` returns
---@error arg
function Run:measure(name, fn, ...)
  args.check("d:measure", "name", name, "string")
  local started = host.now()
  local outcome = table.pack(fn(...))
  self:record { [name] = host.now() - started }
  return table.unpack(outcome, 1, outcome.n)
end

--- Keeps numbers (and texts) for the report and the expectations. Numbers recorded more than once
--- can be asked for as `name.p95`, `name.max`, `name.min`, `name.sum`, `name.count`.
---
--- ```lua
--- d:record { rows_lost = 0, winner = "standby" }
--- ```
---@param metrics table<string, number|string>
---@error arg
function Run:record(metrics)
  args.check("d:record", "metrics", metrics, "table")
  for name, value in pairs(metrics) do
    self.report:metric(name, value)
  end
end

--- The value last recorded under `name`, or nil.
---@param name string
---@return number|string|nil
function Run:metric(name)
  local known = self.report.data.metrics[name]
  return known and known.value
end

--- Keeps the outcome of a check. A failed check fails the drill but does not stop it.
---
--- ```lua
--- d:check("the server answers", db:value "SELECT 1" == 1)
--- ```
---@param name string  what holds
---@param held any  whether it does
---@param detail? string  what differs, shown when the check failed
---@return any held
---@error arg
function Run:check(name, held, detail)
  args.check("d:check", "name", name, "string")
  self.report:check(name, held and true or false, detail)
  return held
end

--- Whether every check so far held.
---@return boolean
function Run:passing()
  return self.report:passing()
end

--- Says what is going on and why; shown while the drill runs and kept in the report.
---
--- ```lua
--- d:say("The primary is at %s.", tostring(pg:lsn()))
--- ```
---@param text string  with arguments, a format as for `string.format`
---@param ... any
function Run:say(text, ...)
  if select("#", ...) > 0 then
    text = text:format(...)
  end
  self.report:say(text)
end

--- Shows rows as a table and keeps them in the report.
---
--- ```lua
--- d:table("Before and after", { "table", "before", "after" }, { { "orders", 10, 10 } })
--- ```
---@param title string
---@param columns string[]
---@param rows any[][]  at most ten are shown, the report has all
function Run:table(title, columns, rows)
  self.report:table(title, columns, rows)
end

---@class rpitr.drill.CompareOptions
---@field check? string  (default "%s: row for row as before") what a check of each table is called; `%s` is its name
---@field ledger? rpitr.verify.Comparison  shown with the tables, from `verify.ledger_entry`; not checked here

--- Compares tables before and after, shows and keeps what differs, and checks each.
---
--- ```lua
--- local before = verify.snapshot(pg, { dbname = "postgres" })
--- assert(d:compare("Before and after", before, pg))
--- ```
---@param title string
---@param before rpitr.verify.Snapshot
---@param after rpitr.verify.Snapshot|rpitr.Node
---@param options? rpitr.drill.CompareOptions
---@return boolean same
---@return rpitr.verify.Comparison[] entries
---@error sql, arg
function Run:compare(title, before, after, options)
  args.check("d:compare", "title", title, "string")
  local opts = args.options("d:compare", options, {
    check = { "string", "%s: row for row as before" },
    ledger = "table?",
  })
  local entries, same = require("rpitr.verify").compare(before, after), true
  self.report:comparison(
    title,
    opts.ledger and table.move({ opts.ledger }, 1, 1, #entries + 1, { table.unpack(entries) }) or entries
  )
  for _, entry in ipairs(entries) do
    local why = ("%d rows before, %d after: %s"):format(entry.before, entry.after, table.concat(entry.differing, ", "))
    same = self:check(opts.check:format(entry.name), entry.same, why) and same
  end
  return same, entries
end

--- Stops here and opens a session on what the drill has: `d`, its nodes by name, the local variables
--- around this line. Ctrl-D or `:quit` goes on, `:abort` ends the drill. Without a terminal it goes on
--- at once and says so.
---@error interrupted  `:abort`
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
---
--- ```lua
--- local sampling <close> = timer.every("50ms", function()
---   d:sample("connections", pg:value "SELECT count(*) FROM pg_stat_activity", "sessions")
--- end)
--- timer.sleep "200ms"
--- ```
---@param name string
---@param value number
---@param unit? string  "tx/s", "bytes", "s"
---@error arg
function Run:sample(name, value, unit)
  args.check("d:sample", "name", name, "string")
  args.check("d:sample", "value", value, "number")
  self.report:sample(name, value, unit)
end

--- Marks a stretch of time in the plots, such as a fault. Returns a function that ends it.
---
--- ```lua
--- local over = d:band "checkpoint"
--- pg:checkpoint()
--- over()
--- ```
---@param label string
---@return fun() over
---@error arg
function Run:band(label)
  args.check("d:band", "label", label, "string")
  return self.report:band(label)
end

--- Runs `fn(err)` when the drill ends, however it ends; the last one given runs first.
---
--- ```lua
--- d:defer(function()
---   print "over"
--- end)
--- ```
---@param fn fun(e: rpitr.Error?)  with what ended the drill, if it was an error
---@error arg
function Run:defer(fn)
  args.check("d:defer", "fn", fn, "function")
  self.deferred[#self.deferred + 1] = fn
end

-- Running ------------------------------------------------------------------------------------------

local function run_with_cleanup(drill, run, values)
  local outcome = internal.attempt(drill.run, run, values)
  if not outcome[1] then
    casualties.tell(outcome[2])
  end
  for i = #run.deferred, 1, -1 do
    internal.cleanup(run.deferred[i], not outcome[1] and outcome[2] or nil)
  end
  if not outcome[1] then
    error(outcome[2], 0)
  end
end

local EXIT = { pass = 0, fail = 10 }

--- Whether a value is a drill.
---
--- ```lua
--- local made = drill "example" { summary = "Shows nothing.", run = function() end }
--- assert(drill.is_drill(made))
--- ```
---@param value any
---@return boolean
function module.is_drill(value)
  return getmetatable(value) == Drill
end

-- The process that does the work of a supervised drill loads the script again: a pipe is read once only.
local function refuse_standard_input(drill, request)
  if request.name == "standard input" then
    internal.raise({
      kind = "arg",
      code = "usage",
      message = ("drill %s is supervised and cannot be read from standard input"):format(drill.name),
      hint = "save it as a file and run that: rpitr FILE",
    }, 3)
  end
end

-- Called by the engine with what the script returned.
---@private
function module.execute(drill, request)
  if request.program == "help" then
    arguments.print_help(drill)
    return 0
  end
  local values = arguments.parse(drill, request.arguments)
  if request.program == "check" then
    return 0, nil, "drill " .. drill.name .. ", ok"
  end
  if host.options.dry_run then
    arguments.print_help(drill)
    host.print "\nDry run: nothing was started."
    return 0
  end
  if drill.supervised and not host.is_supervised() then
    refuse_standard_input(drill, request)
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
    ok, e = xpcall(internal.within_budget, internal.as_error, drill.budget, run_with_cleanup, drill, run, values)
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
