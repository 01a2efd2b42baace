--- Recovery targets: reading what the user asked for, choosing the backup, finding in the WAL where
--- recovery to it will stop.

local host, internal = ...
local args = require "rpitr.core.args"
local backup = require "rpitr.pitr.backup"

local target = {}

local KINDS = { "time", "xid", "lsn", "name", "immediate", "latest" }

local OPTIONS = {
  time = "any?",
  xid = "any?",
  lsn = "any?",
  name = "any?",
  immediate = "any?",
  latest = "any?",
  inclusive = { "boolean", true },
  timeline = "integer?",
}

local function refuse(message, hint)
  internal.raise({ kind = "arg", code = "target", message = message, hint = hint }, 3)
end

local read = {}

function read.time(value)
  return args.check("recovery target", "time", value, "time")
end

-- PostgreSQL reads garbage as transaction 0 and a leading zero as octal; here only digits count.
function read.xid(value)
  local number = math.type(value) == "integer" and value or nil
  if type(value) == "string" and value:match "^[1-9]%d*$" then
    number = math.tointeger(tonumber(value))
  end
  if not number or number < 3 then
    refuse(
      ("%q is not a transaction id"):format(tostring(value)),
      "a transaction id is a decimal number from 3 on, without leading zeros"
    )
  end
  return number
end

function read.lsn(value)
  return args.check("recovery target", "lsn", value, "lsn")
end

function read.name(value)
  local name = args.check("recovery target", "name", value, "string")
  if name == "" or #name > 63 then
    refuse "a restore point's name has 1 to 63 bytes"
  end
  return name
end

function read.immediate()
  return true
end

read.latest = read.immediate

-- What is read as a time because it is nothing else, and is a word.
local function refuse_misspelt(text)
  local near = internal.suggest(text, { latest = true, immediate = true })
  if near then
    refuse(("%q is no recovery target"):format(text), ("did you mean %s?"):format(near))
  end
end

-- Reads a target; see `pitr.target`.
function target.parse(wanted)
  if type(wanted) == "string" then
    local kind, value = wanted:match "^(%a+):(.+)$"
    if wanted == "latest" or wanted == "immediate" then
      wanted = { [wanted] = true }
    elseif kind == "before" then
      wanted = { lsn = value, inclusive = false }
    elseif kind and read[kind] then
      wanted = { [kind] = value }
    elseif wanted:match "^%x+/%x+$" then
      wanted = { lsn = wanted }
    else
      refuse_misspelt(wanted)
      wanted = { time = wanted }
    end
  elseif host.is_lsn(wanted) then
    wanted = { lsn = wanted }
  elseif host.is_time(wanted) then
    wanted = { time = wanted }
  end
  args.check("recovery target", "to", wanted, "table")
  local given = {}
  for _, kind in ipairs(KINDS) do
    if wanted[kind] then
      given[#given + 1] = kind
    end
  end
  local opts = args.options("recovery target", wanted, OPTIONS)
  if #given ~= 1 then
    refuse(
      #given == 0 and "a recovery target needs one of " .. table.concat(KINDS, ", ")
        or "a recovery target takes only one of " .. table.concat(given, ", ")
    )
  end
  local kind = given[1]
  return { kind = kind, value = read[kind](opts[kind]), inclusive = opts.inclusive, timeline = opts.timeline }
end

-- The target in words.
function target.describe(wanted)
  if wanted.kind == "immediate" or wanted.kind == "latest" then
    return wanted.kind
  end
  local side = wanted.kind == "name" and "" or (wanted.inclusive and " (inclusive)" or " (exclusive)")
  return wanted.kind .. " " .. tostring(wanted.value) .. side
end

-- The timeline to follow, always as a number: PostgreSQL's default `latest` would follow the branch
-- an earlier restore left in the archive.
local function timeline_of(base, wanted)
  return wanted.timeline or base.timeline
end

-- The settings that make PostgreSQL stop there. "latest" is resolved to the last record the archive
-- holds: a recovery without a target takes any unreadable segment for the end of the WAL.
local function settings_of(wanted, stop, timeline)
  local settings = { recovery_target_timeline = timeline, recovery_target_inclusive = wanted.inclusive }
  if wanted.kind == "time" then
    settings.recovery_target_time = tostring(wanted.value)
  elseif wanted.kind == "xid" then
    settings.recovery_target_xid = wanted.value
  elseif wanted.kind == "lsn" then
    settings.recovery_target_lsn = tostring(wanted.value)
  elseif wanted.kind == "name" then
    settings.recovery_target_name = wanted.value
    settings.recovery_target_inclusive = nil
  elseif wanted.kind == "immediate" then
    settings.recovery_target = "immediate"
    settings.recovery_target_inclusive = nil
  else
    settings.recovery_target_lsn = tostring(stop.last_record)
    settings.recovery_target_inclusive = true
  end
  return settings
end

-- Where recovery from `base` to the target stops: { stop, timeline, settings }. `source` ({ folder, tail }): where the WAL
-- is; see `rpitr.pitr.source`. Errors of kind "wal" name the object: not_reached, before_consistent, damage.
function target.resolve(source, base, wanted)
  local timeline = timeline_of(base, wanted)
  local stop = host.wal_stop_point {
    archive = source.folder,
    tail = source.tail,
    timeline = timeline,
    kind = wanted.kind,
    value = type(wanted.value) ~= "boolean" and wanted.value or nil,
    inclusive = wanted.inclusive,
    start = base.start_lsn,
    consistent = base.stop_lsn,
    backup_stop_time = base.stop_time,
  }
  return { stop = stop, timeline = timeline, settings = settings_of(wanted, stop, timeline) }
end

local function no_backup(pg, entries, wanted, first_refusal)
  if #entries == 0 then
    internal.raise({
      kind = "archive",
      code = "no_backup",
      message = pg.name .. " has no base backup",
      hint = "take one with pitr.backup(pg)",
    }, 3)
  end
  internal.raise({
    kind = "archive",
    code = "no_backup_fits",
    message = ("no base backup of %s can be recovered to %s"):format(pg.name, target.describe(wanted)),
    detail = ("the oldest backup, %s, ends at %s (%s); targets before that are out of reach"):format(
      entries[1].label,
      tostring(entries[1].stop_lsn),
      tostring(entries[1].stop_time)
    ),
    hint = "choose a later target",
    cause = first_refusal,
  }, 3)
end

local function check_label(pg, entries, label)
  local labels = {}
  for _, entry in ipairs(entries) do
    labels[entry.label] = true
  end
  if label and not labels[label] then
    local near = internal.suggest(label, labels)
    internal.raise({
      kind = "arg",
      message = ("%s has no backup labelled %q"):format(pg.name, label),
      hint = near and ("did you mean %q?"):format(near) or "pitr.catalog(pg) lists them",
    }, 3)
  end
end

-- The newest backup that ends before the target, and where recovery from it stops. A backup fits by
-- its stop position; what makes a target unreachable from every backup is raised as it is. With `label`, that
-- backup and no other.
function target.choose(pg, source, wanted, label)
  local entries = backup.catalog(pg)
  check_label(pg, entries, label)
  local refusal
  for i = #entries, 1, -1 do
    local entry = entries[i]
    if label == nil or entry.label == label then
      local ok, resolved = xpcall(target.resolve, internal.as_error, source, entry, wanted)
      if ok then
        return entry, resolved
      end
      if resolved.code == "not_reached" then
        resolved.message = ("%s, from backup %s: %s"):format(target.describe(wanted), entry.label, resolved.message)
      end
      if
        resolved.code ~= "before_consistent"
        and (wanted.kind ~= "xid" and wanted.kind ~= "name" or resolved.code ~= "not_reached")
      then
        error(resolved, 0)
      end
      refusal = resolved
    end
  end
  if refusal and refusal.code == "not_reached" then
    error(refusal, 0)
  end
  no_backup(pg, entries, wanted, refusal)
end

return target
