--- Base backups of a node and their catalogue; `pitr.backup` and `pitr.catalog` are the public names.

local host, internal = ...
local args = require "rpitr.core.args"
local json = require "rpitr.json"

local backup = {}

local ENTRY = "rpitr-backup.json"

local function folder_of(pg)
  return pg.lab.info.folder .. "/backup"
end

local function entry_from(folder, stored)
  local entry = host.backup_read(folder)
  entry.folder = folder
  entry.stop_lsn = entry.stop_lsn or host.lsn_parse(stored.stop_lsn)
  entry.label = stored.label
  entry.node = stored.node
  entry.major = stored.major
  entry.system_id = stored.system_id
  entry.start_time = host.time_parse(stored.start_time)
  entry.stop_time = host.time_parse(stored.stop_time)
  entry.archive = stored.archive
  return entry
end

local function default_label()
  return "base-" .. tostring(host.time_now()):sub(1, 19):gsub("[: ]", "-")
end

-- A label becomes the name of a folder.
local function check_label(label)
  if not label:match "^[%w_][%w_.-]*$" or #label > 100 or label:match "%.partial$" then
    internal.raise({
      kind = "arg",
      message = ("%q cannot be the label of a backup"):format(label),
      hint = "use letters, digits, -, _ and ., a letter or digit first",
    }, 3)
  end
end

-- Reads every file of a backup against its manifest. PostgreSQL itself notices a page that changed on disk only
-- when somebody reads it, long after a restore that looked fine.
function backup.verify(pg, entry)
  local checked = pg:exec_in_lab { "pg_verifybackup", "--quiet", "--no-parse-wal", entry.folder, check = false }
  if checked.code ~= 0 then
    internal.raise({
      kind = "archive",
      code = "backup_damaged",
      message = ("backup %s is damaged and was not restored"):format(entry.label),
      detail = checked.stderr:gsub("%s+$", ""),
      hint = 'choose another with backup = "LABEL"',
    }, 3)
  end
end

-- Takes a backup; see `pitr.backup`.
function backup.take(pg, options)
  local opts = args.options("pitr.backup", options, {
    label = { "string", default_label() },
    verify = { "boolean", true },
    max_rate = "size?",
  })
  check_label(opts.label)
  if not pg.archive and not pg.receivers then
    internal.raise({
      kind = "state",
      message = ("%s does not archive its WAL; a backup of it could not be recovered to any moment"):format(pg.name),
    }, 2)
  end
  local folder = folder_of(pg) .. "/" .. opts.label
  if host.fs_exists(folder) then
    internal.raise({ kind = "arg", message = ("there is already a backup labelled %q"):format(opts.label) }, 2)
  end
  host.lab_mkdir(pg.lab.handle, folder_of(pg))
  local start_time = pg:value "SELECT clock_timestamp()"
  local partial = folder .. ".partial"
  local command = {
    "pg_basebackup",
    "--dbname=" .. pg:link(),
    "--pgdata=" .. partial,
    "--checkpoint=fast",
    "--wal-method=stream",
    "--label=" .. opts.label,
    "--no-sync",
  }
  if opts.max_rate then
    command[#command + 1] = ("--max-rate=%dk"):format(opts.max_rate // 1024)
  end
  pg:exec_in_lab(command)
  local stop_time = pg:value "SELECT clock_timestamp()"
  if opts.verify then
    pg:exec_in_lab { "pg_verifybackup", "--quiet", partial }
  end
  local stored = {
    schema = 1,
    label = opts.label,
    node = pg.name,
    major = pg.major,
    system_id = pg:value "SELECT system_identifier::text FROM pg_control_system()",
    start_time = tostring(start_time),
    stop_time = tostring(stop_time),
    archive = pg.archive,
    verified = opts.verify,
  }
  local entry = host.backup_read(partial)
  stored.stop_lsn = tostring(entry.stop_lsn)
  -- Beside the backup, not in it: the manifest lists every file inside.
  host.node_write(pg.handle, folder .. "." .. ENTRY, json.encode(stored, { pretty = true }) .. "\n")
  -- Its final name is given last: a backup with that name is complete.
  host.node_rename(pg.handle, partial, folder)
  return entry_from(folder, stored)
end

-- All complete backups of a node; see `pitr.catalog`.
function backup.catalog(pg)
  local root = folder_of(pg)
  local entries = {}
  if not host.fs_exists(host.local_view(root)) then
    return entries
  end
  for _, name in ipairs(host.fs_list(root)) do
    local label = name:match("^(.*)%." .. ENTRY:gsub("%p", "%%%0") .. "$")
    local folder = label and root .. "/" .. label
    if folder and host.fs_exists(folder) then
      local entry = entry_from(folder, json.decode(host.fs_read(host.local_view(root .. "/" .. name))))
      if entry.archive == pg.archive then
        entries[#entries + 1] = entry
      end
    end
  end
  table.sort(entries, function(a, b)
    return a.stop_lsn < b.stop_lsn
  end)
  return entries
end

return backup
