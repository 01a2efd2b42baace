--- What faults need of a node: the proxies on the ways to it, and a clock that can be set.

local host, internal = ...
local args = require "rpitr.core.args"

-- Where Debian and Fedora put it; the multi-threaded one is for programs with threads.
local FAKETIME = {
  "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
  "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
  "/usr/lib64/faketime/libfaketime.so.1",
  "/usr/lib/faketime/libfaketime.so.1",
}

local faketime = {}

--- The libfaketime of this machine, or nil.
function faketime.library()
  for _, path in ipairs(FAKETIME) do
    if host.fs_exists(path) then
      return path
    end
  end
end

return setmetatable(faketime, {
  __call = function(_, class)
    ---@class rpitr.Node
    local Node = class

    ---@class rpitr.lab.Edge
    ---@field host string  where the proxy listens
    ---@field port integer
    ---@field target string  where it leads: host:port
    ---@field handle userdata
    ---@field direct? string  how the node is reached past it
    ---@field through? string  how it is reached through it
    ---@field watched? boolean

    --- The proxy on the way from `who` to this node, made when it is first asked for.
    ---@param who string  "client", or the name of another node
    ---@return rpitr.lab.Edge
    ---@error state  code "not_proxied"
    ---@error arg
    function Node:edge(who)
      args.check("node:edge", "who", who, "string")
      self.edges = self.edges or {}
      if not self.proxied then
        internal.raise({
          kind = "state",
          code = "not_proxied",
          message = ("there are no proxies on the ways to %s"):format(self.name),
          hint = "create it with lab.postgres { proxied = true }",
        }, 2)
      end
      if not self.edges[who] then
        self.edges[who] = host.proxy_open(self.handle, who ~= "client")
      end
      return self.edges[who]
    end

    ---@class rpitr.lab.Traffic
    ---@field open integer  connections that are open
    ---@field accepted integer  connections there have been
    ---@field torn integer  connections a fault has torn down
    ---@field up integer  bytes towards the node
    ---@field down integer  bytes from it
    ---@field commits integer  answers to COMMIT that came by
    ---@field acks_lost integer  those of them a fault kept back

    --- What the proxy on the way from `who` has seen.
    ---
    --- ```lua
    --- local server <close> = lab.postgres { name = "example_proxied", proxied = true }
    --- local db <close> = server:connect()
    --- assert(server:traffic("client").up > 0)
    --- ```
    ---@param who string  "client", or the name of another node
    ---@return rpitr.lab.Traffic
    ---@error state  code "not_proxied"
    ---@error arg
    function Node:traffic(who)
      return host.proxy_stats(self:edge(who).handle)
    end

    --- Where clients find the server: its proxy if it has one, else `node:endpoint()`.
    ---@return rpitr.lab.Endpoint
    function Node:client_endpoint()
      local settings = self:endpoint()
      if self.proxied then
        local edge = self:edge "client"
        settings.host, settings.port = edge.host, edge.port
      end
      return settings
    end

    --- How another node reaches this one, as a connection string without a password.
    ---@param other rpitr.Node
    ---@return string
    function Node:link_for(other)
      local link = host.node_conninfo(self.handle, other.handle, host.lab_passfile(self.lab.handle), self.lab.superuser)
      if not self.proxied then
        return link
      end
      local edge = self:edge(other.name)
      edge.direct = link:match "^host=%S+ port=%d+"
      edge.through = ("host=%s port=%d"):format(edge.host, edge.port)
      return edge.through .. link:sub(#edge.direct + 1)
    end

    --- Has the server read a clock that can be set, from its next start on. Needs libfaketime on this machine.
    ---@error environment  code "no_faketime"
    function Node:fake_clock()
      local library = faketime.library()
      if host.options.runtime ~= "local" or not library then
        internal.raise({
          kind = "environment",
          code = "no_faketime",
          message = "clocks cannot be faked here",
          hint = "it takes the local runtime and libfaketime (apt install faketime)",
        }, 2)
      end
      self.clock = self.info.folder .. "/clock"
      host.node_write(self.handle, self.clock, "+0\n")
      self.start_env = self:clock_env()
    end

    --- The file a faked clock is read from, if the node has one.
    function Node:existing_clock()
      local clock = self.info.folder .. "/clock"
      return self.lab.info.runtime == "local" and host.node_exists(self.handle, clock) and clock or nil
    end

    --- What a server with a faked clock is started with.
    function Node:clock_env()
      return {
        LD_PRELOAD = faketime.library(),
        FAKETIME_TIMESTAMP_FILE = self.clock,
        FAKETIME_NO_CACHE = "1",
        FAKETIME_DONT_FAKE_MONOTONIC = "1",
      }
    end
  end,
})
