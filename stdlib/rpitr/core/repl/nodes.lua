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
  for name, node in pairs(internal.lab_nodes and internal.lab_nodes() or {}) do
    found[name] = node
  end
  for name, value in pairs(session.env) do
    if is_node(value) then
      found[value.name or name] = value
    end
  end
  return found
end

--- The node with that name; without one the primary, or the first.
function nodes.find(session, name)
  local all = nodes.all(session)
  if name and name ~= "" then
    if not all[name] then
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

-- Timeline, and how many bytes the slowest standby has still to replay.
local STATE = [[
  SELECT (SELECT timeline_id FROM pg_control_checkpoint()) AS timeline,
         (SELECT max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)) FROM pg_stat_replication
          WHERE replay_lsn IS NOT NULL AND application_name <> 'pg_basebackup')::bigint AS lag
  WHERE NOT pg_is_in_recovery()]]

local TABLES = [[
  SELECT CASE n.nspname WHEN 'public' THEN '' ELSE n.nspname || '.' END || c.relname AS name
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p', 'v', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
  ORDER BY 1 LIMIT 500]]

-- Looked at before every prompt, so it must be quick or not at all.
local function look(session, node)
  local scope = host.scope_enter(PROMPT_LIMIT)
  local ok, state = pcall(function()
    local row = node:admin():row(STATE)
    local names = {}
    for i, found in ipairs(node:query(TABLES)) do
      names[i] = found.name
    end
    session.tables = names
    return row
  end)
  host.scope_leave(scope)
  return ok and state or nil
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
  local state = look(session, node)
  local parts = { session.label or node.lab and node.lab.info and node.lab.info.id or "lab", node.name }
  if state then
    parts[#parts + 1] = "tl " .. tostring(state.timeline)
    if state.lag then
      parts[#parts + 1] = "lag " .. report.bytes(math.max(0, state.lag))
    end
  else
    parts[#parts + 1] = "not answering"
  end
  return table.concat(parts, " ") .. "> "
end

return nodes
