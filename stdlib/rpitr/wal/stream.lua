--- Streams: what a thread reads of an archive, batch by batch, given to the script one by one.

local host = ...

--- What is read of an archive, one by one: call it for the next, nil at the end; closable.
---@class rpitr.WalStream
---@overload fun(): table?
---@field package handle userdata
---@field package batch? table[]
---@field package at integer
local Stream = { __name = "rpitr.WalStream" }
Stream.__index = Stream

function Stream:__call()
  if not self.batch then
    return nil
  end
  self.at = self.at + 1
  if not self.batch[self.at] then
    self.batch, self.at = host.wal_stream_next(self.handle), 1
  end
  return self.batch and self.batch[self.at]
end

--- Ends the reading.
function Stream:close()
  self.batch = nil
  host.wal_stream_close(self.handle)
end

Stream.__close = Stream.close

-- An iterator for `for` over what the host reads: `kind` is "commits" or "records".
return function(kind, wanted)
  local made = setmetatable({ handle = host.wal_stream(kind, wanted), batch = {}, at = 0 }, Stream)
  return made, nil, nil, made
end
