--- What a drill reports: lines while it runs, a verdict at the end, `report.json` with `--report`.
---@class rpitr.report
local report = {}

local host, internal = ...
local json = require "rpitr.json"
local stopwatch = require "rpitr.core.stopwatch"

local SCHEMA = 3

--- A drill's report while it grows. Scripts use the drill: `d:say`, `d:check`, `d:sample` ...
---@class rpitr.Report
---@field data table  what `report.json` will hold
---@field package started_at number
---@field package depth integer
local Report = { __name = "rpitr.Report" }
Report.__index = Report

local function paint(code, text)
  return host.color() and ("\27[%sm%s\27[0m"):format(code, text) or text
end

--- Seconds as people read them.
---
--- ```lua
--- assert(report.seconds(0.25) == "250 ms" and report.seconds(119.7) == "2 min 00 s")
--- ```
---@param value number
---@return string
function report.seconds(value)
  if value < 1 then
    return ("%d ms"):format(math.floor(value * 1000 + 0.5))
  end
  if value < 100 then
    return ("%.2f s"):format(value)
  end
  local whole = math.floor(value + 0.5)
  return ("%d min %02d s"):format(whole // 60, whole % 60)
end

--- Bytes as people read them.
---
--- ```lua
--- assert(report.bytes(16 * 1024 ^ 2) == "16.0 MB")
--- ```
---@param value number
---@return string
function report.bytes(value)
  local units = { "B", "kB", "MB", "GB", "TB" }
  local i = 1
  while value >= 1024 and i < #units do
    value, i = value / 1024, i + 1
  end
  return (i == 1 and "%d %s" or "%.1f %s"):format(i == 1 and math.floor(value) or value, units[i])
end

--- Begins the report of a drill, which does this by itself.
---@param drill rpitr.Drill
---@param values table<string, any>  of its arguments
---@return rpitr.Report
function report.new(drill, values)
  local self = setmetatable({
    started_at = host.now(),
    depth = 0,
    data = {
      schema = SCHEMA,
      drill = drill.name,
      summary = drill.summary,
      script = internal.script,
      run = host.options.run_id,
      seed = host.options.seed,
      runtime = host.options.runtime,
      started = tostring(host.time_now()),
      arguments = values,
      steps = json.array {},
      narration = json.array {},
      metrics = {},
      checks = json.array {},
      tables = json.array {},
      comparisons = json.array {},
      expectations = json.array {},
      recoveries = json.array {},
      series = {},
      bands = json.array {},
      environment = {},
    },
  }, Report)
  host.narrate(paint("1", drill.name) .. ": " .. drill.summary)
  host.narrate(
    paint("2", ("run %s, seed %d, runtime %s"):format(host.options.run_id, host.options.seed, host.options.runtime))
  )
  return self
end

---@private
function Report:begin_step(name)
  local step = { name = name, started = host.now() - self.started_at, depth = self.depth }
  self.data.steps[#self.data.steps + 1] = step
  self.depth = self.depth + 1
  if self.depth == 1 then
    host.narrate("\n" .. paint("1;36", "» ") .. paint("1", name))
  end
  host.progress(name)
  return step
end

---@private
function Report:end_step(step, ok, e)
  self.depth = self.depth - 1
  step.seconds = host.now() - self.started_at - step.started
  step.ok = ok
  if not ok then
    step.error = e.kind .. ": " .. e.message
  end
  host.progress(nil)
  local mark = ok and paint("32", "✓") or paint("31", "✗")
  host.narrate(("  %s %s  %s"):format(mark, step.name, paint("2", report.seconds(step.seconds))))
end

---@private
function Report:say(text)
  for line in (text .. "\n"):gmatch "(.-)\n" do
    host.narrate("    " .. line)
  end
  local steps = self.data.steps
  self.data.narration[#self.data.narration + 1] = {
    at = self:elapsed(),
    step = steps[#steps] and steps[#steps].name,
    text = text,
  }
end

--- Seconds since the run began.
---@return number
function Report:elapsed()
  return host.now() - self.started_at
end

--- Begins the run's time `seconds` earlier: it goes on with what another process began.
---@param seconds number
function Report:reach_back(seconds)
  self.started_at = self.started_at - seconds
end

--- Keeps a measurement of this moment, or of second `at`; the report draws all of a name as a plot.
---@param name string
---@param value number
---@param unit? string
---@param at? number
function Report:sample(name, value, unit, at)
  local series = self.data.series[name] or { unit = unit or "", points = json.array {} }
  self.data.series[name] = series
  series.points[#series.points + 1] = { at or self:elapsed(), value }
end

--- Marks a stretch of time in the plots. Returns a function that ends it.
---@param label string
---@param at? number  the second it begins, if not now
---@return fun(to?: number)
function Report:band(label, at)
  local band = { label = label, from = at or self:elapsed() }
  self.data.bands[#self.data.bands + 1] = band
  return function(to)
    band.to = band.to or to or self:elapsed()
  end
end

local function commit_fields(commit)
  return commit and { xid = commit.xid, lsn = tostring(commit.lsn), time = tostring(commit.time) } or nil
end

--- Keeps what a restore was asked and what it reached.
---@param node rpitr.Node
---@param seconds number
function Report:recovery(node, seconds)
  local plan, proof = node.plan, node.proof
  self.data.recoveries[#self.data.recoveries + 1] = {
    node = node.name,
    asked = proof.asked,
    backup = proof.backup,
    backup_start_lsn = tostring(plan.backup.start_lsn),
    backup_stop_lsn = tostring(plan.backup.stop_lsn),
    backup_time = plan.backup.stop_time and tostring(plan.backup.stop_time) or nil,
    reached_lsn = tostring(proof.reached_lsn),
    timeline = proof.timeline,
    parent_timeline = proof.parent_timeline,
    last_commit = commit_fields(proof.last_commit),
    next_commit = commit_fields(proof.next_commit),
    why = proof.why,
    wal_files = plan.wal_files,
    seconds = seconds,
  }
end

---@private
function Report:metric(name, value)
  local known = self.data.metrics[name]
  if known == nil then
    self.data.metrics[name] = { value = value, values = { value } }
  else
    known.value = value
    known.values[#known.values + 1] = value
  end
end

---@private
function Report:check(name, held, detail)
  self.data.checks[#self.data.checks + 1] = { name = name, ok = held, detail = not held and detail or nil }
  local mark = held and paint("32", "✓") or paint("31", "✗")
  host.narrate(("    %s %s%s"):format(mark, name, not held and detail and (": " .. detail) or ""))
end

---@private
function Report:passing()
  for _, check in ipairs(self.data.checks) do
    if not check.ok then
      return false
    end
  end
  return true
end

local function width_of(text)
  return utf8.len(text) or #text
end

local function show_table(title, columns, rows)
  local widths = {}
  for c, column in ipairs(columns) do
    widths[c] = width_of(column)
    for _, row in ipairs(rows) do
      widths[c] = math.max(widths[c], width_of(tostring(row[c])))
    end
  end
  local function line(cells)
    local parts = {}
    for c in ipairs(columns) do
      local text = tostring(cells[c] == nil and "" or cells[c])
      parts[c] = text .. (" "):rep(widths[c] - width_of(text))
    end
    return "      " .. table.concat(parts, "  "):gsub("%s+$", "")
  end
  host.narrate("    " .. title)
  host.narrate(paint("2", line(columns)))
  for i, row in ipairs(rows) do
    if i > 10 then
      host.narrate(("      ... and %d more (all of them in the report)"):format(#rows - 10))
      break
    end
    host.narrate(line(row))
  end
end

---@private
function Report:table(title, columns, rows)
  local kept = json.array(table.move(rows, 1, #rows, 1, {}))
  self.data.tables[#self.data.tables + 1] = { title = title, columns = columns, rows = kept }
  show_table(title, columns, rows)
end

--- Keeps tables that were compared before and after.
---@param title string
---@param entries rpitr.verify.Comparison[]
function Report:comparison(title, entries)
  local kept, rows = json.array {}, {}
  for i, entry in ipairs(entries) do
    kept[i] = { differing = json.array(entry.differing) }
    for _, field in ipairs { "name", "before", "after", "missing", "extra", "altered", "same" } do
      kept[i][field] = entry[field]
    end
    local function count(field)
      return entry[field] or "?"
    end
    rows[i] = { entry.name, entry.before, entry.after, count "missing", count "extra", count "altered" }
  end
  self.data.comparisons[#self.data.comparisons + 1] = { title = title, tables = kept }
  show_table(title, { "table", "before", "after", "missing", "extra", "altered" }, rows)
end

-- Verdict ------------------------------------------------------------------------------------------

local aggregates = {}

function aggregates.count(values)
  return #values
end

function aggregates.sum(values)
  local sum = 0
  for _, value in ipairs(values) do
    sum = sum + value
  end
  return sum
end

function aggregates.max(values)
  return math.max(table.unpack(values))
end

function aggregates.min(values)
  return math.min(table.unpack(values))
end

local function percentile(values, share)
  local sorted = table.move(values, 1, #values, 1, {})
  table.sort(sorted)
  return sorted[math.max(1, math.ceil(share * #sorted))]
end

local compare = {
  ["<"] = function(a, b)
    return a < b
  end,
  ["<="] = function(a, b)
    return a <= b
  end,
  [">"] = function(a, b)
    return a > b
  end,
  [">="] = function(a, b)
    return a >= b
  end,
  ["=="] = function(a, b)
    return a == b
  end,
  ["~="] = function(a, b)
    return a ~= b
  end,
}

-- The metric an expectation asks for; nil when it was never recorded.
local function metric_value(metrics, expectation)
  local metric = metrics[expectation.metric]
  if not metric or type(metric.value) ~= "number" then
    return nil
  end
  if expectation.aggregate == "" then
    return metric.value
  end
  local share = expectation.aggregate:match "^p(%d+)$"
  if share then
    return percentile(metric.values, tonumber(share) / 100)
  end
  local aggregate = aggregates[expectation.aggregate]
  return aggregate and aggregate(metric.values)
end

local function judge(data, expectations)
  local met = true
  for _, expectation in ipairs(expectations) do
    local value = metric_value(data.metrics, expectation)
    local test = compare[expectation.operator]
    local ok = value ~= nil and test ~= nil and test(value, expectation.limit)
    met = met and ok
    data.expectations[#data.expectations + 1] = { text = expectation.text, value = value, ok = ok }
  end
  for _, check in ipairs(data.checks) do
    met = met and check.ok
  end
  return met
end

local ENDINGS = {
  interrupted = "interrupted",
  timeout = "timeout",
}

---@private
function Report:show_verdict()
  local data = self.data
  local total = report.seconds(data.seconds)
  if data.verdict == "pass" then
    host.print("\n" .. paint("1;32", "PROVED") .. ("  %s in %s"):format(data.drill, total))
  else
    local word = ({ fail = "NOT PROVED", error = "FAILED", interrupted = "INTERRUPTED", timeout = "TIMED OUT" })[data.verdict]
    host.print("\n" .. paint("1;31", word) .. ("  %s after %s"):format(data.drill, total))
  end
  for _, expectation in ipairs(data.expectations) do
    local value = expectation.value
    local shown = value == nil and "not measured"
      or (math.type(value) == "integer" and tostring(value) or ("%.3g"):format(value))
    local line = ("  %s %-28s %s"):format(
      expectation.ok and paint("32", "✓") or paint("31", "✗"),
      expectation.text,
      paint("2", "measured " .. shown)
    )
    if expectation.ok then
      host.narrate(line)
    else
      host.print(line)
    end
  end
  for _, check in ipairs(data.checks) do
    if not check.ok then
      host.print(("  %s %s%s"):format(paint("31", "✗"), check.name, check.detail and (": " .. check.detail) or ""))
    end
  end
end

--- Closes the report: compares expectations, prints the verdict. Returns it.
---@param expectations table[]
---@param e? rpitr.Error  what ended the run
---@return "pass"|"fail"|"error"|"interrupted"|"timeout"
function Report:finish(expectations, e)
  local data = self.data
  data.seconds = host.now() - self.started_at
  -- How much of the time PostgreSQL itself was at work; the rest is the drill's own.
  data.postgres = { seconds = stopwatch.busy(), programs = json.array(stopwatch.list()) }
  local met = judge(data, expectations)
  if e then
    data.verdict = ENDINGS[e.kind] or "error"
    data.error = {
      kind = e.kind,
      code = e.code,
      message = e.message,
      detail = e.detail,
      hint = e.hint,
      step = e.step,
      where = e.where,
    }
    -- Expectations of a run that broke off say nothing; the error does.
    data.expectations = json.array {}
  else
    data.verdict = met and "pass" or "fail"
  end
  self:show_verdict()
  return data.verdict
end

--- Keeps the run in the history, and writes the reports into the folder given with `--report`.
---@param cleanup_failures rpitr.Error[]
function Report:write(cleanup_failures)
  local data = self.data
  -- A run that was cut short ends what it had begun.
  for _, band in ipairs(data.bands) do
    band.to = band.to or data.seconds
  end
  for name, value in pairs(internal.environment) do
    data.environment[name] = value
  end
  data.finished = tostring(host.time_now())
  data.cleanup_failures = json.array {}
  for i, e in ipairs(cleanup_failures) do
    data.cleanup_failures[i] = tostring(e)
  end
  local folder = host.options.report
  local not_kept = host.report_write(folder, data)
  if not_kept and folder then
    host.notice("this run is not in the history: " .. not_kept)
  end
  if folder then
    host.narrate(paint("2", "report: " .. folder .. "/report.html"))
  end
end

return report
