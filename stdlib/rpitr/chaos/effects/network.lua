--- Faults of the network, in the proxies on the ways to the primary; a container's cable is pulled instead.

local host, internal = ...

local network = {}

-- The proxies a fault acts in. An edge goes by who is at its other end.
local function edges_of(cluster, fault)
  local primary, list = cluster.primary, {}
  local function add(who)
    if who then
      list[#list + 1] = primary:edge(who)
    end
  end
  if fault.target == "primary" then
    primary:edge "client"
    for _, edge in pairs(primary.edges) do
      list[#list + 1] = edge
    end
  elseif fault.target == "client" then
    add "client"
  else
    local node = cluster[fault.target]
      or internal.raise({ kind = "arg", code = "no_target", message = "the cluster has no " .. fault.target }, 4)
    add(node.name)
  end
  return list
end

-- A fault that is a rule of the proxies.
local function ruled(rule)
  return {
    plan = function(cluster, fault, _, undo)
      undo.edges = edges_of(cluster, fault)
      return {}
    end,
    strike = function(_, fault, _, undo)
      undo.ruled = true
      undo.lost = undo.edges[1] and host.proxy_stats(undo.edges[1].handle).acks_lost
      for _, edge in ipairs(undo.edges) do
        host.proxy_add(edge.handle, undo.seq, rule(fault))
      end
    end,
    before = function(undo)
      for _, edge in ipairs(undo.ruled and undo.edges or {}) do
        host.proxy_remove(edge.handle, undo.seq)
      end
    end,
  }
end

network.cut_pair = ruled(function()
  return { rule = "cut", up = true, down = true }
end)

network.cut_oneway = ruled(function(fault)
  return { rule = "cut", up = fault.way == "up", down = fault.way == "down" }
end)

network.latency = ruled(function(fault)
  return { rule = "latency", delay = fault.delay, jitter = fault.jitter }
end)

network.rate = ruled(function(fault)
  return { rule = "rate", bytes = fault.bytes }
end)

network.reset = ruled(function()
  return { rule = "reset" }
end)

network.ack_loss = ruled(function(fault)
  return {
    rule = "ack_loss",
    seed = fault.seed,
    probability = fault.probability,
    every = fault.every,
    most = fault.most,
  }
end)
network.ack_loss.fired = function(undo)
  return host.proxy_stats(undo.edges[1].handle).acks_lost - undo.lost
end

-- Everybody's way to the node: its proxies, or the cable of its container.
local by_proxy = ruled(function()
  return { rule = "cut", up = true, down = true }
end)

local function is_container()
  return host.options.runtime == "docker"
end

network.isolate = {
  plan = function(cluster, fault, node, undo)
    if not is_container() then
      return by_proxy.plan(cluster, fault, node, undo)
    end
    undo.node = node
    return { { ["do"] = "rejoin", node = node.name, address = host.node_address(node.handle) } }
  end,
  strike = function(cluster, fault, node, undo)
    if is_container() then
      node:disconnect()
    else
      by_proxy.strike(cluster, fault, node, undo)
    end
  end,
  before = function(undo)
    if undo.node then
      undo.node:forget_admin()
    else
      by_proxy.before(undo)
    end
  end,
}

return network
