--- Receivers: nodes that run pg_receivewal, and what their servers know of them.

local host, internal = ...
local args = require "rpitr.core.args"
local timer = require "rpitr.timer"

return function(class)
  ---@class rpitr.Node
  local Node = class

  ---@class rpitr.lab.ReceiveOptions
  ---@field slot? string  name of the replication slot; default: the node's name
  ---@field synchronous? boolean  (default false) tell the primary of everything as soon as it is on disk

  --- Makes this node a receiver of `primary`: it streams the primary's WAL into its own folder, `node.data`, through
  --- a replication slot of its own. The slot keeps on the primary what the receiver has not got yet, so neither a restart
  --- of the primary nor one of the receiver leaves a gap. `lab.receiver` makes such a node.
  ---@param primary rpitr.Node
  ---@param options? rpitr.lab.ReceiveOptions
  ---@return rpitr.Node node  itself
  ---@error postgres, timeout, arg
  function Node:receive_from(primary, options)
    local opts = args.options("node:receive_from", options, {
      slot = { "string", (self.name:gsub("[^%w]", "_"):lower()) },
      synchronous = { "boolean", false },
    })
    primary:admin():exec(
      -- Reserves WAL at once, not when the receiver first connects.
      [[SELECT pg_create_physical_replication_slot($1, true)
        WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1)]],
      opts.slot
    )
    self.role, self.primary, self.slot, self.synchronous = "receiver", primary, opts.slot, opts.synchronous
    self.archive = self.data
    self:lead_to_primary()
    self:note()
    self:start()
    primary:wait_streaming(self)
    return self
  end

  --- Writes down the way to the primary for the next start of a receiver: through its proxy, where there is one.
  ---@private
  function Node:lead_to_primary()
    host.node_receive(self.handle, {
      conninfo = self.primary:link_for(self) .. " application_name=" .. self.name,
      slot = self.slot,
      synchronous = self.synchronous,
    })
  end

  ---@class rpitr.lab.ReceiverLag
  ---@field primary rpitr.Lsn  what the primary has on disk
  ---@field written? rpitr.Lsn  received: safe unless the receiver's machine dies
  ---@field flushed? rpitr.Lsn  on the receiver's disk
  ---@field state? string  as in pg_stat_replication; nil while it is not connected
  ---@field bytes? integer  the recovery point objective: what would be lost if the primary died now

  --- How far the receiver is behind its primary.
  ---
  --- ```lua
  --- local receiver <close> = lab.receiver(pg, { name = "example_lag" })
  --- print(receiver:receiver_lag().bytes)
  --- ```
  ---@return rpitr.lab.ReceiverLag
  ---@error sql
  function Node:receiver_lag()
    return host.receiver_lag(self.primary:admin().handle, self.name, self.slot)
  end

  --- Waits until the receiver has got everything its primary has on disk so far.
  ---@param options? rpitr.lab.WaitOptions
  ---@return rpitr.Lsn lsn  the position it waited for
  ---@error timeout, sql, arg
  function Node:wait_received(options)
    local opts = args.options("node:wait_received", options, { timeout = { "duration", 60 } })
    local goal = self.primary:value "SELECT pg_current_wal_flush_lsn()"
    timer.eventually(function()
      local lag = self:receiver_lag()
      return lag.written and lag.written >= goal
    end, { timeout = opts.timeout, every = 0.01, describe = ("%s at %s"):format(self.name, tostring(goal)) })
    return goal
  end

  --- Ends the current WAL segment of the primary and waits until the receiver has all of it under its final name.
  ---@param options? rpitr.lab.WaitOptions
  ---@return string segment  its name
  ---@error timeout, sql, arg
  function Node:complete_segment(options)
    local opts = args.options("node:complete_segment", options, { timeout = { "duration", 60 } })
    local before = self.primary.major >= 14 and " - 1" or ""
    local name = self.primary:value(("SELECT pg_walfile_name(pg_switch_wal()%s)"):format(before))
    timer.eventually(function()
      return host.archive_has(self.data, name)
    end, { timeout = opts.timeout, every = 0.02, describe = ("WAL segment %s at %s"):format(name, self.name) })
    return name
  end

  -- Refuses a node that is no receiver, for functions that take only those.
  ---@private
  function Node:need_receiver(what)
    if self.role ~= "receiver" then
      internal.raise({
        kind = "arg",
        message = ("%s: %s is not a receiver"):format(what, self.name),
        hint = "lab.receiver(primary) makes one",
      }, 3)
    end
    return self
  end
end
