--- The proof after a restore: what was asked, what was reached, what comes next. "It came up" is not
--- "it stopped where it was asked".

local host, internal = ...
local json = require "rpitr.json"

local proof = {}

local READ_BACK = {
  "recovery_target",
  "recovery_target_time",
  "recovery_target_xid",
  "recovery_target_lsn",
  "recovery_target_name",
  "recovery_target_inclusive",
  "recovery_target_timeline",
}

local function fail(message, detail)
  internal.raise({
    kind = "verify",
    code = "recovery_proof",
    message = message,
    detail = detail,
    hint = "do not use this server as a replacement; the damaged original is untouched",
  }, 3)
end

-- What the server runs with, against what was asked for: a stale line in a restored configuration
-- file silently beats the one that was meant.
local function read_settings_back(node, plan)
  local list = table.concat(READ_BACK, "','")
  local rows = node:query("SELECT name, setting, sourcefile FROM pg_settings WHERE name IN ('" .. list .. "')")
  local shown = {}
  for _, row in ipairs(rows) do
    shown[row.name] = row.setting
  end
  for _, name in ipairs(READ_BACK) do
    local asked = plan.settings[name]
    local given = asked ~= nil and (asked == true and "on" or asked == false and "off" or tostring(asked)) or nil
    local default = name == "recovery_target_inclusive" and "on" or ""
    if name == "recovery_target_time" and given then
      given = shown[name] ~= "" and tostring(host.time_parse(shown[name])) == given and shown[name] or given
    end
    if shown[name] ~= (given or default) and not (given == nil and name == "recovery_target_timeline") then
      fail(
        ("%s runs with %s = '%s', asked was '%s'"):format(node.name, name, tostring(shown[name]), given or default),
        "another configuration file overrides what rpitr wrote"
      )
    end
  end
end

-- Where the server really stopped: the switchpoint in the new timeline's history after a promotion,
-- the replay position while it is paused, the end of replay in its log after a shutdown.
local function reached_lsn(node, plan)
  if plan.action == "promote" then
    local timeline = node:timeline()
    if timeline <= plan.timeline then
      fail(("%s is still on timeline %d"):format(node.name, timeline))
    end
    local history = host.node_read(node.handle, ("%s/pg_wal/%08X.history"):format(node.data, timeline))
    local lsn, parent, reason = host.history_switchpoint(timeline, history)
    return lsn, { timeline = timeline, parent = parent, reason = reason }
  elseif plan.action == "pause" then
    return node:value "SELECT pg_last_wal_replay_lsn()", {}
  end
  local control = host.node_control_data(node.handle)
  return control.min_recovery_end, {}
end

-- Builds the proof, or raises an error of kind "verify" that says what differs.
function proof.of(node, plan)
  local outcome = host.node_recovery_outcome(node.handle, node.log_offset)
  if plan.action ~= "shutdown" then
    read_settings_back(node, plan)
  end
  local reached, branch = reached_lsn(node, plan)
  local expected = plan.stop.switchpoint
  local exact = reached == expected
  -- After a shutdown at the target the control file knows a lower bound only.
  if plan.action == "shutdown" then
    exact = reached <= expected and outcome.stopped ~= nil
  end
  if not exact then
    fail(
      ("recovery to %s stopped at %s, the WAL says it must stop at %s"):format(
        plan.asked,
        tostring(reached),
        tostring(expected)
      ),
      plan.stop.why
    )
  end
  return {
    asked = plan.asked,
    backup = plan.backup.label,
    reached_lsn = plan.action == "shutdown" and expected or reached,
    expected_lsn = expected,
    last_commit = plan.stop.last_commit,
    next_commit = plan.stop.next_commit,
    why = plan.stop.why,
    server_says = outcome.stopped,
    timeline = branch.timeline or plan.timeline,
    parent_timeline = plan.timeline,
    restored_files = outcome.restored_files,
  }
end

local function commit_text(commit)
  if not commit then
    return "none"
  end
  return ("transaction %d at %s, %s"):format(commit.xid, tostring(commit.lsn), tostring(commit.time))
end

-- The proof in lines for a person; see `pitr.describe`.
function proof.describe(node)
  local p = node.proof
  return table.concat({
    "asked:   " .. p.asked,
    ("reached: %s, from backup %s, timeline %d -> %d"):format(
      tostring(p.reached_lsn),
      p.backup,
      p.parent_timeline,
      p.timeline
    ),
    "last replayed commit: " .. commit_text(p.last_commit),
    "next commit, not replayed: " .. commit_text(p.next_commit),
    "why:     " .. p.why .. (p.server_says and ("; the server says: stopped " .. p.server_says) or ""),
  }, "\n")
end

-- What the archive refused to hand out during the node's recovery: { name, code, reason }, or nil.
function proof.refused_fetch(node)
  local path = node.info.folder .. "/fetch.log"
  if not host.fs_exists(host.local_view(path)) then
    return nil
  end
  local refused
  for line in host.fs_read(path):gmatch "[^\n]+" do
    local ok, entry = pcall(json.decode, line)
    if ok and entry.code ~= json.null then
      refused = { name = entry.name, code = entry.code, reason = entry.reason }
    end
  end
  return refused
end

return proof
