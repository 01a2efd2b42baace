--- Targets of a run and their real restores, several at a time in sandboxes beside the server.

local host, internal = ...
local args = require "rpitr.core.args"
local pitr = require "rpitr.pitr"
local task = require "rpitr.task"

local targets = {}

local SPEC = {
  restores = { "integer", 12 },
  bundle = { "integer", 1000 },
  adversarial = { "number", 0.6 },
  parallel = { "integer", 2 },
}

-- How a run is proved, as plain data; see `chaos.targets`.
function targets.spec(options)
  return args.options("chaos.targets", options, SPEC)
end

-- What pitr.restore takes, from what a bundle stores.
local function option_of(target)
  return {
    time = target.time_us and host.time_from_micros(target.time_us) or nil,
    lsn = target.lsn,
    xid = target.xid,
    latest = target.kind == "latest" or nil,
    inclusive = target.inclusive,
  }
end

-- The server's own line about where it stopped, taken apart.
local function server_stop(says)
  local side, what, xid, time = (says or ""):match "^(%a+) (%a+) of transaction (%d+), time (.+)$"
  if side then
    return {
      before = side == "before",
      committed = what == "commit",
      xid = math.tointeger(tonumber(xid)),
      time_us = host.time_micros(host.time_parse((time:gsub(" UTC$", "+00")))),
    }
  end
  local where, lsn = (says or ""):match "^(%a+) WAL location (%x+/%x+)$"
  return where and { before = where == "before", lsn = lsn } or nil
end

local function describe(node)
  local last = node.plan.stop.last_commit
  return {
    backup = node.proof.backup,
    timeline = node.proof.parent_timeline,
    reached = tostring(node.proof.reached_lsn),
    predicted_xid = last and last.xid,
    server = server_stop(node.proof.server_says),
  }
end

-- Sandboxes of one run after another need names of their own.
local sandboxes = 0

-- Restores to one target and writes down what came of it: `restores/N.json` and its rows. `options`
-- ({ actual = target?, tamper = function(node)? }) is what a test plants: a restore that does something else than it says.
function targets.restore(bundle, primary, n, drawn, options)
  local planted = options or {}
  local started = host.now()
  local entry = { n = n, target = drawn.target, why = drawn.why }
  local name = ("restores/%03d"):format(n)
  sandboxes = sandboxes + 1
  local sandbox = "target-" .. sandboxes
  local ok, e = xpcall(function()
    local node <close> = pitr.restore(primary, {
      to = option_of(planted.actual or drawn.target),
      name = sandbox,
      verify = false,
    })
    for key, value in pairs(describe(node)) do
      entry[key] = value
    end
    if planted.tamper then
      planted.tamper(node)
    end
    bundle:rows(node, name .. ".tsv.zst")
    entry.state = name:match "[^/]+$" .. ".tsv.zst"
    node:stop "immediate"
    node:wipe()
  end, internal.as_error)
  if not ok then
    if e.kind == "cancelled" or e.kind == "interrupted" or e.kind == "timeout" and e.code == "deadline" then
      error(e, 0)
    end
    entry.error = e.message .. (e.detail and ": " .. e.detail or "")
  end
  bundle:write(name .. ".json", entry)
  return { n = n, ok = ok, seconds = host.now() - started, error = entry.error }
end

-- Restores to every target of a list, `parallel` at a time. Calls `each(done, count)` after each.
function targets.restore_all(bundle, primary, list, parallel, each)
  local next_one, done, results = 0, 0, {}
  local function is_done(n)
    return host.fs_exists(bundle:path(("restores/%03d.json"):format(n)))
  end
  task.group(function(g)
    for _ = 1, math.min(parallel, #list) do
      g:spawn(function()
        while next_one < #list do
          next_one = next_one + 1
          local n = next_one
          -- Those of a run that was killed are there already.
          results[n] = not is_done(n) and targets.restore(bundle, primary, n, list[n]) or nil
          done = done + 1
          if each then
            each(done, #list)
          end
        end
      end)
    end
  end)
  return results
end

return targets
