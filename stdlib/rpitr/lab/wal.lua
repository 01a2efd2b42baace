--- What nodes do with their WAL: positions, archiving.

local host = ...
local args = require "rpitr.core.args"
local stopwatch = require "rpitr.core.stopwatch"
local timer = require "rpitr.timer"

-- The control file learns of a new timeline only with the checkpoint after a promotion; the name of
-- the segment that is being written knows it at once.
local TIMELINE = [[
SELECT CASE WHEN pg_is_in_recovery()
  THEN (SELECT greatest(c.timeline_id, r.min_recovery_end_timeline) FROM pg_control_checkpoint() c, pg_control_recovery() r)
  ELSE ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int END]]

return function(class)
  ---@class rpitr.Node
  local Node = class

  --- Archives WAL into `folder` with `rpitr archive-push`, from the next start on.
  ---@param folder string  of the lab; see `node:new_archive`
  function Node:archive_into(folder)
    self.archive = folder
    self:write_conf {
      archive_mode = "on",
      archive_command = host.archive_push_command(self.lab.handle, folder),
    }
    self:note()
  end

  --- A new, empty WAL archive folder in the lab. Every server that starts a new life gets its own:
  --- nothing ever archives into the archive it was restored from.
  ---@return string folder
  function Node:new_archive()
    local path = host.lab_new_archive(self.lab.handle, self.name)
    host.lab_mkdir(self.lab.handle, path)
    return path
  end

  --- The current WAL insert position, or the replay position of a server in recovery.
  ---
  --- ```lua
  --- local before = pg:lsn()
  --- pg:value "SELECT pg_current_xact_id()"
  --- print(pg:lsn() - before, "bytes of WAL")
  --- ```
  ---@return rpitr.Lsn
  ---@error sql
  function Node:lsn()
    return self:value [[SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                                    ELSE pg_current_wal_insert_lsn() END]]
  end

  --- The number PostgreSQL knows the cluster by, the same on all its standbys, as text.
  ---@return string
  ---@error sql
  function Node:system_id()
    return self:value "SELECT system_identifier::text FROM pg_control_system()"
  end

  --- The timeline the server writes or replays.
  ---@return integer
  ---@error sql
  function Node:timeline()
    return self:value(TIMELINE)
  end

  --- Ends the current WAL segment and waits until everything up to now is in the archive.
  ---
  --- ```lua
  --- local segment = pg:flush_archive()
  --- assert(#segment == 24)
  --- ```
  ---@param options? rpitr.lab.WaitOptions
  ---@return string segment  the name of the one that was ended
  ---@error timeout, sql, arg
  function Node:flush_archive(options)
    local opts = args.options("node:flush_archive", options, { timeout = { "duration", 60 } })
    -- At the start of a segment there is nothing to switch, and since 17 the position names the segment that begins there.
    local before = self.major >= 14 and " - 1" or ""
    local name = self:value(("SELECT pg_walfile_name(pg_switch_wal()%s)"):format(before))
    self:wait_archived(name, opts)
    return name
  end

  --- Waits until the archiver has pushed a segment.
  ---@param name string  of the segment
  ---@param options? rpitr.lab.WaitOptions
  ---@error timeout, arg
  function Node:wait_archived(name, options)
    local opts = args.options("node:wait_archived", options, { timeout = { "duration", 60 } })
    stopwatch.run("archive", timer.eventually, function()
      return host.archive_has(self.archive, name)
    end, {
      timeout = opts.timeout,
      every = 0.003,
      describe = ("WAL segment %s in the archive of %s"):format(name, self.name),
    })
  end
end
