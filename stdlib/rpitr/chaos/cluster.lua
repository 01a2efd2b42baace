--- A cluster for chaos: a primary behind proxies, a standby, a receiver.

local args = require "rpitr.core.args"
local inject = require "rpitr.chaos.inject"
local lab = require "rpitr.lab"

---@class rpitr.chaos
local cluster = {}

---@class rpitr.chaos.ClusterOptions
---@field standby? boolean  (default true)
---@field sync? boolean  (default false) the primary waits for the standby
---@field receiver? boolean  (default false) a WAL receiver, too; what it gets must be what the archive gets
---@field proxied? boolean  (default true) clients, standby and receiver reach the primary through proxies that faults of the network act in
---@field clock? boolean  (default false) the primary's clock can be set, see `chaos.clock_step`
---@field wal_segment_size? rpitr.Size  (default "1MB")
---@field conf? table<string, string|number|boolean>  server parameters of the primary
---@field version? integer  PostgreSQL's major; default: the newest that is installed

--- Servers that faults are aimed at.
---@class rpitr.chaos.Cluster
---@field primary rpitr.Node
---@field standby? rpitr.Node
---@field receiver? rpitr.Node
---@field endpoint? { host: string, port: integer }  where the writers reach the primary instead of its proxy

--- Creates the servers that faults are aimed at.
---
--- ```lua
--- local c = chaos.cluster { standby = false }
--- assert(c.primary:status() == "running")
--- c.primary:remove()
--- ```
---@param options? rpitr.chaos.ClusterOptions
---@return rpitr.chaos.Cluster
---@error environment, postgres, arg
function cluster.cluster(options)
  local opts = args.options("chaos.cluster", options, {
    standby = { "boolean", true },
    sync = { "boolean", false },
    receiver = { "boolean", false },
    proxied = { "boolean", true },
    clock = { "boolean", false },
    wal_segment_size = { "size", 1024 * 1024 },
    conf = "table?",
    version = "integer?",
  })
  local made = {
    primary = lab.postgres {
      version = opts.version,
      wal_segment_size = opts.wal_segment_size,
      conf = opts.conf,
      proxied = opts.proxied,
      clock = opts.clock,
    },
  }
  if opts.standby then
    made.standby = lab.standby(made.primary, { sync = opts.sync })
  end
  if opts.receiver then
    made.receiver = lab.receiver(made.primary)
  end
  if opts.proxied then
    inject.watch(made)
  end
  return made
end

return cluster
