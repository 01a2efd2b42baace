--- What a run does on purpose so that a fault can strike in the middle of it: a base backup, the promotion of the standby.
---
--- Each begins something, waits until it is certainly under way, and returns { release, finish }: `release` is called when the
--- fault has struck, `finish` when it is healed.

local host, internal = ...
local pitr = require "rpitr.pitr"
local task = require "rpitr.task"
local timer = require "rpitr.timer"

local occasions = {}

local function now_us()
  return host.time_micros(host.time_now())
end

local STREAMING = "SELECT true FROM pg_stat_progress_basebackup WHERE phase = 'streaming database files'"

-- Slow enough that the fault strikes before it is over.
local RATE = "8MB"

--- A base backup. Whether it survives the fault is part of the run; `here.meanwhile` has the task to wait for.
function occasions.backup(here, bundle, event)
  local began_us, over
  local backup = task.spawn(function()
    local label = ("%s-%d-%d"):format(here.label, event.n, here.epoch)
    local ok, e = xpcall(pitr.backup, internal.as_error, here.primary, { label = label, max_rate = RATE })
    over = true
    bundle:event {
      e = "backup",
      n = event.n,
      kind = "backup",
      began_us = began_us,
      ended_us = now_us(),
      reason = ok and "complete" or e.message .. (e.detail and ": " .. e.detail or ""),
    }
  end)
  here.meanwhile[#here.meanwhile + 1] = backup
  timer.eventually(function()
    return over or here.primary:value(STREAMING)
  end, { timeout = "60s", every = 0.01, describe = "a base backup under way" })
  if over then
    internal.raise({ kind = "state", message = "the base backup was over before the fault could strike" }, 2)
  end
  began_us = now_us()
  return { release = function() end, finish = function() end }
end

-- Runs at the end of recovery, before the server accepts writes: the promotion stands still here for as long as the file is
-- there, a minute at most.
local HOLD =
  [[touch "$folder/promoting"; n=0; while [ -e "$folder/hold" ] && [ $n -lt 3000 ]; do n=$((n + 1)); sleep 0.02; done]]

-- Where the timeline a server is on left the one before.
local function fork_of(node)
  local name = ("pg_wal/%08X.history"):format(node:timeline())
  local fork
  for _, lsn in node:read_file(name):gmatch "(%d+)\t(%x+/%x+)" do
    fork = lsn
  end
  return fork
end

-- What came of a promotion, for the verdict: when the fault struck, and the rows the new primary has.
local function note(bundle, event, promotion, standby)
  local name = ("promotions/%03d"):format(event.n)
  host.fs_mkdir(bundle:path "promotions")
  local ok, e = xpcall(function()
    standby:wait_writable { timeout = "120s" }
    promotion.accepted_us = now_us()
    promotion.fork_lsn = fork_of(standby)
    bundle:rows(standby, name .. ".tsv.zst")
    promotion.state = name:match "[^/]+$" .. ".tsv.zst"
  end, internal.as_error)
  promotion.error = not ok and e.message or nil
  bundle:write(name .. ".json", promotion)
end

--- The promotion of the cluster's standby. What it has when it accepts writes is held against the primary's past; then it is
--- made a standby again.
function occasions.promotion(here, bundle, event)
  local standby, primary = here.cluster.standby, here.primary
  if not standby then
    internal.raise({ kind = "arg", code = "no_target", message = "the cluster has no standby to promote" }, 2)
  end
  local folder = standby.info.folder
  local function let_go()
    standby:exec { "rm", "-f", folder .. "/hold" }
  end
  standby:exec { "rm", "-f", folder .. "/promoting" }
  host.node_write(standby.handle, folder .. "/hold", "")
  standby:configure { recovery_end_command = HOLD:gsub("%$folder", folder) }
  -- From here on no probe waits for it to stream.
  standby.role = "promoted"
  local promotion = { n = event.n }
  standby:admin():exec "SELECT pg_promote(false)"
  timer.eventually(function()
    return host.node_exists(standby.handle, folder .. "/promoting")
  end, { timeout = "60s", every = 0.01, describe = "the promotion under way" })
  promotion.began_us = now_us()
  return {
    release = function()
      promotion.struck_us = now_us()
      -- A server that stands still, or is gone, is let go once it is healed.
      pcall(task.with_timeout, 5, let_go)
    end,
    finish = function()
      let_go()
      if promotion.struck_us then
        note(bundle, event, promotion, standby)
      end
      standby:stop "immediate"
      standby:follow(primary)
    end,
  }
end

return occasions
