--- Plans and restores; `pitr.plan`, `pitr.restore`, `pitr.nudge` and `pitr.promote` are the public names.

local host, internal = ...
local args = require "rpitr.core.args"
local backup = require "rpitr.pitr.backup"
local lab = require "rpitr.lab"
local proof = require "rpitr.pitr.proof"
local report = require "rpitr.report"
local stopwatch = require "rpitr.core.stopwatch"
local target = require "rpitr.pitr.target"
local task = require "rpitr.task"
local timer = require "rpitr.timer"
local wal_source = require "rpitr.pitr.source"

local restore = {}

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

-- What a restore would do; see `pitr.plan`.
function restore.plan(pg, options)
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

-- Restores; see `pitr.restore`.
function restore.run(pg, options)
  local opts = args.options("pitr.restore", options, RESTORE_OPTIONS)
  check_conf(opts.conf)
  pg:assert_readable()
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

-- Moves a paused restore forward; see `pitr.nudge`.
function restore.nudge(node, options)
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

-- Opens a paused restore for writing; see `pitr.promote`.
function restore.promote(node)
  stopwatch.run("promote", function()
    node:admin():exec "SELECT pg_wal_replay_resume()"
    node:wait_writable()
  end)
  node.plan.action = "promote"
  node.proof = proof.of(node, node.plan)
  return node
end

return restore
