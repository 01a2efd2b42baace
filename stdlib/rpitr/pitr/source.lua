--- Where a restore takes its WAL from: a node's archive, a receiver, a snapshot, a folder.

local host, internal = ...
local archive = require "rpitr.archive"

local source = {}

-- { folder, tail }: the folder of complete segments, and the file that goes on where they end. `wal`: a receiver (a snapshot
-- of what it is receiving is taken now), a snapshot from `archive.snapshot`, the path of a folder, or nil for the
-- node's own archive.
function source.of(pg, wal)
  if type(wal) == "string" then
    return { folder = wal }
  elseif type(wal) == "table" and wal.need_receiver then
    wal:need_receiver "option wal"
    local tail = archive.snapshot(wal)
    return { folder = wal.data, tail = tail and tail.file }
  elseif type(wal) == "table" and wal.folder and wal.file then
    return { folder = wal.folder, tail = wal.file }
  elseif wal ~= nil then
    internal.raise({
      kind = "arg",
      message = "option wal must be a receiver, a snapshot or the path of a folder",
      hint = "archive.snapshot(receiver) makes a snapshot",
    }, 3)
  elseif not pg.archive then
    internal.raise({
      kind = "state",
      message = ("%s does not archive its WAL"):format(pg.name),
      hint = "say where the WAL is with the option wal, such as a receiver",
    }, 3)
  end
  return { folder = pg.archive }
end

-- The restore_command that fetches from it.
function source.fetch_command(from, node, system_id)
  local log = node.info.folder .. "/fetch.log"
  return host.archive_fetch_command(node.lab.handle, from.folder, log, system_id, from.tail)
end

return source
