-- An interactive session: read a statement, run it, show what it gave.
--
-- Everything typed runs in one task and one environment. A statement runs in a scope of its own, which
-- Ctrl-C trips: the statement unwinds with its cleanup, the session and what it started before live on.

local host, internal = ...
local commands = require "rpitr.core.repl.commands"
local complete = require "rpitr.core.repl.complete"
local inspect = require "rpitr.core.repl.inspect"
local nodes = require "rpitr.core.repl.nodes"
local task = require "rpitr.task"
local timer = require "rpitr.timer"

local WATCH_EVERY = 0.5

local session = {}

local Session = {}
Session.__index = Session

-- The statements of a session see its own names first, then what every script sees. `_` is nil until there is a
-- result.
local function environment(names)
  return setmetatable(names, {
    __index = function(_, name)
      return name ~= "_" and _G[name] or nil
    end,
  })
end

--- A session; `names` are the variables it begins with.
function session.new(names)
  return setmetatable({
    env = environment(names),
    command_names = commands.names,
    count = 0,
    inputs = {},
    pinned = {},
    -- Labs of other processes, and connections to nodes in the session's database.
    attached = {},
    connections = {},
  }, Session)
end

-- Running a statement ---------------------------------------------------------------------------------

-- An expression is a statement that returns itself. Returns the chunk, or nil and Lua's message.
local function compile(self, text, name)
  local chunk = load("return " .. text, name, "t", self.env)
  if chunk then
    return chunk, true
  end
  local source, closed = host.repl_globalize(text)
  for _, variable in ipairs(closed) do
    self.pinned[#self.pinned + 1] = variable
    host.notice(variable .. " stays open until the session ends, or until " .. variable .. ":close()")
  end
  return load(source, name, "t", self.env)
end

function Session:show_error(e, text, name)
  if e.kind == "interrupted" then
    host.notice "interrupted"
  elseif e.code ~= "exit" then
    host.notice(host.render_error(e, name, text))
  end
end

-- The last result is `_`, the one of statement 3 is `_3`.
local function remember(self, results)
  if results.n > 0 and results[1] ~= nil then
    self.env._ = results[1]
    self.env["_" .. self.count] = results[1]
  end
end

--- Compiles and runs a statement. Returns its results packed, or nil when it failed (which is shown).
function Session:evaluate(text)
  self.count = self.count + 1
  local name = "input " .. self.count
  local chunk, expression = compile(self, text, "@" .. name)
  if not chunk then
    local line, message = tostring(expression):match ":(%d+): (.*)$"
    local where = { file = name, line = math.tointeger(line) or 1 }
    local fields = { kind = "script", code = "syntax", message = message or expression, where = where, trace = {} }
    self:show_error(internal.new_error(fields), text, name)
    return nil
  end
  local outcome = internal.in_foreground(chunk)
  if not outcome[1] then
    self.failed = true
    self:show_error(outcome[2], text, name)
    return nil
  end
  self.inputs[#self.inputs + 1] = { text = text, expression = expression == true }
  local results = table.pack(table.unpack(outcome, 2, outcome.n))
  remember(self, results)
  return results
end

-- One line as typed: a command, or a statement whose results are shown unless it ends in `;`.
local function handle(self, text)
  if text:match "^%s*$" then
    return
  end
  if commands.run(self, text) then
    return
  end
  local results = self:evaluate(text)
  local quiet = text:match ";%s*$"
  if results and results.n > 0 and not quiet and not (results.n == 1 and results[1] == nil) then
    host.print(inspect.results(results))
  end
end

-- Background tasks ------------------------------------------------------------------------------------

-- A task that failed while nobody waited for it is told of as soon as there is a moment.
local function report_failed_tasks(task)
  for _, child in ipairs(task.children or {}) do
    if child.finished and not child.ok and not child.joined then
      child.joined = true
      if child.error.kind ~= "cancelled" and child.error.kind ~= "interrupted" then
        host.notice("a background task failed: " .. host.render_error(child.error))
      end
    end
  end
end

-- Looks while somebody sits at the prompt; otherwise the end of the statement is soon enough.
local function watch_tasks(self, task)
  -- The first Tab should not have to wait for the library to be read.
  host.api_warm()
  while true do
    timer.sleep(WATCH_EVERY)
    if self.at_prompt then
      report_failed_tasks(task)
    end
  end
end

-- The loop --------------------------------------------------------------------------------------------

local editor

local function open_editor()
  if not editor then
    local handle, terminal = host.repl_open(host.repl_history())
    editor = { handle = handle, terminal = terminal }
  end
  return editor
end

--- Reads and runs statements until the end of the input, `:quit`, or what `leave` allows.
-- @param options { leave = function?, resumable = boolean? }  `leave()` false: go on
function Session:run(options)
  self.options = options
  local input = open_editor()
  self.terminal = input.terminal
  local function completer(line, position)
    return complete.at(self, line, position)
  end
  local watcher = input.terminal and task.spawn(watch_tasks, self, internal.current_task())
  while not self.finished do
    report_failed_tasks(internal.current_task())
    local prompt = input.terminal and nodes.prompt(self) or ""
    self.at_prompt = true
    local what, text = host.repl_read(input.handle, prompt, completer)
    self.at_prompt = false
    if what == "line" then
      handle(self, text)
      if not input.terminal and self.failed then
        self.ever_failed = true
      end
    elseif what == "unfinished" then
      self.ever_failed = true
      host.notice("the input ends in the middle of a statement:\n" .. text)
    elseif what == "end" then
      if input.terminal then
        host.print ""
      end
      self.finished = not options.leave or options.leave()
    end
    if host.exit_code() then
      break
    end
  end
  if watcher then
    watcher:cancel()
  end
  return self
end

return session
