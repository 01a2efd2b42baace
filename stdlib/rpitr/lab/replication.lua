--- Streaming replication between nodes, and a restored server taking over.

local host, internal = ...
local args = require "rpitr.core.args"
local timer = require "rpitr.timer"

return function(Node)
  --- Makes this node a streaming standby of `primary`: wipes its own data directory, takes a base
  -- backup, follows with its own slot.
  function Node:follow(primary, options)
    local opts = args.options("node:follow", options, { conf = "table?" })
    local slot = self.name:gsub("[^%w]", "_"):lower()
    self:wipe()
    local link = host.node_conninfo(primary.handle, self.handle, host.lab_passfile(self.lab.handle), self.lab.superuser)
    primary:admin():exec(
      "SELECT pg_create_physical_replication_slot($1) WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1)",
      slot
    )
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
    host.node_scrub(self.handle)
    self.settings = {}
    for name, value in pairs(primary.settings or {}) do
      self.settings[name] = value
    end
    self:write_conf {
      archive_mode = "off",
      archive_command = "",
      synchronous_standby_names = "",
      primary_conninfo = link .. " application_name=" .. self.name,
      primary_slot_name = slot,
    }
    if opts.conf then
      self:write_conf(opts.conf)
    end
    host.node_write(self.handle, self.data .. "/standby.signal", "")
    self.role, self.primary = "standby", primary
    self:start()
    primary:wait_streaming(self)
    return self
  end

  --- Waits until `standby` streams from this node.
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
  function Node:wait_replayed(standby, options)
    local opts = args.options("node:wait_replayed", options, { timeout = { "duration", 60 } })
    -- Only flushed WAL is sent; behind it there is nothing that was committed.
    local goal = self:value "SELECT pg_current_wal_flush_lsn()"
    timer.eventually(function()
      return standby:lsn() >= goal
    end, { timeout = opts.timeout, every = 0.005, describe = ("%s at %s"):format(standby.name, tostring(goal)) })
  end

  --- How far a standby is behind this node, by what it last reported: { bytes, seconds }.
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
  -- archive; `other` is stopped, keeps its data and becomes a sandbox. The primary of a standing environment
  -- stays where it is, with whatever else it serves: it takes the recovered shop's database into itself.
  -- @param other node
  -- @return the node that clients reach now
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
