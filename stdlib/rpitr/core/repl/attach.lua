-- A session on a lab that is there already: its nodes become variables, leaving it removes nothing.

local host, internal = ...

local attach = {}

local KEYWORDS = {}
for word in
  ([[and break do else elseif end false for function goto if in local nil not or repeat return then
  true until while]]):gmatch "%a+"
do
  KEYWORDS[word] = true
end

-- A name Lua takes, that hides nothing and is not taken yet: `standby-2` becomes `standby_2`.
local function variable(session, name)
  name = name:gsub("[^%w_]", "_"):gsub("^%d", "_%0")
  while KEYWORDS[name] or internal.is_stdlib(name) or rawget(_G, name) ~= nil or rawget(session.env, name) ~= nil do
    name = name .. "_"
  end
  return name
end

local function sorted(nodes)
  local names = {}
  for name in pairs(nodes) do
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

-- The database `:sql` begins with: the environment's, or the only one somebody has made in the lab.
local function database_of(there)
  if there.service then
    return there:service(there.primary.name).env.POSTGRES_DB
  end
  local server = there.primary or there.standby
  local ok, rows = pcall(function()
    return server:query "SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres' LIMIT 2"
  end)
  return ok and #rows == 1 and rows[1].datname or nil
end

local UP = { running = true, standby = true, paused = true, starting = true }

local function assert_up(there)
  local states = {}
  for _, name in ipairs(sorted(there.nodes)) do
    local ok, status = pcall(there.nodes[name].status, there.nodes[name])
    if ok and UP[status] then
      return
    end
    states[#states + 1] = ("%s is %s"):format(name, ok and status or "not answering")
  end
  internal.raise({
    kind = "environment",
    code = "not_up",
    message = ("no server of %s runs"):format(there.name),
    detail = table.concat(states, "\n"),
    hint = ('rpitr lab start %s starts them; lab.attach "%s" in a session takes them as they are'):format(
      there.name,
      there.name
    ),
    trace = {},
  }, 2)
end

--- Attaches a session to a lab or a standing environment. Returns what is said about it.
function attach.to(session, name)
  local there = internal.load_stdlib("lab").attach(name, { check = false })
  assert_up(there)
  session.attached[#session.attached + 1] = there
  session.label, session.database = there.name, database_of(there)
  local said, saved = {}, { ("local there = lab.attach %q"):format(there.name) }
  for _, known in ipairs(sorted(there.nodes)) do
    local node = there.nodes[known]
    local called = variable(session, known)
    session.env[called] = node
    saved[#saved + 1] = ("local %s = there.nodes[%q]"):format(called, known)
    said[#said + 1] = called == known and known or ("%s (%s)"):format(called, known)
  end
  -- Roles are names, too, where nobody has them.
  for _, known in ipairs(sorted(there.nodes)) do
    local node = there.nodes[known]
    if rawget(session.env, node.role) == nil and variable(session, node.role) == node.role then
      session.env[node.role] = node
      saved[#saved + 1] = ("local %s = there.nodes[%q]"):format(node.role, known)
    end
  end
  -- What `:save` writes must find them, too.
  session.inputs[#session.inputs + 1] = { text = table.concat(saved, "\n") }
  local lines = { ("attached to %s: %s"):format(there.name, table.concat(said, ", ")) }
  local owner = there.owner and there:owner()
  if owner then
    lines[#lines + 1] = ("it goes when the run that made it ends (process %d)"):format(owner)
  end
  if session.database then
    lines[#lines + 1] = (":sql works in database %s; :db takes another"):format(session.database)
  end
  return table.concat(lines, "\n")
end

--- The same for the command line: what is not there is a wrong argument, what does not run a matter of the machine.
function attach.from_command_line(session, name)
  local ok, said = pcall(attach.to, session, name)
  if ok then
    return said
  end
  local e = internal.as_error(said)
  if e.kind == "arg" then
    e.code = "usage"
  elseif e.kind == "state" then
    e.kind = "environment"
  end
  e.trace = {}
  error(e, 0)
end

--- What is said on leaving.
function attach.farewell(session)
  for _, there in ipairs(session.attached) do
    local gone = there.handle and there.owner and not host.lab_exists(there.handle)
    host.narrate(gone and ("%s is gone"):format(there.name) or ("%s stays as it is"):format(there.name))
  end
end

return attach
