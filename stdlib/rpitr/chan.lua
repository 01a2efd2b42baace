--- Channels: hand values from task to task.
---
--- `chan.new(n)` holds up to `n` values; `send` waits while it is full, `recv` while it is empty.
--- A closed channel is drained, then `recv` returns nil. `for v in ch do` receives until then.
---@class rpitr.chan
local chan = {}

local host, internal = ...
local args = require "rpitr.core.args"

--- A channel; closable. Calling it receives.
---@class rpitr.Chan
---@overload fun(): any
---@field capacity integer
---@field closed boolean
---@field package [integer] any  what is in it
---@field package first integer
---@field package last integer
---@field package event userdata
local Chan = { __name = "rpitr.Chan" }
Chan.__index = Chan

--- A new channel.
---
--- ```lua
--- local ch = chan.new(2)
--- ch:send(1)
--- ch:close()
--- assert(ch:recv() == 1 and ch:recv() == nil)
--- ```
---@param capacity? integer  values held before `send` waits; default 1
---@return rpitr.Chan
---@error arg
function chan.new(capacity)
  capacity = args.check("chan.new", "capacity", capacity, "integer?") or 1
  return setmetatable({
    capacity = math.max(capacity, 1),
    first = 1,
    last = 0,
    closed = false,
    event = host.event_new(),
  }, Chan)
end

--- Sends a value; waits while the channel is full.
---@param value any  not nil, which marks the end
---@error state  the channel is closed
---@error arg  nil
function Chan:send(value)
  if value == nil then
    internal.raise({ kind = "arg", message = "chan:send: nil marks the end; close the channel instead" }, 2)
  end
  while not self.closed and self.last - self.first + 1 >= self.capacity do
    host.event_wait(self.event)
  end
  if self.closed then
    internal.raise({ kind = "state", message = "chan:send: the channel is closed" }, 2)
  end
  self.last = self.last + 1
  self[self.last] = value
  host.event_notify(self.event)
end

--- Receives the next value, or nil when the channel is closed and empty.
---
--- ```lua
--- local ch = chan.new()
--- task.spawn(function()
---   for i = 1, 3 do
---     ch:send(i)
---   end
---   ch:close()
--- end)
--- local sum = 0
--- for value in ch do
---   sum = sum + value
--- end
--- assert(sum == 6)
--- ```
---@return any
function Chan:recv()
  while self.first > self.last do
    if self.closed then
      return nil
    end
    host.event_wait(self.event)
  end
  local value = self[self.first]
  self[self.first] = nil
  self.first = self.first + 1
  host.event_notify(self.event)
  return value
end

Chan.__call = Chan.recv

--- No more values will be sent. What is in the channel can still be received.
function Chan:close()
  self.closed = true
  host.event_notify(self.event)
end

function Chan:__close()
  self:close()
end

return chan
