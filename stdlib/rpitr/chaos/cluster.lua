--- A cluster for chaos: a primary behind proxies, and a standby.

local args = require "rpitr.core.args"
local inject = require "rpitr.chaos.inject"
local lab = require "rpitr.lab"

---@class rpitr.chaos
local cluster = {}

--- Creates the servers that faults are aimed at.
-- @param options { standby = true, sync = false, proxied = true, clock = false, wal_segment_size = "1MB", conf = table?,
--   version = integer? }
-- @return { primary = node, standby = node? }
-- @usage local c = chaos.cluster { standby = false }
function cluster.cluster(options)
  local opts = args.options("chaos.cluster", options, {
    standby = { "boolean", true },
    sync = { "boolean", false },
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
  if opts.proxied then
    inject.watch(made)
  end
  return made
end

return cluster
