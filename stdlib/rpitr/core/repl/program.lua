-- `rpitr repl`: a session from its greeting to what becomes of the labs it started.

local host, internal = ...
local attach = require "rpitr.core.repl.attach"
local prompt = require "rpitr.prompt"
local session = require "rpitr.core.repl.session"
local visit = require "rpitr.lab.visit"

local program = {}

local function names_of(nodes)
  local names = {}
  for name in pairs(nodes) do
    names[#names + 1] = name
  end
  table.sort(names)
  return table.concat(names, ", ")
end

-- The servers this session has made.
local function own_nodes()
  local own = {}
  for name, node in pairs(internal.lab_nodes and internal.lab_nodes() or {}) do
    own[name] = not visit.is_visited(node) and node or nil
  end
  return own
end

-- Whoever leaves with servers up is asked; without an answer they are removed, as after any run.
local function leave()
  local nodes = own_nodes()
  if next(nodes) == nil or not host.options.interactive then
    return true
  end
  local question = ("the lab's servers (%s) are up: remove them, keep them, or stay? [R/k/s]"):format(names_of(nodes))
  local answer = (prompt.line(question, { default = "r" }) or "r"):lower():sub(1, 1)
  if answer == "k" then
    internal.keep_this_lab = true
  end
  return answer ~= "s"
end

-- What a project wants at hand in every session. A piped session is a test and sees only what it is given.
local INIT = ".rpitr/init.lua"

local function load_into(this, path)
  local source, name = host.find_script(path)
  local chunk, message = load(source, "@" .. name, "t", this.env)
  if not chunk then
    internal.raise({ kind = "script", code = "syntax", message = message, trace = {} }, 2)
  end
  chunk()
end

local function load_init(this)
  if not (host.options.interactive and host.fs_exists(INIT)) then
    return
  end
  host.narrate("reading " .. INIT)
  local ok, e = pcall(load_into, this, INIT)
  if not ok then
    host.notice(host.render_error(internal.as_error(e)))
  end
end

function program.run(request)
  local lab, load_file = request.arguments[1], request.arguments[2]
  local this = session.new {}
  if lab and lab ~= "" then
    local said = attach.from_command_line(this, lab)
    if host.options.interactive then
      host.narrate(said)
    end
  end
  if host.options.interactive then
    host.narrate "rpitr: :help shows how to begin, Ctrl-D leaves"
  end
  load_init(this)
  if load_file and load_file ~= "" then
    load_into(this, load_file)
  end
  this:run { leave = leave }
  if host.options.interactive then
    attach.farewell(this)
  end
  -- A piped session is a test: one that met an error has not passed.
  if not this.terminal and (this.failed or this.ever_failed) then
    return 11
  end
  return 0
end

return program
