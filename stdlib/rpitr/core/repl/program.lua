-- `rpitr repl`: a session from its greeting to what becomes of the labs it started.

local host, internal = ...
local prompt = require "rpitr.prompt"
local session = require "rpitr.core.repl.session"

local program = {}

local function names_of(nodes)
  local names = {}
  for name in pairs(nodes) do
    names[#names + 1] = name
  end
  table.sort(names)
  return table.concat(names, ", ")
end

-- Whoever leaves with servers up is asked; without an answer they are removed, as after any run.
local function leave()
  local nodes = internal.lab_nodes and internal.lab_nodes() or {}
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

function program.run(request)
  local attach, load_file = request.arguments[1], request.arguments[2]
  local this = session.new {}
  if attach and attach ~= "" then
    local attached = internal.load_stdlib("lab").attach(attach)
    this.label = attach
    for name, node in pairs(attached) do
      this.env[name] = node
    end
  end
  if host.options.interactive then
    host.narrate "rpitr: :help shows how to begin, Ctrl-D leaves"
  end
  if load_file and load_file ~= "" then
    local source, name = host.find_script(load_file)
    local chunk = load(source, "@" .. name, "t", this.env)
    chunk()
  end
  this:run { leave = leave }
  -- A piped session is a test: one that met an error has not passed.
  if not this.terminal and (this.failed or this.ever_failed) then
    return 11
  end
  return 0
end

return program
