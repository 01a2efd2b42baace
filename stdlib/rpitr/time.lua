--- Points in time: microseconds, always UTC.
---
--- A time compares with `<`, `<=`, `==`; `a - b` is seconds, `a + 1.5` is a time. It prints in the
--- form PostgreSQL reads back exactly: `2026-11-21 03:16:27.828671+00`.
---@class rpitr.time
local time = {}

local host = ...
local args = require "rpitr.core.args"

--- This machine's clock.
---
--- ```lua
--- local before = time.now()
--- assert(time.now() >= before and time.now() - before < 60)
--- ```
---@return rpitr.Time
function time.now()
  return host.time_now()
end

--- Reads a time. The UTC offset must be written: without it a server would read the text in its
--- own time zone (PostgreSQL does for `recovery_target_time`).
---
--- ```lua
--- assert(time.parse "2026-11-21 05:00:00+02" == time.parse "2026-11-21 03:00:00Z")
--- ```
---@param text string
---@return rpitr.Time
---@error arg
function time.parse(text)
  return host.time_parse(args.check("time.parse", "text", text, "string"))
end

return time
