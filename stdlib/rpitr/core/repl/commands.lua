-- The session's own commands: `:sql`, `:psql`, `:logs` and their like, `h name`, `?name`, `??name`.

local host, internal = ...
local attach = require "rpitr.core.repl.attach"
local inspect = require "rpitr.core.repl.inspect"
local nodes = require "rpitr.core.repl.nodes"
local timer = require "rpitr.timer"

local commands = {}

-- Each: the arguments as shown in :help, what it does, and `run(session, rest)`.
local list, by_name = {}, {}

local function command(name, arguments, help, run)
  local entry = { name = name, arguments = arguments, help = help, run = run }
  list[#list + 1] = entry
  by_name[name] = entry
end

local function bad_use(entry)
  internal.raise({ kind = "arg", message = (":%s %s"):format(entry.name, entry.arguments), trace = {} }, 2)
end

-- Help -------------------------------------------------------------------------------------------------

local BEGINNINGS = [[
Three lines to begin with:
  pg = lab.postgres {}                      a primary with an archive; it is removed when you leave
  base = pitr.backup(pg)                    a base backup
  r = pitr.restore(pg, { to = "latest" })   recover beside it, and prove it

Any Lua works, results are shown; `local` names stay. A statement may go over several lines.
  _, _3        the last result, the result of statement 3          x = 1;      shows nothing
  h lab.postgres, ?pg.stop, ??lab.standby   help, help, source     Tab         completes
  Ctrl-C       ends the statement, not the session                 Ctrl-D      leaves and cleans up]]

command("help", "", "this", function()
  host.print(BEGINNINGS .. "\n\nCommands:")
  for _, entry in ipairs(list) do
    host.print(("  %-34s %s"):format(":" .. entry.name .. " " .. entry.arguments, entry.help))
  end
end)

local function show_help(session, name, source)
  local complete = require "rpitr.core.repl.complete"
  host.print(host.api_help(complete.name_of(session, name), source))
end

-- Servers ----------------------------------------------------------------------------------------------

command("sql", "STATEMENT", "run SQL on the primary, show the rows", function(session, rest)
  if rest == "" then
    bad_use(by_name.sql)
  end
  local rows = nodes.connection(session, nodes.find(session)):query((rest:gsub(";%s*$", "")))
  session.env._ = rows
  host.print(#rows.columns > 0 and inspect.rows(rows) or "done")
end)

command("db", "[NAME]", "the database that :sql and :psql work in", function(session, rest)
  if rest ~= "" then
    local before = session.database
    session.database = rest
    local ok, e = pcall(nodes.connection, session, nodes.find(session))
    if not ok then
      session.database = before
      error(e, 0)
    end
  end
  host.print(session.database or "postgres")
end)

-- Words as a shell splits them; quotes keep spaces.
local function words_of(text)
  local words, at = {}, 1
  while true do
    at = text:find("%S", at)
    if not at then
      return words
    end
    local word = ""
    repeat
      local quote = text:sub(at, at):match "[\"']"
      local part, stop
      if quote then
        stop = text:find(quote, at + 1, true) or #text + 1
        part, stop = text:sub(at + 1, stop - 1), stop + 1
      else
        stop = text:find("[%s\"']", at) or #text + 1
        part = text:sub(at, stop - 1)
      end
      word, at = word .. part, stop
    until at > #text or text:find("^%s", at)
    words[#words + 1] = word
  end
end

command("psql", "[NODE] [-c SQL]", "open psql on a node; options are psql's", function(session, rest)
  local words = words_of(rest)
  local name = words[1] and words[1]:sub(1, 1) ~= "-" and table.remove(words, 1) or nil
  local node = nodes.find(session, name)
  if not words[1] and not session.terminal then
    internal.raise({
      kind = "state",
      message = "psql reads what is typed, and nobody types here",
      hint = ":psql -c 'SELECT 1' runs one command",
      trace = {},
    }, 2)
  end
  if session.database then
    table.move({ "--dbname=" .. session.database }, 1, 1, #words + 1, words)
  end
  -- The terminal is psql's meanwhile, and so is Ctrl-C.
  host.scope_foreign()
  local run = { host.program_path(), "lab", "psql", nodes.lab_of(node), node.name, "--" }
  table.move(words, 1, #words, #run + 1, run)
  run.inherit, run.check = true, false
  internal.load_stdlib("sh").run(run)
end)

command("logs", "[NODE]", "the last lines of a node's server log", function(session, rest)
  local lines = {}
  for line in nodes.find(session, rest):logs():gmatch "[^\n]+" do
    lines[#lines + 1] = line
  end
  host.print(table.concat(lines, "\n", math.max(1, #lines - 29)))
end)

command("lab", "", "the servers of this session and how they are", function(session)
  local function try(f, ...)
    local ok, value = pcall(f, ...)
    return ok and value or nil
  end
  local all, rows = nodes.all(session), { columns = { "node", "role", "version", "status", "port", "lab" } }
  for name, node in pairs(all) do
    local at = try(node.endpoint, node)
    rows[#rows + 1] = {
      node = name,
      role = node.role,
      version = try(function()
        return node.major
      end),
      status = try(node.status, node) or "unknown",
      port = at and at.port,
      lab = nodes.lab_of(node),
    }
  end
  table.sort(rows, function(a, b)
    return a.node < b.node
  end)
  host.print(#rows > 0 and inspect.rows(rows) or "no servers; lab.postgres {} starts one")
end)

command(
  "attach",
  "LAB",
  "work on a lab that is there, or an environment: its nodes become variables",
  function(session, rest)
    if rest == "" then
      bad_use(by_name.attach)
    end
    host.print(attach.to(session, rest))
  end
)

-- Statements -------------------------------------------------------------------------------------------

command("time", "STATEMENT", "how long a statement takes", function(session, rest)
  local started = host.now()
  local results = session:evaluate(rest)
  local took = host.now() - started
  if results and results.n > 0 then
    host.print(inspect.results(results))
  end
  host.print(inspect.seconds(took))
end)

command("watch", "[SECONDS] EXPRESSION", "show it again and again until Ctrl-C", function(session, rest)
  local every, text = rest:match "^([%d.]+)%s+(.+)$"
  local expression = text or rest
  local chunk, message = load("return " .. expression, "@watch", "t", session.env)
  if not chunk then
    internal.raise({ kind = "script", code = "syntax", message = message, trace = {} }, 2)
  end
  while true do
    host.print(inspect.results(table.pack(chunk())))
    timer.sleep(tonumber(every) or 1)
  end
end)

command("results", "", "the results so far: _1, _2 and on", function(session)
  for i = 1, session.count do
    local value = rawget(session.env, "_" .. i)
    if value ~= nil then
      host.print(("_%d = %s"):format(i, inspect.line(value)))
    end
  end
end)

command("tasks", "", "how many background tasks run", function(session)
  local running = 0
  for _, child in ipairs(internal.current_task().children or {}) do
    running = running + (child.finished and 0 or 1)
  end
  -- The session's own watcher is none of the user's.
  running = math.max(0, running - (session.terminal and 1 or 0))
  host.print(("%d running"):format(running))
end)

-- Files ------------------------------------------------------------------------------------------------

command("run", "FILE [ARGUMENTS]", "run a script or drill in this session", function(session, rest)
  local words = {}
  for word in rest:gmatch "%S+" do
    words[#words + 1] = word
  end
  local path = table.remove(words, 1) or bad_use(by_name.run)
  local source, name = host.find_script(path)
  local drill = internal.load_stdlib "drill"
  local result = internal.compile(source, name)(table.unpack(words))
  if drill.is_drill(result) then
    drill.execute(result, { program = "run", name = name, arguments = words })
  end
  session.env._ = result
end)

command("save", "FILE", "write what was typed as a script", function(session, rest)
  if rest == "" then
    bad_use(by_name.save)
  end
  local lines = { "-- A session of rpitr repl.", "" }
  for _, input in ipairs(session.inputs) do
    local expression = input.expression and not input.text:match "%)%s*;?%s*$"
    lines[#lines + 1] = expression and ("print(%s)"):format((input.text:gsub(";%s*$", ""))) or input.text
  end
  host.fs_write(rest, table.concat(lines, "\n") .. "\n")
  host.print(
    ("%d statement%s saved: rpitr %s runs them"):format(#session.inputs, #session.inputs == 1 and "" or "s", rest)
  )
end)

command("quit", "", "leave, as Ctrl-D does; in a breakpoint: go on", function(session)
  session.finished = not session.options.leave or session.options.leave()
end)

command("abort", "", "in a breakpoint: end the drill", function(session)
  session.finished, session.aborted = true, true
end)

commands.names = {}
for _, entry in ipairs(list) do
  commands.names[entry.name] = true
end

-- ------------------------------------------------------------------------------------------------------

local function dispatch(session, text)
  local marks, asked = text:match "^%s*(%?%??)%s*([%w_.:]+)%s*$"
  asked = asked or text:match "^%s*h%s+([%a_][%w_.:]*)%s*$"
  if asked then
    return show_help, asked, marks == "??"
  end
  local name, rest = text:match "^%s*:(%a+)%s*(.-)%s*$"
  if not name then
    return nil
  end
  local entry = by_name[name]
  if not entry then
    local near = internal.suggest(name, by_name)
    internal.raise({
      kind = "arg",
      message = "there is no command :" .. name,
      hint = near and ("did you mean :%s?"):format(near) or ":help lists them",
      trace = {},
    }, 2)
  end
  return entry.run, rest
end

--- Runs a line if it is a command. Returns whether it was.
function commands.run(session, text)
  if not text:match "^%s*[:?]" and not text:match "^%s*h%s+[%a_]" or text:match "^%s*::" then
    return false
  end
  local was = true
  local outcome = internal.in_foreground(function()
    local run, rest, more = dispatch(session, text)
    was = run ~= nil
    if run then
      run(session, rest, more)
    end
  end)
  if not outcome[1] then
    session.failed = true
    session:show_error(outcome[2], text, "command")
  end
  return was
end

return commands
