--- Streaming replication between nodes, and a restored server taking over.

local host, internal = ...
local args = require "rpitr.core.args"
local timer = require "rpitr.timer"

-- The segment a standby replays, and the size of all.
local REPLAYED = [[
SELECT div(pg_last_wal_replay_lsn() - '0/0', setting::bigint)::bigint AS segment, setting::bigint AS size
FROM pg_settings WHERE name = 'wal_segment_size']]

-- What pg_rewind says it did, in its own words.
local function read_rewind(result)
  local said = result.stderr .. result.stdout
  local copied, total = said:match "need to copy (%d+) MB %(total source directory size is (%d+) MB%)"
  local diverged = said:match "servers diverged at WAL location (%x+/%x+)"
  return {
    needed = not said:find("no rewind required", 1, true),
    copied = (tonumber(copied) or 0) * 1024 ^ 2,
    total = (tonumber(total) or 0) * 1024 ^ 2,
    diverged_at = diverged and host.lsn_parse(diverged) or nil,
    seconds = result.seconds,
  }
end

local FOLLOW = { archive = { "boolean", false }, conf = "table?" }

return function(class)
  ---@class rpitr.Node
  local Node = class

  -- How this node reaches `primary`, and the slot that keeps its WAL there.
  local function link_to(self, primary)
    local slot = self.name:gsub("[^%w]", "_"):lower()
    primary:admin():exec(
      "SELECT pg_create_physical_replication_slot($1) WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1)",
      slot
    )
    return primary:link_for(self), slot
  end

  -- Starts this node, whose files come from `primary`, as its standby.
  local function join(self, primary, link, slot, opts)
    host.node_scrub(self.handle)
    self.settings = {}
    for name, value in pairs(primary.settings or {}) do
      self.settings[name] = value
    end
    self:write_conf {
      archive_mode = "off",
      archive_command = "",
      restore_command = "",
      synchronous_standby_names = "",
      primary_conninfo = link .. " application_name=" .. self.name,
      primary_slot_name = slot,
    }
    if opts.archive then
      self:archive_into(self:new_archive())
    end
    if primary.proxied then
      -- Five seconds, the default, are long for a connection that a fault has torn down.
      self:write_conf { wal_retrieve_retry_interval = "500ms" }
    end
    self:write_conf(opts.conf or {})
    host.node_write(self.handle, self.data .. "/standby.signal", "")
    self.role, self.primary, self.slot = "standby", primary, slot
    self:note()
    self:start()
    primary:wait_streaming(self)
  end

  ---@class rpitr.lab.FollowOptions
  ---@field archive? boolean  (default false) once promoted, archive into an archive of its own. It must be on before the promotion, or the new timeline's history is in no archive
  ---@field conf? table<string, string|number|boolean>  server parameters

  --- Makes this node a streaming standby of `primary`: wipes its own data directory, takes a base
  --- backup, follows with its own slot.
  ---@param primary rpitr.Node
  ---@param options? rpitr.lab.FollowOptions
  ---@return rpitr.Node node  itself
  ---@error postgres, timeout, arg
  function Node:follow(primary, options)
    local opts = args.options("node:follow", options, FOLLOW)
    self:wipe()
    local link, slot = link_to(self, primary)
    self:exec {
      "pg_basebackup",
      "--dbname=" .. link,
      "--pgdata=" .. self.data,
      "--checkpoint=fast",
      "--wal-method=stream",
      "--slot=" .. slot,
      "--no-sync",
      "--no-manifest",
    }
    join(self, primary, link, slot, opts)
    return self
  end

  ---@class rpitr.lab.Rewind
  ---@field needed boolean  whether there was anything to take back
  ---@field copied number  bytes that were copied, to the megabyte
  ---@field total number  bytes a base backup would have copied
  ---@field diverged_at? rpitr.Lsn  where the two parted
  ---@field seconds number

  --- Makes this node, a former primary that is stopped or dead, a standby of `primary`, which was promoted
  --- in its place: pg_rewind takes back what it wrote after they parted, and copies only the blocks that
  --- changed since. **What only this node had is gone then**; read it first.
  ---
  --- ```lua
  --- local old <close> = lab.postgres { name = "example_old" }
  --- local standby <close> = lab.standby(old, { name = "example_new" })
  --- old:stop()
  --- standby:promote()
  --- print(old:rewind_from(standby).copied, "bytes copied")
  --- ```
  ---@param primary rpitr.Node
  ---@param options? rpitr.lab.FollowOptions
  ---@return rpitr.lab.Rewind
  ---@error postgres  pg_rewind, with what it said
  ---@error timeout, arg
  function Node:rewind_from(primary, options)
    local opts = args.options("node:rewind_from", options, FOLLOW)
    self:forget_admin()
    -- Until its first checkpoint the control file of a promoted server names the timeline it came from.
    primary:checkpoint()
    local link, slot = link_to(self, primary)
    local done = read_rewind(self:exec {
      "pg_rewind",
      "--target-pgdata=" .. self.data,
      "--source-server=" .. link .. " dbname=postgres",
      "--progress",
      "--no-sync",
    })
    join(self, primary, link, slot, opts)
    return done
  end

  --- Gives this standby the primary's archive to read, too: what streaming did not bring before the primary was
  --- lost is fetched from there, now and before a promotion. Restarts it.
  ---@param primary rpitr.Node
  ---@error postgres, timeout
  function Node:restore_from(primary)
    local log, system = self.info.folder .. "/fetch.log", self:system_id()
    self:stop()
    self:write_conf {
      restore_command = host.archive_fetch_command(self.lab.handle, primary.archive, log, system),
    }
    self:start()
  end

  --- Copies the WAL that lies on the disk of `primary`, which is dead, and that this standby may lack: its last
  --- segments are in no archive yet. Restarts it.
  ---@param primary rpitr.Node
  ---@return string[] segments  their names
  ---@error state  the primary runs
  function Node:take_wal_of(primary)
    local status = primary:status()
    if status ~= "crashed" and status ~= "stopped" then
      internal.raise({
        kind = "state",
        message = ("%s is %s; its WAL is only copied from its disk when it is dead"):format(primary.name, status),
        hint = "while it runs, a standby streams from it",
      }, 2)
    end
    local at = self:admin():row(REPLAYED)
    local per_file = 2 ^ 32 // at.size
    local first = ("%08X%08X%08X"):format(self:timeline(), at.segment // per_file, at.segment % per_file)
    self:stop()
    local taken = {}
    for _, path in ipairs(primary:data_files()) do
      local name = path:match "^pg_wal/(%x+)$"
      if name and #name == 24 and name >= first then
        host.node_write(
          self.handle,
          self.data .. "/" .. path,
          host.node_read(primary.handle, primary.data .. "/" .. path)
        )
        taken[#taken + 1] = name
      end
    end
    table.sort(taken)
    self:start()
    return taken
  end

  --- Makes this node wait for `standby` with every commit from now on.
  ---@param standby rpitr.Node
  ---@error timeout
  function Node:synchronize(standby)
    self:configure { synchronous_standby_names = ('FIRST 1 ("%s")'):format(standby.name) }
    self:wait_streaming(standby, { sync = true })
  end

  ---@class rpitr.lab.StreamingOptions
  ---@field timeout? rpitr.Duration  (default "60s")
  ---@field sync? boolean  (default false) wait until it is synchronous, too

  --- Waits until `standby` streams from this node.
  ---@param standby rpitr.Node
  ---@param options? rpitr.lab.StreamingOptions
  ---@error timeout, arg
  function Node:wait_streaming(standby, options)
    local opts =
      args.options("node:wait_streaming", options, { timeout = { "duration", 60 }, sync = { "boolean", false } })
    timer.eventually(function()
      local row =
        self:admin():row("SELECT state, sync_state FROM pg_stat_replication WHERE application_name = $1", standby.name)
      return row and row.state == "streaming" and (not opts.sync or row.sync_state ~= "async")
    end, { timeout = opts.timeout, every = 0.01, describe = standby.name .. " streaming from " .. self.name })
  end

  --- Waits until the standby has replayed everything this node has written so far.
  ---
  --- ```lua
  --- local standby <close> = lab.standby(pg, { name = "example_replay" })
  --- pg:create_database "example_replayed"
  --- pg:wait_replayed(standby)
  --- assert(standby:value "SELECT true FROM pg_database WHERE datname = 'example_replayed'")
  --- ```
  ---@param standby rpitr.Node
  ---@param options? rpitr.lab.WaitOptions
  ---@error timeout, sql, arg
  function Node:wait_replayed(standby, options)
    local opts = args.options("node:wait_replayed", options, { timeout = { "duration", 60 } })
    -- Only flushed WAL is sent; behind it there is nothing that was committed.
    local goal = self:value "SELECT pg_current_wal_flush_lsn()"
    timer.eventually(function()
      return standby:lsn() >= goal
    end, { timeout = opts.timeout, every = 0.005, describe = ("%s at %s"):format(standby.name, tostring(goal)) })
  end

  ---@class rpitr.lab.Lag
  ---@field bytes integer  of WAL that it has not replayed
  ---@field seconds? number  since it last reported

  --- How far a standby is behind this node, by what it last reported. `replication.lag` tells more.
  ---@param standby rpitr.Node
  ---@return rpitr.lab.Lag
  ---@error state  it is not connected
  ---@error sql
  function Node:lag_of(standby)
    local row = self:admin():row(
      [[SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), coalesce(replay_lsn, '0/0'))::bigint AS bytes,
               extract(epoch FROM clock_timestamp() - reply_time)::float8 AS seconds
        FROM pg_stat_replication WHERE application_name = $1]],
      standby.name
    )
    if not row then
      internal.raise({ kind = "state", message = ("%s is not connected to %s"):format(standby.name, self.name) }, 2)
    end
    return row
  end

  --- Takes over the place of `other`: a restored server becomes what clients know. It archives into a new
  --- archive; `other` is stopped, keeps its data and becomes a sandbox. The primary of a standing environment
  --- stays where it is, with whatever else it serves: it takes the recovered shop's database into itself.
  ---
  --- ```lua
  --- local damaged = lab.postgres { name = "example_damaged" }
  --- pitr.backup(damaged, { label = "example-takeover" })
  --- damaged:flush_archive()
  --- local restored = pitr.restore(damaged, { to = "latest", name = "example_recovered" })
  --- restored:take_over(damaged)
  --- assert(restored.role == "primary")
  --- ```
  ---@param other rpitr.Node|rpitr.AttachedNode
  ---@return rpitr.Node node  the one that clients reach now
  ---@error postgres, timeout, state, verify
  function Node:take_over(other)
    if other.environment then
      return other:bring_back(self, require("rpitr.workload").database)
    end
    -- A fast stop would wait for a standby that is cut off to confirm the last WAL.
    other:stop "immediate"
    self:stop()
    host.node_take_place(self.lab.handle, self.handle, other.handle)
    self.role, other.role = other.role, self.role
    self.settings = {}
    for name, value in pairs(other.settings) do
      self.settings[name] = value
    end
    self:archive_into(self:new_archive())
    self:start()
    return self
  end
end
