--- SQL connections.
--
-- Types: integers are exact to 64 bit; numeric arrives as a string, so that no digit is lost;
-- timestamptz as a time value; timestamp, date, time, interval, uuid and ranges as their text;
-- json decoded; arrays as lists with `sql.null` for NULL elements; pg_lsn as an lsn value; NULL as
-- nil; any other type as its text. Parameters are `$1`, `$2`: nothing is ever pasted into SQL.
-- Errors have kind "sql" and the SQLSTATE in `code`. A timeout cancels the statement on the server.

local host, internal = ...
local args = require "rpitr.core.args"
local json = require "rpitr.json"
local task = require "rpitr.task"

local sql = { null = json.null }

local Conn = { __name = "rpitr.Conn" }
Conn.__index = Conn

local function connection(handle)
  return setmetatable({ handle = handle, depth = 0 }, Conn)
end

-- What may be given to connect: a URL or key/value string, or a table of libpq's keys.
local function target(name, where)
  if where == nil or type(where) == "string" then
    return where, {}
  end
  args.check(name, "target", where, "table")
  local options = {}
  for key, value in pairs(where) do
    if type(key) == "string" then
      options[key] = tostring(value)
    end
  end
  return where[1], options
end

--- Opens a connection.
-- @param where string|table?  a URL, a key/value string, a table of libpq's keys
--   (host, port, user, password, dbname, sslmode, sslrootcert, service, passfile ...), or a table
--   with a URL first. What is missing comes from the service file, the PG* variables and ~/.pgpass.
-- @return Conn; closable
-- @error sql, arg
-- @usage local db <close> = sql.connect "postgres://app@localhost/shop?sslmode=verify-full"
function sql.connect(where)
  return connection(host.sql_connect(target("sql.connect", where)))
end

--- Quotes an identifier.
-- @usage assert(sql.identifier 'odd "name"' == '"odd ""name"""')
function sql.identifier(name)
  return '"' .. args.check("sql.identifier", "name", name, "string"):gsub('"', '""') .. '"'
end

function Conn:__tostring()
  return "connection " .. host.sql_describe(self.handle)
end

--- Runs a query; returns its rows: `{ row..., columns = { name... } }`, each row a table by name.
-- @usage for _, row in ipairs(db:query("SELECT * FROM t WHERE id > $1", 5)) do print(row.id) end
function Conn:query(statement, ...)
  return host.sql_query(self.handle, statement, ...)
end

--- The first row, or nil.
function Conn:row(statement, ...)
  return host.sql_row(self.handle, statement, ...)
end

--- The first column of the first row, or nil.
-- @usage local n = db:value "SELECT count(*) FROM orders"
function Conn:value(statement, ...)
  return host.sql_value(self.handle, statement, ...)
end

--- Runs a statement; returns the number of rows it touched. Without parameters
-- several statements may be given, separated by semicolons.
function Conn:exec(statement, ...)
  return host.sql_exec(self.handle, statement, ...)
end

--- Runs `fn(db)` in a transaction: COMMIT when it returns, ROLLBACK when it raises or is cancelled.
-- Nested calls are savepoints. Returns what `fn` returns.
-- @param options { isolation = string?, read_only = false, rollback = false }  `rollback`: undo the
--   work even when `fn` returns; for a look at what a change would do
-- @usage db:tx(function() db:exec("DELETE FROM t WHERE id = $1", 1) end)
function Conn:tx(fn, options)
  args.check("db:tx", "fn", fn, "function")
  local opts = args.options("db:tx", options, {
    isolation = "string?",
    read_only = { "boolean", false },
    rollback = { "boolean", false },
  })
  local outermost = self.depth == 0
  local savepoint = "rpitr_" .. self.depth
  if outermost then
    local isolation = opts.isolation and " ISOLATION LEVEL " .. opts.isolation or ""
    self:exec("BEGIN" .. isolation .. (opts.read_only and " READ ONLY" or ""))
  else
    self:exec("SAVEPOINT " .. savepoint)
  end
  local rollback = outermost and "ROLLBACK" or ("ROLLBACK TO %s; RELEASE %s"):format(savepoint, savepoint)
  self.depth = self.depth + 1
  local outcome = table.pack(xpcall(fn, internal.as_error, self))
  self.depth = self.depth - 1
  if outcome[1] then
    self:exec(opts.rollback and rollback or outermost and "COMMIT" or "RELEASE " .. savepoint)
    return table.unpack(outcome, 2, outcome.n)
  end
  task.shield(function()
    if not self:is_closed() then
      self:exec(rollback)
    end
  end)
  error(outcome[2], 0)
end

local Statement = { __name = "rpitr.Statement" }
Statement.__index = Statement

--- Prepares a statement for repeated use: `st:query(...)`, `st:row(...)`, `st:value(...)`, `st:exec(...)`.
function Conn:prepare(statement)
  return setmetatable({ handle = host.sql_prepare(self.handle, statement) }, Statement)
end

function Statement:query(...)
  return host.sql_prepared_query(self.handle, ...)
end

function Statement:row(...)
  return host.sql_prepared_row(self.handle, ...)
end

function Statement:value(...)
  return host.sql_prepared_value(self.handle, ...)
end

function Statement:exec(...)
  return host.sql_prepared_exec(self.handle, ...)
end

local Cursor = { __name = "rpitr.Cursor" }
Cursor.__index = Cursor

local FETCH = 500

--- Rows one by one, for results larger than memory. Breaking off early is cheap.
-- @usage for row in db:rows "SELECT * FROM big" do print(row.id) end
function Conn:rows(statement, ...)
  local cursor = self:cursor(statement, ...)
  return cursor, nil, nil, cursor
end

--- A cursor: call it for the next row, nil at the end; closable.
function Conn:cursor(statement, ...)
  return setmetatable({ handle = host.sql_stream(self.handle, statement, FETCH, ...) }, Cursor)
end

function Cursor:__call()
  return host.sql_stream_next(self.handle)
end

function Cursor:close()
  host.sql_stream_close(self.handle)
end

Cursor.__close = Cursor.close

local CopyIn = { __name = "rpitr.CopyIn" }
CopyIn.__index = CopyIn

--- Starts COPY ... FROM STDIN. Write chunks, then `finish()`; leaving the block before aborts it.
-- @usage local c <close> = db:copy_in "COPY t FROM STDIN"; c:write "1\tx\n"; c:finish()
function Conn:copy_in(statement)
  return setmetatable({ handle = host.sql_copy_in(self.handle, statement) }, CopyIn)
end

--- Sends bytes; waits while the server is busy.
function CopyIn:write(chunk)
  host.sql_copy_write(self.handle, chunk)
end

--- Ends the COPY; returns the number of rows.
function CopyIn:finish()
  return host.sql_copy_finish(self.handle)
end

function CopyIn:__close()
  host.sql_copy_abort(self.handle, "aborted by the script")
end

local CopyOut = { __name = "rpitr.CopyOut" }
CopyOut.__index = CopyOut

--- Starts COPY ... TO STDOUT; call the result for the next chunk, nil at the end.
-- @usage for chunk in db:copy_out "COPY t TO STDOUT" do io.write(chunk) end
function Conn:copy_out(statement)
  local source = setmetatable({ handle = host.sql_copy_out(self.handle, statement) }, CopyOut)
  return source, nil, nil, source
end

function CopyOut:__call()
  return host.sql_copy_next(self.handle)
end

function CopyOut:__close()
  host.sql_copy_close(self.handle)
end

--- Subscribes to a channel; `db:notification()` waits for the next message.
function Conn:listen(channel)
  self:exec("LISTEN " .. sql.identifier(channel))
end

--- Waits for the next notification: { channel, payload, pid }.
function Conn:notification()
  local channel, payload, pid = host.sql_notification(self.handle)
  return { channel = channel, payload = payload, pid = pid }
end

--- The notices received since the last call: { severity, code, message } each.
function Conn:notices()
  return host.sql_notices(self.handle)
end

--- Asks the server to cancel what this connection is running in another task.
function Conn:cancel()
  host.sql_cancel(self.handle)
end

--- The backend's process id.
function Conn:pid()
  return (select(2, host.sql_describe(self.handle)))
end

--- The server's version as a number: 150018.
function Conn:version()
  return (select(3, host.sql_describe(self.handle)))
end

--- Whether the connection is encrypted.
function Conn:is_tls()
  return (select(4, host.sql_describe(self.handle)))
end

--- Whether the connection is gone.
function Conn:is_closed()
  return host.sql_is_closed(self.handle)
end

--- Closes the connection; closing twice does no harm.
function Conn:close()
  if self.lease then
    local lease = self.lease
    self.lease = nil
    return host.sql_pool_release(lease)
  end
  host.sql_close(self.handle)
end

Conn.__close = Conn.close

local Pool = { __name = "rpitr.Pool" }
Pool.__index = Pool

--- A pool of at most `max` connections.
-- @usage local pool <close> = sql.pool("postgres:///shop", { max = 4 }); local db <close> = pool:get()
function sql.pool(where, options)
  local opts = args.options("sql.pool", options, { max = { "integer", 4 } })
  local url, settings = target("sql.pool", where)
  return setmetatable({ handle = host.sql_pool(url, settings, opts.max) }, Pool)
end

--- A connection; closing it gives it back. Waits while all are in use.
function Pool:get()
  local handle, lease = host.sql_pool_get(self.handle)
  local conn = connection(handle)
  conn.lease = lease
  return conn
end

--- Closes the idle connections; those in use close when they are given back.
function Pool:close()
  host.sql_pool_close(self.handle)
end

Pool.__close = Pool.close

return sql
