--- Labs: PostgreSQL servers made for a drill, and removed after it.
--
-- `lab.postgres { ... }` creates a primary with WAL archiving, `lab.standby(primary)` a streaming
-- standby with its own slot. Each is a node with one interface on every runtime; see `rpitr.lab.node`.
-- What a lab creates is on record before it exists, so that `rpitr lab gc` finds it whatever
-- happens to this process.

local host, internal = ...
local args = require "rpitr.core.args"
local life = require "rpitr.lab.life"
local node = require "rpitr.lab.node"

local lab = {}

-- One lab a run, created when the first node is.
local this_lab = life.shared(host.options.runtime, function(handle, info)
  return { handle = handle, info = info, nodes = {}, archives = 0 }
end)

--- { id, folder, runtime } of this run's lab; `runtime` is "local" or "docker".
function lab.info()
  return this_lab().info
end

local function add_node(name, role, options)
  local here = this_lab()
  if here.nodes[name] then
    internal.raise({ kind = "arg", message = ("the lab already has a node named %q"):format(name) }, 3)
  end
  local made = node.attach(
    host.node_create(here.handle, {
      name = name,
      role = role,
      version = options.version,
      listen = role ~= "sandbox",
    }),
    here,
    role
  )
  here.nodes[name] = made
  return made
end

-- Settings of a lab server. fsync is off unless `durable`: a lab survives every fault short of the
-- machine losing power, and set-up is several times quicker.
local function base_settings(options)
  local settings = {
    fsync = options.durable and "on" or "off",
    wal_level = "replica",
    max_wal_senders = 10,
    max_replication_slots = 10,
    -- A checkpoint takes the slot of a base backup that is just starting for one left behind and kills
    -- its WAL stream, unless WAL is kept anyway: two backups at once do that to each other.
    wal_keep_size = "64MB",
    hot_standby = "on",
    password_encryption = "scram-sha-256",
    log_line_prefix = "%m [%p] ",
    timezone = "UTC",
    log_timezone = "UTC",
    shared_buffers = "32MB",
  }
  for name, value in pairs(options.conf or {}) do
    settings[name] = value
  end
  return settings
end

--- Creates and starts a primary: data checksums, SCRAM, loopback only, WAL archived by
-- `rpitr archive-push` into the lab's own archive.
-- @param options { name = "primary", version = integer?, wal_segment_size = "16MB", conf = table?,
--   archive = true, durable = false, proxied = false, clock = false }  `proxied`: clients and standbys reach it
--   through proxies that faults of the network act in; `clock`: its clock can be set (`chaos.clock_step`)
-- @return node
-- @usage local pg <close> = lab.postgres { name = "primary" }
function lab.postgres(options)
  local opts = args.options("lab.postgres", options, {
    name = { "string", "primary" },
    version = "integer?",
    wal_segment_size = { "size", 16 * 1024 ^ 2 },
    conf = "table?",
    archive = { "boolean", true },
    durable = { "boolean", false },
    proxied = { "boolean", false },
    clock = { "boolean", false },
  })
  local primary = add_node(opts.name, "primary", opts)
  primary:initdb { wal_segment_size = math.floor(opts.wal_segment_size), durable = opts.durable }
  primary:write_conf(base_settings(opts))
  if opts.archive then
    primary:archive_into(primary:new_archive())
  end
  if opts.clock then
    primary:fake_clock()
  end
  primary.proxied = opts.proxied
  primary:start()
  return primary
end

--- Creates a streaming standby of `primary` with pg_basebackup and a replication slot.
-- @param primary node
-- @param options { name = "standby", sync = false, archive = false, conf = table? }  `sync`: the primary
--   waits for it; `archive`: once promoted it archives into an archive of its own
-- @return node
function lab.standby(primary, options)
  local opts = args.options("lab.standby", options, {
    name = { "string", "standby" },
    sync = { "boolean", false },
    archive = { "boolean", false },
    conf = "table?",
  })
  local standby = add_node(opts.name, "standby", { version = primary.major })
  standby:follow(primary, { archive = opts.archive, conf = opts.conf })
  if opts.sync then
    primary:synchronize(standby)
  end
  return standby
end

--- Creates a receiver of `primary`: pg_receivewal with a physical replication slot of its own, writing into the node's
-- folder. It is a node like the others: start, stop, kill, pause, logs.
-- @param primary node
-- @param options { name = "receiver", synchronous = false, slot = string? }  `synchronous`: a commit on the primary
--   waits until the receiver has it on disk; then nothing acknowledged can be lost with the primary, and nothing can be
--   committed while the receiver is away
-- @return node  with `receiver_lag`, `wait_received`, `complete_segment`; its WAL is in `node.data`
-- @usage local receiver <close> = lab.receiver(primary)
function lab.receiver(primary, options)
  local opts = args.options("lab.receiver", options, {
    name = { "string", "receiver" },
    synchronous = { "boolean", false },
    slot = "string?",
  })
  local receiver = add_node(opts.name, "receiver", { version = primary.major })
  receiver:receive_from(primary, { slot = opts.slot, synchronous = opts.synchronous })
  primary.receivers = primary.receivers or {}
  table.insert(primary.receivers, receiver)
  if opts.synchronous then
    primary:configure { synchronous_standby_names = ("FIRST 1 (%q)"):format(opts.name) }
    primary:wait_streaming(receiver, { sync = true })
  end
  return receiver
end

--- Adds a node without data: a restore fills it. Sandboxes listen on a private socket only.
function lab.sandbox(options)
  local opts = args.options("lab.sandbox", options, { name = { "string", "sandbox" }, version = "integer?" })
  return add_node(opts.name, "sandbox", opts)
end

-- The nodes that exist, without making a lab when there is none.
function internal.lab_nodes()
  return current and current.nodes or {}
end

--- The lab's nodes by name.
function lab.nodes()
  return this_lab().nodes
end

return lab
