--- Finding what went wrong in the WAL, choosing the one that is meant, and proving that the choice was right. The public
--- names are `pitr.incidents`, `pitr.incident_table`, `pitr.choose`, `pitr.check_choice`, `pitr.roll_back_prepared`.

local host, internal = ...
local args = require "rpitr.core.args"
local backup = require "rpitr.pitr.backup"
local prompt = require "rpitr.prompt"
local wal = require "rpitr.wal"

local incident = {}

-- Nothing stored is lost with these; beside something that was, they are not what is looked for.
local MINOR = { drop_index = true, drop_other = true, drop_sequence = true, drop_matview = true }

-- How many times as many rows as the next the largest must have to be the clear one.
local CLEAR = 10

local function rows_of(found)
  return found.rows.deleted + found.rows.updated
end

-- Incidents by weight: DDL that destroyed stored rows, then rows deleted or updated, then the minor ones.
local function weight(found)
  if found.kind == "delete" or found.kind == "update" then
    return rows_of(found)
  end
  return MINOR[found.kind] and 0 or math.huge
end

-- One entry a transaction: the weightiest of what it did.
local function by_transaction(list)
  local known, merged = {}, {}
  for _, found in ipairs(list) do
    local at = known[found.xid]
    if not at then
      merged[#merged + 1] = found
      known[found.xid] = #merged
    elseif weight(found) > weight(merged[at]) then
      merged[at] = found
    end
  end
  return merged
end

-- Names of tables that were last touched before the archive begins are in the backup.
local function names_from(entry)
  local folder = entry.folder
  return host.options.runtime == "local" and host.fs_exists(folder .. "/PG_VERSION") and folder or nil
end

-- Looks for it; see `pitr.incidents`.
function incident.find(pg, options)
  local opts = args.options("pitr.incidents", options, {
    kind = "string?",
    table = "string?",
    min_rows = "integer?",
    from = "any?",
    to = "any?",
  })
  local oldest = backup.catalog(pg)[1]
  if not oldest then
    internal.raise({
      kind = "archive",
      code = "no_backup",
      message = pg.name .. " has no base backup",
      hint = "take one with pitr.backup(pg)",
    }, 2)
  end
  local archive <close> = wal.open(pg, { timeline = oldest.timeline })
  opts.base, opts.from = names_from(oldest), opts.from or oldest.stop_lsn
  local found = archive:find(opts)
  if not found[1] and not opts.min_rows then
    -- Nothing large: then it was something small.
    opts.min_rows, opts.kind = 1, opts.kind or "delete"
    found = archive:find(opts)
  end
  return by_transaction(found)
end

-- Columns and rows for `d:table`; see `pitr.incident_table`.
function incident.table(list)
  local rows = {}
  for i, found in ipairs(list) do
    local changed = rows_of(found)
    rows[i] = {
      i,
      tostring(found.time),
      found.kind,
      table.concat(found.names, ", "),
      changed > 0 and changed or "",
      found.xid,
      tostring(found.target.lsn),
      found.commits_lost,
    }
  end
  return { "", "time", "kind", "what", "rows", "transaction", "stop before", "gives up" }, rows
end

local function in_words(found)
  return ("%s of %s, transaction %d, %s"):format(found.kind, table.concat(found.names, ", "), found.xid, found.time)
end

-- The one that stands out, or nil.
function incident.clear(list)
  local best, second = nil, nil
  for _, found in ipairs(list) do
    if not best or weight(found) > weight(best) then
      best, second = found, best
    elseif not second or weight(found) > weight(second) then
      second = found
    end
  end
  if best and (not second or (weight(best) > weight(second) and weight(best) >= CLEAR * weight(second))) then
    return best
  end
end

local function undecided(list)
  local lines = {}
  for i, found in ipairs(list) do
    if i > 10 then
      lines[i] = ("... and %d more"):format(#list - 10)
      break
    end
    lines[i] = ("before:%s  %s"):format(tostring(found.target.lsn), in_words(found))
  end
  internal.raise({
    kind = "state",
    code = "ambiguous_incident",
    message = ("%d transactions destroyed data, and none stands out"):format(#list),
    detail = table.concat(lines, "\n"),
    hint = "choose one: --to before:LSN, with an LSN from this list",
  }, 3)
end

-- Chooses; see `pitr.choose`.
function incident.choose(list)
  args.check("pitr.choose", "incidents", list, "table")
  if not list[1] then
    internal.raise({
      kind = "state",
      code = "no_incident",
      message = "no transaction since the base backup destroyed data",
      hint = "name the target yourself: --to with a time, lsn:, xid:, name: or before:LSN",
    }, 2)
  end
  local clear = incident.clear(list)
  if not host.options.interactive or host.options.yes or not list[2] then
    return clear or undecided(list)
  end
  local default
  for i, found in ipairs(list) do
    default = found == clear and tostring(i) or default
  end
  while true do
    local answer = prompt.line("Which one shall be undone", { default = default })
    local chosen = list[math.tointeger(tonumber(answer))]
    if chosen then
      return chosen
    end
    host.print(("answer with a number from 1 to %d"):format(#list))
  end
end

-- Proves the choice; see `pitr.check_choice`.
function incident.check(node, found)
  local p = node.proof
  local checks = {}
  local function check(name, held, detail)
    checks[#checks + 1] = { name = name, held = held, detail = detail }
  end
  local said = "before WAL location " .. tostring(found.target.lsn)
  local heard = tostring(p.server_says):gsub('"', "")
  check("the server's log says that it stopped " .. said, heard == said, "it says: stopped " .. heard)
  -- A database is gone before the commit that says so, and others may commit in between.
  local next_xid = p.next_commit and p.next_commit.xid
  check(
    "the first commit that was not replayed is the one to undo",
    found.kind == "drop_database" or next_xid == found.xid,
    ("it is transaction %s, not %d"):format(tostring(next_xid), found.xid)
  )
  local last, kept = p.last_commit and p.last_commit.xid, found.last_kept and found.last_kept.xid
  -- What was committed before the backup began is in it, and was not replayed.
  local in_backup = not last and kept and found.last_kept.lsn < node.plan.backup.start_lsn
  check(
    "the last replayed commit is the one before it",
    in_backup or last == kept,
    ("it is transaction %s, not %s"):format(tostring(last), tostring(kept))
  )
  return checks
end

-- Rolls back; see `pitr.roll_back_prepared`.
function incident.roll_back_prepared(node, found)
  local row = node:admin():row(
    "SELECT gid, database FROM pg_prepared_xacts WHERE transaction::text::bigint = $1",
    found.xid & 0xFFFFFFFF
  )
  if not row then
    return nil
  end
  local db <close> = node:connect { dbname = row.database }
  db:exec("ROLLBACK PREPARED '" .. row.gid:gsub("'", "''") .. "'")
  return row.gid
end

return incident
