--- A node's server: its life from the first start to its removal.

local host, internal = ...
local args = require "rpitr.core.args"
local stopwatch = require "rpitr.core.stopwatch"
local timer = require "rpitr.timer"

return function(class)
  ---@class rpitr.Node
  local Node = class

  ---@class rpitr.lab.StartOptions
  ---@field timeout? rpitr.Duration  (default "60s")
  ---@field wait? "accepting"|"ready"|"exited"  (default "accepting") `accepting`: takes connections; `ready`: open for writing; `exited`: a recovery that shuts down at its target

  --- Starts the server and waits until it accepts connections. When it does not come up, the error has the FATAL line
  --- of its log.
  ---
  --- ```lua
  --- local server <close> = lab.postgres { name = "example_start" }
  --- server:stop()
  --- server:start { timeout = "2m" }
  --- ```
  ---@param options? rpitr.lab.StartOptions
  ---@return rpitr.Node node  itself
  ---@error postgres, timeout, arg
  function Node:start(options)
    local opts = args.options("node:start", options, {
      timeout = { "duration", 60 },
      wait = { "string", "accepting" },
    })
    args.choice("node:start", "option wait", opts.wait, { "accepting", "ready", "exited" })
    self.status_at_start, self.log_offset = stopwatch.run("postgres start", host.node_start, self.handle, {
      timeout = opts.timeout,
      ["until"] = opts.wait,
      private = self.role == "sandbox",
      env = self.start_env,
    })
    return self
  end

  ---@class rpitr.lab.StopOptions
  ---@field timeout? rpitr.Duration  (default "60s")

  --- Stops the server.
  ---
  --- ```lua
  --- local server <close> = lab.postgres { name = "example_stop" }
  --- server:stop "immediate" -- as a crash: recovery at the next start
  --- server:start()
  --- ```
  ---@param mode? "smart"|"fast"|"immediate"  as pg_ctl's; default "fast"
  ---@param options? rpitr.lab.StopOptions
  ---@error timeout, arg
  function Node:stop(mode, options)
    mode = args.choice("node:stop", "mode", mode or "fast", { "smart", "fast", "immediate" })
    local opts = args.options("node:stop", options, { timeout = { "duration", 60 } })
    self:forget_admin()
    stopwatch.run("postgres stop", host.node_stop, self.handle, mode, opts.timeout)
  end

  --- Stops and starts.
  ---@param mode? "smart"|"fast"|"immediate"  as for `node:stop`
  ---@return rpitr.Node node  itself
  ---@error postgres, timeout, arg
  function Node:restart(mode)
    self:stop(mode)
    return self:start()
  end

  --- SIGKILL to the server and all its processes, as a crash would.
  ---
  --- ```lua
  --- local server <close> = lab.postgres { name = "example_kill" }
  --- server:kill()
  --- assert(server:status() == "crashed")
  --- ```
  function Node:kill()
    self:forget_admin()
    host.node_kill(self.handle)
  end

  --- Freezes every process of the server (SIGSTOP): to the others it looks unreachable.
  ---
  --- ```lua
  --- pg:pause()
  --- assert(pg:status() == "paused")
  --- pg:resume()
  --- ```
  function Node:pause()
    host.node_pause(self.handle)
  end

  --- Lets a paused server go on.
  function Node:resume()
    host.node_resume(self.handle)
  end

  --- What state the server is in.
  ---@return "absent"|"stopped"|"starting"|"running"|"standby"|"paused"|"crashed"
  function Node:status()
    return host.node_status(self.handle)
  end

  ---@class rpitr.lab.PromoteOptions
  ---@field timeout? rpitr.Duration  (default "60s")

  --- Ends recovery; waits until the server accepts writes.
  ---
  --- ```lua
  --- local standby <close> = lab.standby(pg, { name = "example_promoted" })
  --- standby:promote()
  --- assert(standby:timeline() > pg:timeline())
  --- ```
  ---@param options? rpitr.lab.PromoteOptions
  ---@error timeout, postgres, sql, arg
  function Node:promote(options)
    local opts = args.options("node:promote", options, { timeout = { "duration", 60 } })
    stopwatch.run("promote", function()
      self:admin():exec "SELECT pg_promote(false)"
      self:wait_writable(opts)
    end)
  end

  ---@class rpitr.lab.WaitOptions
  ---@field timeout? rpitr.Duration  (default "60s")

  --- Waits until the server has left recovery.
  ---@param options? rpitr.lab.WaitOptions
  ---@error timeout
  ---@error postgres  it died
  ---@error arg
  function Node:wait_writable(options)
    local opts = args.options("node:wait_writable", options, { timeout = { "duration", 60 } })
    timer.eventually(function()
      if self:status() == "crashed" then
        local died = { kind = "postgres", code = "fatal", message = self.name .. " died", detail = self:why_died() }
        internal.raise(died, 2)
      end
      return self:admin():value "SELECT NOT pg_is_in_recovery()"
    end, { timeout = opts.timeout, every = 0.005, describe = "the end of recovery on " .. self.name })
  end

  --- The log lines that say why the server is not running.
  ---@return string?
  function Node:why_died()
    return host.node_why_died(self.handle)
  end

  --- Has the server write every changed page to disk now, and waits for it.
  ---@error sql
  function Node:checkpoint()
    stopwatch.run("checkpoint", function()
      self:admin():exec "CHECKPOINT"
    end)
  end

  --- Removes the node's data directory, which the lab made.
  function Node:wipe()
    self:forget_admin()
    host.node_remove_tree(self.handle, self.data)
  end

  --- Kills the server and removes everything that is the node's own; its name is free again. Archive and
  --- backups stay with the lab.
  ---
  --- ```lua
  --- local gone = lab.sandbox { name = "example_removed" }
  --- gone:remove()
  --- assert(lab.nodes().example_removed == nil)
  --- ```
  function Node:remove()
    self:forget_admin()
    host.node_remove(self.lab.handle, self.handle)
    self.lab.nodes[self.name] = nil
    self.removed = true
  end

  -- Leaving a block stops the server; the lab removes its files when the run ends.
  function Node:__close()
    if self.removed then
      return
    end
    self:forget_admin()
    local status = self:status()
    if status ~= "absent" and status ~= "stopped" and status ~= "crashed" then
      host.node_stop(self.handle, "immediate", 30)
    end
  end
end
