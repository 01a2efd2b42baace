--- Point-in-time recovery: base backups, plans, restores, and the proof after each.
--
-- A restore never touches what it replaces: it fills a sandbox node beside it, which archives
-- nothing, follows nobody and listens on a private socket. Before anything is copied the WAL is
-- read to find where recovery will stop; afterwards that is compared with where it did stop.

local host, internal = ...
local args = require "rpitr.core.args"
local backup = require "rpitr.pitr.backup"
local incident = require "rpitr.pitr.incident"
local lab = require "rpitr.lab"
local proof = require "rpitr.pitr.proof"
local report = require "rpitr.report"
local stopwatch = require "rpitr.core.stopwatch"
local wal_source = require "rpitr.pitr.source"
local target = require "rpitr.pitr.target"
local task = require "rpitr.task"
local timer = require "rpitr.timer"

local pitr = {}

--- Takes a base backup of a running node with pg_basebackup and checks it with pg_verifybackup.
-- @param pg node  archiving its WAL
-- @param options { label = string?, verify = true }
-- @return backup: { label, folder, start_lsn, stop_lsn, start_time, stop_time, timeline, system_id, bytes, files }
-- @usage local base = pitr.backup(pg, { label = "nightly" })
pitr.backup = backup.take

--- The backups of a node, oldest first.
-- @return list of backups
pitr.catalog = backup.catalog

--- The recoverable window of a node: { from = backup stop LSN and time, to = last archived commit }.
function pitr.window(pg)
  local oldest = pitr.catalog(pg)[1]
  if not oldest then
    return nil
  end
  local last = target.resolve(wal_source.of(pg), oldest, { kind = "latest", inclusive = true })
  return {
    from_lsn = oldest.stop_lsn,
    from_time = oldest.stop_time,
    to_lsn = last.stop.switchpoint,
    to_time = last.stop.last_commit and last.stop.last_commit.time,
  }
end

-- Plan -----------------------------------------------------------------------------------------------

local ACTIONS = { "promote", "pause", "shutdown" }

local RESTORE_OPTIONS = {
  to = "any",
  name = "string?",
  action = { "string", "promote" },
  backup = "string?",
  verify = { "boolean", true },
  timeout = { "duration", 600 },
  conf = "table?",
  wal = "any?",
}

local function make_plan(pg, opts)
  args.choice("pitr.restore", "option action", opts.action, ACTIONS)
  local wanted = target.parse(opts.to)
  local source = wal_source.of(pg, opts.wal)
  local chosen, resolved = target.choose(pg, source, wanted, opts.backup)
  local wal = host.wal_range(source.folder, resolved.timeline, chosen.start_lsn, resolved.stop.switchpoint, source.tail)
  return {
    source = source,
    target = wanted,
    asked = target.describe(wanted),
    backup = chosen,
    timeline = resolved.timeline,
    settings = resolved.settings,
    stop = resolved.stop,
    action = opts.action,
    wal_files = wal.files,
    wal_bytes = wal.bytes,
    first_wal = wal.first,
    last_wal = wal.last,
    bytes_needed = chosen.bytes + wal.bytes,
    bytes_free = host.node_disk_free(pg.handle),
  }
end

local function preflight(plan)
  if plan.backup.tablespaces > 0 then
    internal.raise({
      kind = "archive",
      code = "tablespaces",
      message = ("backup %s has %d tablespaces, which a sandbox cannot place yet"):format(
        plan.backup.label,
        plan.backup.tablespaces
      ),
      hint = "restored on the same machine they would overwrite the live ones",
    }, 3)
  end
  if plan.bytes_needed > plan.bytes_free then
    internal.raise({
      kind = "environment",
      code = "disk_full",
      message = ("the restore needs %s, the disk has %s free"):format(
        report.bytes(plan.bytes_needed),
        report.bytes(plan.bytes_free)
      ),
      hint = "free space, or point RPITR_STATE at another disk",
    }, 3)
  end
end

--- What a restore would do, as data; nothing is written.
-- @param pg node  whose backups and archive are used
-- @param options  as for `pitr.restore`
-- @return { asked, backup, timeline, settings, stop, wal_files, wal_bytes, bytes_needed, bytes_free }
-- @error archive (no backup fits), wal (target not reached, damage), arg
function pitr.plan(pg, options)
  local plan = make_plan(pg, args.options("pitr.plan", options, RESTORE_OPTIONS))
  preflight(plan)
  return plan
end

-- Restore --------------------------------------------------------------------------------------------

local QUARANTINE = {
  archive_mode = "off",
  archive_command = "",
  restore_command = "",
  primary_conninfo = "",
  primary_slot_name = "",
  synchronous_standby_names = "",
  recovery_target_action = "promote",
}

-- What `conf` may not say: it would lift the quarantine, or contradict the target.
local function check_conf(conf)
  for name in pairs(conf or {}) do
    if QUARANTINE[name] or name == "hot_standby" or name:match "^recovery_" or name:match "^archive_" then
      internal.raise({
        kind = "arg",
        message = ("pitr.restore: conf cannot set %s, which the restore itself decides"):format(name),
        hint = "a restored server is kept apart from the one it came from; change it once it is proved",
      }, 3)
    end
  end
end

local function recovery_settings(node, pg, plan, conf)
  local settings = {}
  for name, value in pairs(pg.settings or {}) do
    settings[name] = value
  end
  for name, value in pairs(QUARANTINE) do
    settings[name] = value
  end
  for name, value in pairs(conf or {}) do
    settings[name] = value
  end
  -- Less than the primary had, and a hot standby refuses to replay.
  for name, minimum in pairs(host.node_control_data(node.handle).minimums) do
    settings[name] = math.max(minimum, tonumber(settings[name]) or 0)
  end
  settings.hot_standby = "on"
  if pg.major >= 15 then
    -- Prefetch asks for the segment behind the target, and a hole there would be fatal.
    settings.recovery_prefetch = "off"
  end
  settings.restore_command = wal_source.fetch_command(plan.source, node, plan.backup.system_id)
  for name, value in pairs(plan.settings) do
    settings[name] = value
  end
  settings.recovery_target_action = plan.action
  return settings
end

-- Copies the backup and makes it a server that recovers. WAL that came with the backup is left out:
-- a segment missing from the archive would be taken from there and hide the gap.
local function lay_out(node, pg, plan, conf)
  host.node_copy_tree(node.handle, plan.backup.folder, node.data)
  host.node_remove_tree(node.handle, node.data .. "/pg_wal")
  host.node_mkdir(node.handle, node.data .. "/pg_wal")
  local removed = host.node_scrub(node.handle)
  node.settings = {}
  node:write_conf(recovery_settings(node, pg, plan, conf))
  host.node_write(node.handle, node.data .. "/recovery.signal", "")
  return removed
end

local WAIT = { promote = "ready", pause = "accepting", shutdown = "exited" }

-- Runs recovery to where the action leaves it. A server that ends instead says why in its log, and
-- what the archive refused stands in the fetch log.
local function recover(node, plan, timeout)
  local ok, e = xpcall(node.start, internal.as_error, node, { timeout = timeout, wait = WAIT[plan.action] })
  if ok and plan.action == "pause" then
    ok, e = xpcall(timer.eventually, internal.as_error, function()
      if node:status() == "crashed" or node:status() == "stopped" then
        internal.raise { kind = "postgres", code = "fatal", message = node.name .. " ended", detail = node:why_died() }
      end
      return node:value "SELECT pg_get_wal_replay_pause_state() = 'paused'"
    end, { timeout = timeout, every = 0.005, describe = "recovery paused at its target" })
  end
  if ok then
    return
  end
  local refused = proof.refused_fetch(node)
  local full = refused and refused.code == "disk_full" or e.code == "disk_full"
  local hint = e.hint
  if full then
    hint = "free space on the disk of the lab, or point RPITR_STATE at another one; nothing was promoted"
  elseif refused then
    hint = "rpitr archive-fetch refused this segment, so nothing was promoted; restore it from another copy"
  end
  internal.raise({
    kind = full and "environment" or refused and "archive" or e.kind,
    code = full and "disk_full" or refused and refused.code or "recovery_failed",
    message = ("recovery of %s to %s failed: %s"):format(
      node.name,
      plan.asked,
      refused and refused.reason or e.message
    ),
    detail = e.detail,
    hint = hint,
    cause = e,
  }, 2)
end

-- Nobody should find a server running that is not what was asked for. Its files stay with the lab.
local function proved_or_stopped(node, fn)
  local proved, e = xpcall(fn, internal.as_error)
  if not proved then
    task.shield(pcall, node.stop, node, "immediate")
    error(e, 0)
  end
end

local function free_name()
  local nodes, name, n = lab.nodes(), "restored", 1
  while nodes[name] do
    n = n + 1
    name = "restored-" .. n
  end
  return name
end

--- Restores a backup beside `pg` and recovers it to a target. Raises unless recovery provably
-- stopped where it was asked to.
-- @param pg node  whose backups and archive are used; it is not touched
-- @param options { to = { time = | xid = | lsn = | name = | immediate = true | latest = true,
--   inclusive = true, timeline = integer? } | "latest" | "immediate", name = string?,
--   action = "promote" | "pause" | "shutdown", backup = string?, verify = true, timeout = "10m",
--   conf = table?, wal = receiver | snapshot | folder? }  `name`: default "restored", with a number after the first;
--   `verify`: read the backup against its manifest first; `wal`: take the WAL from there instead of from the node's
--   archive; of a receiver, with a snapshot of the segment it is receiving (see `archive.snapshot`)
-- @return node with `.plan` and `.proof`; see `pitr.describe`
-- @error archive, wal, postgres, verify, environment, arg
-- @usage local restored = pitr.restore(pg, { to = { lsn = "0/3000148", inclusive = false } })
function pitr.restore(pg, options)
  local opts = args.options("pitr.restore", options, RESTORE_OPTIONS)
  check_conf(opts.conf)
  local plan = make_plan(pg, opts)
  preflight(plan)
  if opts.verify then
    backup.verify(pg, plan.backup)
  end
  local started = host.now()
  local node = lab.sandbox { name = opts.name or free_name(), version = pg.major }
  node.plan, node.source = plan, pg
  proved_or_stopped(node, function()
    node.scrubbed = stopwatch.run("copy backup", lay_out, node, pg, plan, opts.conf)
    recover(node, plan, opts.timeout)
    node.proof = proof.of(node, plan)
  end)
  if internal.current_drill then
    internal.current_drill.report:recovery(node, host.now() - started)
  end
  return node
end

--- Moves a paused restore forward to a later target, without restoring again. Going back needs a
-- new restore: PostgreSQL has already replayed past it.
-- @param node  from `pitr.restore { action = "pause" }`
-- @param options { to = ..., action = "pause" }
function pitr.nudge(node, options)
  local opts = args.options("pitr.nudge", options, {
    to = "any",
    action = { "string", "pause" },
    timeout = { "duration", 600 },
  })
  args.choice("pitr.nudge", "option action", opts.action, ACTIONS)
  local before = node.proof
  if not (node.plan and node:status() == "standby") then
    internal.raise({ kind = "state", message = ("%s is not a paused restore"):format(node.name) }, 2)
  end
  local wanted = target.parse(opts.to)
  local resolved = target.resolve(node.plan.source, node.plan.backup, wanted)
  if resolved.stop.switchpoint < before.reached_lsn then
    internal.raise({
      kind = "arg",
      code = "backwards",
      message = ("%s has already replayed to %s, past %s"):format(
        node.name,
        tostring(before.reached_lsn),
        target.describe(wanted)
      ),
      hint = "recovery only goes forward; restore again for an earlier target",
    }, 2)
  end
  local plan = {}
  for key, value in pairs(node.plan) do
    plan[key] = value
  end
  plan.target, plan.asked, plan.action = wanted, target.describe(wanted), opts.action
  plan.settings, plan.stop, plan.timeline = resolved.settings, resolved.stop, resolved.timeline
  plan.settings.recovery_target_action = opts.action
  proved_or_stopped(node, function()
    node:stop "fast"
    for name in pairs(node.plan.settings) do
      node.settings[name] = nil
    end
    node:write_conf(plan.settings)
    node.plan = plan
    recover(node, plan, opts.timeout)
    node.proof = proof.of(node, plan)
  end)
  return node
end

--- Opens a paused restore for writing, on a new timeline.
function pitr.promote(node)
  stopwatch.run("promote", function()
    node:admin():exec "SELECT pg_wal_replay_resume()"
    node:wait_writable()
  end)
  node.plan.action = "promote"
  node.proof = proof.of(node, node.plan)
  return node
end

--- Lines that say what was asked, what was reached and what comes next.
pitr.describe = proof.describe

--- Reads a recovery target without using it; raises an error of kind "arg" when it cannot be right.
-- @usage assert(pitr.target("lsn:0/3000148").kind == "lsn")
pitr.target = target.parse

--- The recovery target just before a commit: nothing of that transaction, all of those before it.
-- @param commit { lsn, timeline }  as `verify` and the WAL functions give it
function pitr.before(commit)
  return { lsn = commit.lsn, inclusive = false, timeline = commit.timeline }
end

--- The commit record of a transaction in a node's archive, or nil.
-- @param xid integer  as `pg_current_xact_id()` gave it
-- @param options { wal = receiver | snapshot | folder? }  as for `pitr.restore`
function pitr.commit_of(pg, xid, options)
  local opts = args.options("pitr.commit_of", options, { wal = "any?" })
  local first = pitr.catalog(pg)[1]
  local source = wal_source.of(pg, opts.wal)
  local index = host.wal_commits(source.folder, nil, first.start_lsn, nil, source.tail)
  return host.wal_commit_of(index, xid)
end

-- Finding the moment ---------------------------------------------------------------------------------

--- What destroyed data since the oldest base backup, found in the WAL: TRUNCATE, DROP, mass DELETE and UPDATE. Where nothing
-- large was destroyed, every DELETE. One entry a transaction, oldest first.
-- @param pg node  whose archive is read
-- @param options { kind = string?, table = string?, min_rows = integer?, from = lsn | time, to = lsn | time }
-- @return list of incidents as `wal:find` gives them; `incident.target` is what `pitr.restore { to = }` takes
-- @error wal (damage), archive (no base backup)
-- @usage local found = pitr.choose(pitr.incidents(pg)); pitr.restore(pg, { to = found.target })
pitr.incidents = incident.find

--- Column names and rows that show incidents, for `d:table`.
-- @usage d:table("What destroyed data:", pitr.incident_table(list))
pitr.incident_table = incident.table

--- The incident to undo. On a terminal the user is asked. Otherwise it is the one that stands out: the only one that
-- destroyed a table or a database, or ten times as many rows as any other.
-- @param list from `pitr.incidents`
-- @error state  no_incident; ambiguous_incident, with a list to choose from
pitr.choose = incident.choose

--- Whether a restore to an incident's target stopped right before it: the server's log, the first commit that was not replayed,
-- the last that was.
-- @param node  from `pitr.restore`
-- @param found  the incident
-- @return list of { name, held, detail }
-- @usage for _, c in ipairs(pitr.check_choice(restored, found)) do d:check(c.name, c.held, c.detail) end
pitr.check_choice = incident.check

--- An incident that was prepared first is still there before its COMMIT PREPARED, and holds its locks: rolls it back.
-- @return its name, or nil when it was not prepared
pitr.roll_back_prepared = incident.roll_back_prepared

return pitr
