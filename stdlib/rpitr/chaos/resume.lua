--- Finding a killed run again: its servers by its lab, what it had done by its bundle.
--
-- rpitr may be killed at any moment. The guardian has healed what was broken just then; the servers are there, the
-- schedule says what is still to come, and the log of the writers says which operations nobody knows the end of.

local host, internal = ...
local inject = require "rpitr.chaos.inject"
local lab = require "rpitr.lab"

local resume = {}

local function gone(bundle, why, cause)
  internal.raise({
    kind = "environment",
    code = "lab_gone",
    message = ("the run in %s cannot go on: %s"):format(bundle.dir, why),
    hint = "its servers are gone with their lab; rpitr chaos replay DIR runs its schedule on new ones",
    cause = cause,
  }, 3)
end

-- What a run must remember of its servers to find them again; the rest is on record with their lab.
function resume.describe(cluster)
  local receiver = cluster.receiver
  return {
    lab = cluster.primary.lab.info.id,
    primary = cluster.primary.name,
    proxied = cluster.primary.proxied or false,
    standby = cluster.standby and cluster.standby.name,
    receiver = receiver and receiver.name,
    synchronous = receiver and receiver.synchronous,
  }
end

-- The server runs, whatever it did when rpitr was killed or the machine went down.
local function bring_up(bundle, node)
  local status = node:status()
  if status == "paused" then
    node:resume()
  elseif status == "crashed" or status == "stopped" then
    local ok, e = xpcall(node.start, internal.as_error, node, { timeout = "120s" })
    if not ok then
      gone(bundle, ("%s does not come up: %s"):format(node.name, e.message), e)
    end
  elseif status == "absent" then
    gone(bundle, ("the data directory of %s is not there"):format(node.name))
  end
end

local function find(bundle, nodes, name)
  if not nodes[name] then
    gone(bundle, ("the lab has no node %s"):format(name))
  end
  return nodes[name]
end

local function take_primary(bundle, nodes, known)
  local primary = find(bundle, nodes, known.primary)
  primary.proxied = known.proxied
  bring_up(bundle, primary)
  primary:wait_writable { timeout = "120s" }
  return primary
end

-- A standby that was being promoted when rpitr was killed is made a standby again.
local function take_standby(bundle, nodes, name, primary)
  local standby = find(bundle, nodes, name)
  standby.primary = primary
  bring_up(bundle, standby)
  if standby.settings.recovery_end_command or not standby:value "SELECT pg_is_in_recovery()" then
    standby:stop "immediate"
    return standby:follow(primary)
  end
  -- The guardian has led it past the proxies, which ended with rpitr.
  standby:write_conf { primary_conninfo = primary:link_for(standby) .. " application_name=" .. standby.name }
  standby:reload()
  primary:wait_streaming(standby, { timeout = "120s" })
  return standby
end

local function take_receiver(bundle, nodes, known, primary)
  local receiver = find(bundle, nodes, known.receiver)
  receiver.synchronous = known.synchronous
  receiver:kill()
  receiver:lead_to_primary()
  receiver:start { timeout = "120s" }
  primary:wait_streaming(receiver, { timeout = "120s" })
  return receiver
end

-- Restores that were under way.
local function remove_sandboxes(nodes)
  local left = {}
  for _, node in pairs(nodes) do
    if node.role == "sandbox" then
      left[#left + 1] = node
    end
  end
  for _, node in ipairs(left) do
    node:remove()
  end
end

--- The servers of a killed run, healed and running.
---@param bundle rpitr.Bundle
---@param known table  what `resume.describe` gave
---@return rpitr.chaos.Cluster
---@return string[] not_healed  faults that could not be
---@error environment (code "lab_gone")
function resume.cluster(bundle, known)
  local ok, there = xpcall(lab.attach, internal.as_error, known.lab, { adopt = true })
  if not ok then
    if there.code ~= "unknown_lab" and there.code ~= "lab_gone" then
      error(there, 0)
    end
    gone(bundle, there.message, there)
  end
  local nodes, not_healed = there.nodes, {}
  for _, fault in ipairs(host.chaos_settle(there.handle)) do
    if fault.failure then
      not_healed[#not_healed + 1] = ("%s: %s"):format(fault.what, fault.failure)
    end
  end
  local primary = take_primary(bundle, nodes, known)
  remove_sandboxes(nodes)
  local cluster = {
    primary = primary,
    standby = known.standby and take_standby(bundle, nodes, known.standby, primary),
    receiver = known.receiver and take_receiver(bundle, nodes, known, primary),
  }
  if known.proxied then
    inject.watch(cluster)
  end
  return cluster, not_healed
end

--- What the run had done before it was killed, by its own events.
---@param bundle rpitr.Bundle
---@return table { epoch, elapsed, fired, open, segment, over, concluded, stats }
function resume.past(bundle, plan)
  local past = { epoch = 1, elapsed = 0, fired = {}, open = {} }
  for _, event in ipairs(bundle:lines "events.jsonl") do
    local n = event.n
    if event.e == "epoch" then
      past.epoch = event.epoch + 1
    elseif event.e == "storm" then
      past.segment = event.segment
    elseif event.e == "over" then
      past.over, past.stats = true, event.stats
    elseif event.e == "concluded" then
      past.concluded = true
    elseif event.e == "injecting" or event.e == "inject" then
      past.fired[n], past.open[n] = true, event
    elseif event.e == "inject_failed" then
      past.fired[n], past.open[n] = true, nil
    elseif event.e == "heal" or event.e == "heal_failed" then
      past.open[n] = nil
    end
  end
  for _, sample in ipairs(bundle:lines "samples.jsonl") do
    past.elapsed = math.max(past.elapsed, sample.elapsed)
  end
  for _, event in ipairs(plan.events) do
    past.elapsed = math.max(past.elapsed, past.fired[event.n] and event.at or 0)
  end
  return past
end

return resume
