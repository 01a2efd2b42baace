--- What only a node that is a container can: its cable, its limits, what the engine knows of it.

local host = ...
local args = require "rpitr.core.args"

return function(class)
  ---@class rpitr.Node
  local Node = class

  --- Pulls the node's network cable: the server runs on, nobody reaches it, connections hang. Containers
  --- only. Nothing happens when it is pulled already.
  ---
  --- ```lua
  --- -- needs: --runtime docker
  --- pg:disconnect()
  --- pg:reconnect()
  --- ```
  ---@error state  on the local runtime, which has no network of its own
  function Node:disconnect()
    self:forget_admin()
    host.node_disconnect(self.handle)
  end

  --- Plugs it in again: the same name, port and address.
  ---@error state  on the local runtime
  function Node:reconnect()
    host.node_reconnect(self.handle)
  end

  ---@class rpitr.lab.Inspection
  ---@field container string
  ---@field image string
  ---@field running boolean
  ---@field paused boolean
  ---@field oom_killed boolean  the kernel killed a process of it for want of memory
  ---@field exit_code? integer
  ---@field memory? integer  limit in bytes, nil when there is none
  ---@field networks table<string, string>  address in each, by the network's name

  --- What the engine knows of the node's container.
  ---@return rpitr.lab.Inspection
  ---@error state  on the local runtime
  function Node:inspect()
    return host.node_inspect(self.handle)
  end

  ---@class rpitr.lab.Limits
  ---@field memory? rpitr.Size  with swap
  ---@field cpus? number  processors: 0.5 is half of one
  ---@field pids? integer  number of processes

  --- Limits the node's memory, processors or number of processes. Containers only.
  ---
  --- ```lua
  --- -- needs: --runtime docker
  --- pg:limit { memory = "256MB", cpus = 0.5 }
  --- ```
  ---@param limits rpitr.lab.Limits
  ---@error state  on the local runtime
  ---@error arg
  function Node:limit(limits)
    local opts = args.options("node:limit", limits, { memory = "size?", cpus = "number?", pids = "integer?" })
    opts.memory = opts.memory and math.floor(opts.memory)
    host.node_limit(self.handle, opts)
  end
end
