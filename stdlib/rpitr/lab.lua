--- Labs: PostgreSQL servers made for a drill, and removed after it.
--
-- `lab.postgres { ... }` creates a primary with WAL archiving, `lab.standby(primary)` a streaming
-- standby with its own slot. Each is a node with one interface on every runtime; see `rpitr.lab.node`.
-- What a lab creates is on record before it exists, so that `rpitr lab gc` finds it whatever
-- happens to this process.
--
-- With `--lab NAME` the same calls give the servers of a standing environment (see docs/environments.md)
-- instead: what the drill restores still goes beside them, into a lab of its own.

local host, internal = ...
local args = require "rpitr.core.args"
local life = require "rpitr.lab.life"
local node = require "rpitr.lab.node"

local lab = {}

-- The standing environment the lab works beside, if any, and what of it the script has asked for.
local beside, taken = nil, {}
local this_lab, made_lab, add_node
-- The lab of a run that was killed, when this run goes on in it.
local reopened

--- Attaches to a standing environment that is up, and checks it first.
-- @param name string  recovery or pitr
-- @param options { check = true }
-- @return environment: `.nodes` by name, and each by its name: `env.primary`, `env.replica`; nodes are used
--   like those of a lab; `env:check()`; whatever disturbs it asks (`--yes` agrees) and is undone at the end
-- @error state (not up, unhealthy), environment (no engine), arg
-- @usage print(lab.attach("recovery").primary:lsn()) -- needs: rpitr lab up recovery
function lab.attach(name, options)
  args.check("lab.attach", "name", name, "string")
  local opts = args.options("lab.attach", options, { check = { "boolean", true } })
  if not beside or beside.name ~= name then
    if beside or made_lab() then
      internal.raise({
        kind = "state",
        message = ("a run works beside one environment, and attaches to it before it makes nodes of its own"):format(),
      }, 2)
    end
    beside = require("rpitr.lab.standing").open(name, { lab = this_lab, add_node = add_node })
  end
  if opts.check then
    beside:assert_healthy()
  end
  return beside
end

-- The environment of --lab.
local function standing()
  local name = host.options.lab
  if not name then
    return nil
  end
  return beside or lab.attach(name)
end

-- A server of the environment in place of one the script would make.
local function take(role, what, version)
  local environment = standing()
  local found = environment[role]
  if not found or taken[found] then
    internal.raise({
      kind = "state",
      code = "standing",
      message = ("%s: the standing environment %s has no %s%s"):format(
        what,
        environment.name,
        found and "other " or "",
        role
      ),
      hint = "run the script without --lab",
    }, 3)
  end
  taken[found] = true
  if version and version ~= found.major then
    internal.raise({
      kind = "arg",
      message = ("%s runs PostgreSQL %d, not %d"):format(tostring(found), found.major, version),
    }, 3)
  end
  return found
end

--- Says what a script is about to do to the standing environment, and asks. Without --lab nothing is asked.
-- @param what string  an infinitive: "freeze and kill the standby"
-- @error state (code "consent")  nobody agreed
function lab.consent(what)
  args.check("lab.consent", "what", what, "string")
  local environment = standing()
  if environment then
    environment:consent(what)
  end
end

--- Refuses `--lab`: for a drill that cannot leave an environment as it found it.
-- @param why string  what it does that cannot be undone there
-- @error arg (code "usage")
-- @usage lab.needs_own "it loses a primary for good"
function lab.needs_own(why)
  args.check("lab.needs_own", "why", why, "string")
  if host.options.lab then
    internal.raise({
      kind = "arg",
      code = "usage",
      message = ("this drill does not run against the standing environment %s: %s"):format(host.options.lab, why),
      hint = "without --lab it makes servers of its own",
    }, 2)
  end
end

-- One lab a run, created when the first node is.
this_lab, made_lab = life.shared(function()
  local environment = standing() or beside
  local env = environment and environment:service(environment.primary.name).env or {}
  return {
    runtime = environment and "docker" or host.options.runtime,
    beside = environment and environment.handle,
    reopen = reopened,
    superuser = env.POSTGRES_USER,
    password = env.POSTGRES_PASSWORD,
  }
end, function(handle, info, wanted)
  return { handle = handle, info = info, nodes = {}, archives = 0, superuser = wanted.superuser or "postgres" }
end)

--- Goes on in the lab that a killed run left: its nodes become this run's, and the lab goes when this run ends.
---@param id string  as `rpitr lab ls` shows it
---@return table<string, rpitr.Node> nodes  by name; what they were to each other is for the caller to know
---@error environment (code "lab_gone")  there is no such lab any more
---@error state  it is in use, or this run has a lab already
function lab.reopen(id)
  args.check("lab.reopen", "id", id, "string")
  if made_lab() then
    internal.raise({ kind = "state", message = "this run has a lab already; it cannot go on in another one" }, 2)
  end
  reopened = id
  local ok, here = xpcall(this_lab, internal.as_error)
  reopened = nil
  if not ok then
    internal.raise({
      kind = here.code == "in_use" and "state" or "environment",
      code = here.code == "in_use" and "in_use" or "lab_gone",
      message = here.message,
      hint = "rpitr lab ls shows the labs there are",
      cause = here,
    }, 2)
  end
  for _, member in ipairs(host.lab_members(here.handle)) do
    here.nodes[member.name] = node.attach(host.node_open(here.handle, member.name), here, member.role)
  end
  -- Archives are numbered; the next one must not take the name of one that is there.
  local folder = here.info.folder .. "/archive"
  here.archives = host.fs_exists(folder) and #host.fs_list(folder) or 0
  return here.nodes
end

--- { id, folder, runtime } of this run's lab; `runtime` is "local" or "docker".
function lab.info()
  return this_lab().info
end

function add_node(name, role, options)
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
  if host.options.lab then
    local primary = take("primary", "lab.postgres", opts.version)
    if opts.conf then
      primary:configure(opts.conf)
    end
    return primary
  end
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
  if host.options.lab then
    local standby = take("standby", "lab.standby")
    if opts.conf then
      standby:configure(opts.conf)
    end
    primary:wait_streaming(standby)
    return standby
  end
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
  local made = made_lab()
  return made and made.nodes or {}
end

--- The lab's nodes by name.
function lab.nodes()
  return this_lab().nodes
end

return lab
