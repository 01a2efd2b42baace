-- The servers a session knows: what they are called, which one `:sql` means, what the prompt says.

local host, internal = ...
local report = require "rpitr.report"

local nodes = {}

local PROMPT_LIMIT = 0.2

local function is_node(value)
  local meta = type(value) == "table" and getmetatable(value)
  return type(meta) == "table" and rawget(meta, "__name") == "rpitr.Node"
end

nodes.is_node = is_node

--- Every node the session can name, by name: attached ones, the lab's, its own variables'.
function nodes.all(session)
  local found = {}
  for _, there in ipairs(session.attached) do
    for name, node in pairs(there.nodes) do
      found[name] = node
    end
  end
  for name, node in pairs(internal.lab_nodes and internal.lab_nodes() or {}) do
    found[name] = node
  end
  for name, value in pairs(session.env) do
    -- A variable that stands for a node which another lab has under that name, too.
    if is_node(value) and not (found[value.name] and found[value.name] ~= value) then
      found[value.name or name] = value
    elseif is_node(value) then
      found[name] = value
    end
  end
  return found
end

--- The node with that name; without one the primary, or the first.
function nodes.find(session, name)
  local all = nodes.all(session)
  if name and name ~= "" then
    local variable = rawget(session.env, name)
    if not all[name] and is_node(variable) then
      return variable
    elseif not all[name] then
      local near = internal.suggest(name, all)
      internal.raise({
        kind = "arg",
        message = ("there is no node named %q"):format(name),
        hint = near and ("did you mean %s?"):format(near) or "lab.postgres {} starts one",
        trace = {},
      }, 2)
    end
    return all[name]
  end
  local names = {}
  for known in pairs(all) do
    names[#names + 1] = known
  end
  table.sort(names)
  for _, known in ipairs(names) do
    if all[known].role == "primary" then
      return all[known]
    end
  end
  if not names[1] then
    internal.raise(
      { kind = "state", message = "there is no server yet", hint = "lab.postgres {} starts one", trace = {} },
      2
    )
  end
  return all[names[1]]
end

--- What the command line calls the lab of a node.
function nodes.lab_of(node)
  return node.environment and node.environment.name or node.lab.info.id
end

--- The session's connection to a node: in the database that `:db` has chosen.
function nodes.connection(session, node)
  if not session.database then
    return node:admin()
  end
  local open = session.connections[node]
  if not open or open.dbname ~= session.database or open.db:is_closed() then
    if open then
      pcall(open.db.close, open.db)
    end
    open = {
      dbname = session.database,
      db = node:connect { dbname = session.database, application_name = "rpitr repl" },
    }
    session.connections[node] = open
  end
  return open.db
end

-- Timeline, and how many bytes the slowest standby has still to replay; of a standby, what it has itself.
local STATE = [[
  SELECT CASE WHEN pg_is_in_recovery()
           THEN (SELECT greatest(c.timeline_id, r.min_recovery_end_timeline)
                 FROM pg_control_checkpoint() c, pg_control_recovery() r)
           ELSE ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int END AS timeline,
         CASE WHEN pg_is_in_recovery()
           THEN pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
           ELSE (SELECT max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)) FROM pg_stat_replication
                 WHERE replay_lsn IS NOT NULL AND application_name <> 'pg_basebackup') END::bigint AS lag]]

local TABLES = [[
  SELECT CASE n.nspname WHEN 'public' THEN '' ELSE n.nspname || '.' END || c.relname AS name
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p', 'v', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
  ORDER BY 1 LIMIT 500]]

-- Looked at before every prompt, so it must be quick or not at all.
local function look(session, node)
  local scope = host.scope_enter(PROMPT_LIMIT)
  local ok, state = pcall(function()
    local db = nodes.connection(session, node)
    local row = db:row(STATE)
    local names = {}
    for i, found in ipairs(db:query(TABLES)) do
      names[i] = found.name
    end
    session.tables = names
    return row
  end)
  local status = "not answering"
  if not ok then
    local gone = type(state) == "table" and state.code == "lab_gone"
    local known, word = pcall(node.status, node)
    if gone or known and word ~= "running" and word ~= "standby" then
      status = gone and "gone" or word
    end
  end
  host.scope_leave(scope)
  return ok and state or nil, status
end

--- `rpitr> `, or with a lab what one wants to know of it at a glance.
function nodes.prompt(session)
  if next(nodes.all(session)) == nil then
    return (session.label or "rpitr") .. "> "
  end
  local ok, node = pcall(nodes.find, session)
  if not ok then
    return "rpitr> "
  end
  local state, status = look(session, node)
  local parts = { nodes.lab_of(node), node.name }
  if state then
    parts[#parts + 1] = "tl " .. tostring(state.timeline)
    if state.lag then
      parts[#parts + 1] = "lag " .. report.bytes(math.max(0, state.lag))
    end
  else
    parts[#parts + 1] = status
  end
  return table.concat(parts, " ") .. "> "
end

return nodes
