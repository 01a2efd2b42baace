--- What flows over a connection bit by bit: rows fetched as they are asked for, COPY in and out.

local host = ...

--- Rows that are fetched as they are asked for: call it for the next one, nil at the end; closable.
---@class rpitr.Cursor
---@field package handle userdata
---@overload fun(): table<string, any>?
local Cursor = { __name = "rpitr.Cursor" }
Cursor.__index = Cursor

local FETCH = 500

function Cursor:__call()
  return host.sql_stream_next(self.handle)
end

--- Closes the cursor; what was not fetched is not sent.
function Cursor:close()
  host.sql_stream_close(self.handle)
end

Cursor.__close = Cursor.close

--- A COPY that takes rows; closable.
---@class rpitr.CopyIn
---@field package handle userdata
local CopyIn = { __name = "rpitr.CopyIn" }
CopyIn.__index = CopyIn

--- Sends bytes; waits while the server is busy.
---@param chunk string
---@error sql
function CopyIn:write(chunk)
  host.sql_copy_write(self.handle, chunk)
end

--- Ends the COPY; returns the number of rows.
---@return integer
---@error sql
function CopyIn:finish()
  return host.sql_copy_finish(self.handle)
end

function CopyIn:__close()
  host.sql_copy_abort(self.handle, "aborted by the script")
end

--- A COPY that gives rows: call it for the next chunk of bytes, nil at the end; closable.
---@class rpitr.CopyOut
---@field package handle userdata
---@overload fun(): string?
local CopyOut = { __name = "rpitr.CopyOut" }
CopyOut.__index = CopyOut

function CopyOut:__call()
  return host.sql_copy_next(self.handle)
end

function CopyOut:__close()
  host.sql_copy_close(self.handle)
end

return function(class)
  ---@class rpitr.Conn
  local Conn = class

  --- Rows one by one, for results larger than memory. Breaking off early is cheap.
  ---
  --- ```lua
  --- for row in db:rows "SELECT n FROM generate_series(1, 100000) n" do
  ---   if row.n == 10 then
  ---     break
  ---   end
  --- end
  --- ```
  ---@param statement string
  ---@param ... any  values of `$1`, `$2` ...
  ---@return rpitr.Cursor rows  for `for`, which closes it
  ---@return nil
  ---@return nil
  ---@return rpitr.Cursor
  ---@error sql, arg
  function Conn:rows(statement, ...)
    local cursor = self:cursor(statement, ...)
    return cursor, nil, nil, cursor
  end

  --- The same as a value: call it for the next row, nil at the end.
  ---
  --- ```lua
  --- local next_row <close> = db:cursor "SELECT n FROM generate_series(1, 3) n"
  --- assert(next_row().n == 1 and next_row().n == 2)
  --- ```
  ---@param statement string
  ---@param ... any  values of `$1`, `$2` ...
  ---@return rpitr.Cursor
  ---@error sql, arg
  function Conn:cursor(statement, ...)
    return setmetatable({ handle = host.sql_stream(self.handle, statement, FETCH, ...) }, Cursor)
  end

  --- Starts COPY ... FROM STDIN. Write chunks, then `finish()`; leaving the block before aborts it.
  ---
  --- ```lua
  --- db:exec "CREATE TEMP TABLE example_copy (id int, name text)"
  --- local copy <close> = db:copy_in "COPY example_copy FROM STDIN"
  --- copy:write "1\tx\n"
  --- assert(copy:finish() == 1)
  --- ```
  ---@param statement string
  ---@return rpitr.CopyIn
  ---@error sql
  function Conn:copy_in(statement)
    return setmetatable({ handle = host.sql_copy_in(self.handle, statement) }, CopyIn)
  end

  --- Starts COPY ... TO STDOUT; call the result for the next chunk, nil at the end.
  ---
  --- ```lua
  --- local bytes = 0
  --- for chunk in db:copy_out "COPY (SELECT generate_series(1, 3)) TO STDOUT" do
  ---   bytes = bytes + #chunk
  --- end
  --- assert(bytes == 6)
  --- ```
  ---@param statement string
  ---@return rpitr.CopyOut chunks  for `for`, which closes it
  ---@return nil
  ---@return nil
  ---@return rpitr.CopyOut
  ---@error sql
  function Conn:copy_out(statement)
    local source = setmetatable({ handle = host.sql_copy_out(self.handle, statement) }, CopyOut)
    return source, nil, nil, source
  end
end
