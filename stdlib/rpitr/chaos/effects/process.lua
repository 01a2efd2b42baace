--- Faults of processes: freezing, killing, stopping servers.

local host, internal = ...
local task = require "rpitr.task"
local timer = require "rpitr.timer"

-- The server runs again, with the environment it was started with.
local function start(node)
  local env = {}
  for name, value in pairs(node.start_env or {}) do
    env[#env + 1] = { name, value }
  end
  return { ["do"] = "start", node = node.name, env = #env > 0 and env or nil }
end

local function started(_, _, node)
  return { start(node) }
end

local function forget(undo)
  undo.node:forget_admin()
end

local process = {}

process.pause = {
  plan = function(_, _, node, undo)
    undo.node = node
    return { { ["do"] = "resume", node = node.name } }
  end,
  strike = function(_, _, node)
    node:pause()
  end,
}

process.kill_tree = {
  plan = started,
  strike = function(_, _, node)
    node:kill()
  end,
}

local KILL_POSTMASTER = [[read -r pid <"$1/postmaster.pid" && kill -9 "$pid"]]

process.kill_postmaster = {
  plan = started,
  strike = function(_, _, node)
    node:forget_admin()
    node:exec { "sh", "-c", KILL_POSTMASTER, "sh", node.data }
    timer.eventually(function()
      local status = node:status()
      return status == "crashed" or status == "stopped"
    end, { timeout = "20s", describe = "the end of the postmaster of " .. node.name })
  end,
}

local BACKENDS = [[
SELECT pid FROM pg_stat_activity
WHERE backend_type IN ('client backend', 'walsender') AND pid <> pg_backend_pid()
ORDER BY backend_type, state = 'active' DESC NULLS LAST, backend_start DESC LIMIT 1]]

-- How often a server has come up, by its own word.
local function ready_count(node)
  local _, count = node:logs():gsub("database system is ready to accept", "")
  return count
end

process.kill_backend = {
  plan = function(_, _, node, undo)
    undo.node = node
    return { start(node) }
  end,
  strike = function(_, fault, node)
    local before = ready_count(node)
    local pid = node:value(BACKENDS) or node:value "SELECT pg_backend_pid()"
    fault.pid = pid
    node:exec { "sh", "-c", 'kill -9 "$1"', "sh", pid }
    node:forget_admin()
    timer.eventually(function()
      return ready_count(node) > before
    end, { timeout = "60s", describe = node.name .. " back after the loss of a backend" })
  end,
  before = forget,
}

process.immediate = {
  plan = started,
  strike = function(_, _, node)
    node:stop "immediate"
  end,
}

process.restart = {
  plan = started,
  strike = function(_, fault, node)
    node:restart(fault.mode)
  end,
}

process.crash_loop = {
  plan = function(_, _, node, undo)
    undo.node = node
    return { start(node) }
  end,
  strike = function(_, fault, node, undo)
    node:kill()
    undo.crashes = 1
    undo.loop = task.spawn(function()
      while undo.crashes < fault.times do
        timer.sleep(fault.every)
        -- Shielded: a start that is cut short would leave it open what the server does.
        task.shield(function()
          pcall(node.start, node)
          node:kill()
        end)
        undo.crashes = undo.crashes + 1
      end
    end)
  end,
  before = function(undo)
    undo.loop:cancel()
    pcall(undo.loop.join, undo.loop)
  end,
  fired = function(undo)
    return undo.crashes
  end,
}

-- A receiver is a node like any other.
process.kill_capturer = process.kill_tree

for _, effect in pairs(process) do
  if not effect.strike then
    internal.raise { kind = "internal", message = "a fault without effect" }
  end
end

return process
