---@meta

--- A WAL position. Two of them compare with `<`, `<=`, `==`; `a - b` is bytes, `a + 16` and `a - 16` are positions. Where an
--- LSN is asked for, its text will do. Prints as PostgreSQL writes it: `0/16B3748`.
---
--- ```lua
--- local a, b = lsn "0/3000028", lsn "0/3000148"
--- assert(a < b and b - a == 288 and a + 288 == b)
--- ```
---@class rpitr.Lsn : userdata
---@operator add(integer): rpitr.Lsn
---@operator sub(integer): rpitr.Lsn
---@operator sub(rpitr.Lsn): integer
local Lsn = {}

--- The position as a number: bytes since the beginning of the WAL.
---
--- ```lua
--- assert(lsn("1/0"):bytes() == 2 ^ 32)
--- ```
---@return integer
function Lsn:bytes() end

--- A point in time, to the microsecond, always UTC. Two of them compare with `<`, `<=`, `==`; `a - b` is seconds, `a + 1.5` and
--- `a - 1.5` are times. Prints in the form PostgreSQL reads back exactly: `2026-11-21 03:16:27.828671+00`.
---
--- ```lua
--- local a = time.parse "2026-11-21 03:16:27Z"
--- assert((a + 1.5) - a == 1.5)
--- ```
---@class rpitr.Time : userdata
---@field micros integer  microseconds since 1970-01-01
---@operator add(number): rpitr.Time
---@operator sub(number): rpitr.Time
---@operator sub(rpitr.Time): number
local Time = {}

--- Seconds since 1970-01-01.
---@return number
function Time:unix() end

--- As RFC 3339 writes it: `2026-11-21T03:16:27.828671Z`. Nil for a year no calendar here has.
---
--- ```lua
--- assert(time.parse("2026-11-21 05:16:27+02"):rfc3339() == "2026-11-21T03:16:27.000000Z")
--- ```
---@return string?
function Time:rfc3339() end
