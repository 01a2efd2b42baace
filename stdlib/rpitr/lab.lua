--- Labs: PostgreSQL servers made for a drill, and removed after it.
---
--- `lab.postgres { ... }` creates a primary with WAL archiving, `lab.standby(primary)` a streaming
--- standby with its own slot. Each is a node with one interface on every runtime; see `rpitr.lab.node`.
--- What a lab creates is on record before it exists, so that `rpitr lab gc` finds it whatever
--- happens to this process.
---
--- With `--lab NAME` the same calls give the servers of a standing environment (see docs/environments.md)
--- instead: what the drill restores still goes beside them, into a lab of its own.
---@class rpitr.lab
local lab = {}

local host, internal = ...
local args = require "rpitr.core.args"
local life = require "rpitr.lab.life"
local node = require "rpitr.lab.node"
local visit = require "rpitr.lab.visit"

-- The standing environment the lab works beside, if any, and what of it the script has asked for.
local beside, taken = nil, {}
-- The lab of another process that this run adds its nodes to, or makes them beside, if any.
local joined, neighbour
local this_lab, made_lab, add_node

-- Nodes of this run go into a lab that nobody else uses; beside one that somebody does.
local function attach_lab(name, adopt)
  if adopt and (beside or joined or neighbour or made_lab()) then
    internal.raise({
      kind = "state",
      code = "lab_made",
      message = "a run has one lab of its own, and adopts one before it makes nodes",
    }, 3)
  end
  local there = visit.open(name, adopt)
  if not (beside or joined or neighbour or made_lab()) then
    if there:owner() then
      neighbour = there
    else
      joined, there.shared = there, true
    end
  end
  if adopt then
    this_lab()
  end
  return there
end

local function attach_environment(name, check)
  if not beside or beside.name ~= name then
    if beside or made_lab() then
      internal.raise({
        kind = "state",
        message = ("a run works beside one environment, and attaches to it before it makes nodes of its own"):format(),
      }, 2)
    end
    beside = require("rpitr.lab.standing").open(name, { lab = this_lab, add_node = add_node })
  end
  if check then
    beside:assert_healthy()
  end
  return beside
end

---@class rpitr.lab.AttachOptions
---@field check? boolean  (default true) an environment is checked first, and refused when a check fails
---@field adopt? boolean  (default false) a lab whose owner is gone becomes this run's own, and goes when the run ends

--- Attaches to a lab that another process made, or to a standing environment that is up.
---
--- A lab goes by its id or an unambiguous beginning of it (`rpitr-` may be left out): one of a run that goes on, of one that
--- was killed, or a kept one; `lab.list()` has them. Its nodes are used like those of a lab of one's own, stopped ones
--- too. Leaving removes nothing, and as long as this process lives `rpitr lab gc` does not, either; the run that owns the
--- lab does when it ends. While that goes on, what would replace one of its servers is refused, and what this run makes
--- (`lab.sandbox`, `pitr.restore`) goes into a lab beside it; otherwise into the lab itself, until this run ends.
---
--- What disturbs an environment asks (`--yes` agrees) and is undone at the end; `env:check()` checks it.
---
--- ```lua
--- -- needs: a kept lab, and rpitr lab up recovery
--- local there = lab.attach "rpitr-3fa2"
--- print(there.primary:timeline(), there.nodes["standby-2"]:status())
--- print(lab.attach("recovery").primary:lsn())
--- ```
---@param name string  an id, or `recovery` or `pitr`
---@param options? rpitr.lab.AttachOptions
---@return rpitr.Lab|rpitr.Environment there  nodes in `nodes` by name, and as fields: `there.primary`
---@error arg  code "unknown_lab" or "ambiguous_lab"
---@error state  code "lab_gone", "lab_in_use", "not_up" or "unhealthy"
---@error environment  no engine
function lab.attach(name, options)
  args.check("lab.attach", "name", name, "string")
  local opts = args.options("lab.attach", options, { check = { "boolean", true }, adopt = { "boolean", false } })
  for _, environment in ipairs(host.standing_names()) do
    if name == environment then
      return attach_environment(name, opts.check)
    end
  end
  return attach_lab(name, opts.adopt)
end

---@class rpitr.lab.Entry
---@field id string
---@field script? string  what made it
---@field created string  RFC 3339
---@field condition string  "in use", "attached", "kept" or "left behind"
---@field nodes string[]  their names

--- The labs there are on this machine, the oldest first.
---
--- ```lua
--- for _, entry in ipairs(lab.list()) do
---   print(entry.id, entry.condition, table.concat(entry.nodes, ", "))
--- end
--- ```
---@return rpitr.lab.Entry[]
function lab.list()
  return host.lab_list()
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

--- Says what a script is about to do to the standing environment, and asks. Without `--lab` nothing is asked.
---
--- ```lua
--- lab.consent "freeze and kill the standby"
--- ```
---@param what string  an infinitive
---@error state  code "consent": nobody agreed
function lab.consent(what)
  args.check("lab.consent", "what", what, "string")
  local environment = standing()
  if environment then
    environment:consent(what)
  end
end

--- Refuses `--lab`: for a drill that cannot leave an environment as it found it.
---
--- ```lua
--- lab.needs_own "it loses a primary for good"
--- ```
---@param why string  what it does that cannot be undone there
---@error arg  code "usage"
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
  if joined then
    return {
      handle = joined.handle,
      leave = not joined.adopted and function(kept)
        if not kept then
          visit.leave(joined)
        end
      end,
    }
  end
  if neighbour then
    -- What is restored here has the passwords of where it comes from.
    return { runtime = neighbour.info.runtime, superuser = neighbour.superuser, password = neighbour.password }
  end
  local environment = standing() or beside
  local env = environment and environment:service(environment.primary.name).env or {}
  return {
    runtime = environment and "docker" or host.options.runtime,
    beside = environment and environment.handle,
    superuser = env.POSTGRES_USER,
    password = env.POSTGRES_PASSWORD,
  }
end, function(handle, info, wanted)
  return joined or { handle = handle, info = info, nodes = {}, superuser = wanted.superuser or "postgres" }
end)

---@class rpitr.lab.Info
---@field id string
---@field folder string  where the lab's files are
---@field runtime "local"|"docker"

--- What this run's lab is; makes it when there is none yet.
---
--- ```lua
--- print(lab.info().id, lab.info().runtime)
--- ```
---@return rpitr.lab.Info
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

---@class rpitr.lab.PostgresOptions
---@field name? string  (default "primary")
---@field version? integer  the major; default: the newest that is installed
---@field wal_segment_size? rpitr.Size  (default "16MB") a power of two from 1 MB to 1 GB
---@field conf? table<string, string|number|boolean>  server parameters
---@field archive? boolean  (default true) archive its WAL
---@field durable? boolean  (default false) fsync as in production; without it only a power cut can do harm
---@field proxied? boolean  (default false) clients and standbys reach it through proxies that faults of the network act in
---@field clock? boolean  (default false) its clock can be set, see `chaos.clock_step`

--- Creates and starts a primary: data checksums, SCRAM, loopback only, WAL archived by
--- `rpitr archive-push` into the lab's own archive.
---
--- ```lua
--- local server <close> = lab.postgres { name = "example_primary", conf = { work_mem = "8MB" } }
--- assert(server:setting "work_mem" == "8MB")
--- ```
---@param options? rpitr.lab.PostgresOptions
---@return rpitr.Node
---@error environment  no PostgreSQL, no engine
---@error postgres, state, arg
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

---@class rpitr.lab.StandbyOptions
---@field name? string  (default "standby")
---@field sync? boolean  (default false) the primary waits for it with every commit
---@field archive? boolean  (default false) once promoted it archives into an archive of its own
---@field conf? table<string, string|number|boolean>  server parameters

--- Creates a streaming standby of `primary` with pg_basebackup and a replication slot, and waits until it streams.
---
--- ```lua
--- local standby <close> = lab.standby(pg, { name = "example_standby" })
--- pg:wait_replayed(standby)
--- ```
---@param primary rpitr.Node
---@param options? rpitr.lab.StandbyOptions
---@return rpitr.Node
---@error postgres, timeout, state, arg
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

---@class rpitr.lab.ReceiverOptions
---@field name? string  (default "receiver")
---@field synchronous? boolean  (default false) a commit on the primary waits until the receiver has it on disk; then nothing acknowledged can be lost with the primary, and nothing can be committed while the receiver is away
---@field slot? string  name of its replication slot; default: the node's name

--- Creates a receiver of `primary`: pg_receivewal with a physical replication slot of its own, writing into the node's
--- folder. It is a node like the others: start, stop, kill, pause, logs. Its WAL is in `node.data`.
---
--- ```lua
--- local receiver <close> = lab.receiver(pg, { name = "example_receiver" })
--- receiver:wait_received()
--- ```
---@param primary rpitr.Node
---@param options? rpitr.lab.ReceiverOptions
---@return rpitr.Node receiver  with `receiver_lag`, `wait_received`, `complete_segment`
---@error postgres, timeout, arg
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

---@class rpitr.lab.SandboxOptions
---@field name? string  (default "sandbox")
---@field version? integer  the major; default: the newest that is installed

--- Adds a node without data: a restore fills it. Sandboxes listen on a private socket only.
---
--- ```lua
--- local copy = lab.sandbox { name = "example_sandbox", version = pg.major }
--- assert(copy:status() == "absent")
--- ```
---@param options? rpitr.lab.SandboxOptions
---@return rpitr.Node
---@error arg
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
---
--- ```lua
--- for name, node in pairs(lab.nodes()) do
---   print(name, node:status())
--- end
--- ```
---@return table<string, rpitr.Node>
function lab.nodes()
  return this_lab().nodes
end

return lab
