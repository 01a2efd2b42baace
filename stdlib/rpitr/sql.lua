--- SQL connections.
---
--- Types: integers are exact to 64 bit; numeric arrives as a string, so that no digit is lost;
--- timestamptz as a time value; timestamp, date, time, interval, uuid and ranges as their text;
--- json decoded; arrays as lists with `sql.null` for NULL elements; pg_lsn as an lsn value; NULL as
--- nil; any other type as its text. Parameters are `$1`, `$2`: nothing is ever pasted into SQL.
--- A string for a `bytea` parameter is its bytes. Errors have kind "sql" and the SQLSTATE in `code`.
--- A timeout cancels the statement on the server.
---@class rpitr.sql
local sql = {}

local host, internal = ...
local args = require "rpitr.core.args"
local json = require "rpitr.json"
local task = require "rpitr.task"

--- NULL as an element of an array, where nil would be a hole.
---@type lightuserdata
sql.null = json.null

--- A connection; closable. Tasks may share it, the server runs their statements one after another; a transaction needs a
--- connection of its own.
---@class rpitr.Conn
---@field handle userdata  what the host knows it by
---@field package depth integer  how many transactions deep
---@field package lease? userdata  of the pool it goes back to
local Conn = { __name = "rpitr.Conn" }
Conn.__index = Conn

require "rpitr.sql.streams"(Conn)

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

--- Where a server is, in libpq's words. What is missing comes from the service file, the PG* variables
--- and ~/.pgpass. `db` and `database` stand for `dbname`, `username` for `user`. What libpq knows and rpitr
--- does not is refused where it protects something, else accepted and ignored.
---@class rpitr.sql.Target
---@field [1]? string  a URL or key/value string, which the keys beside it overrule
---@field host? string  name, address, or the folder of a socket; several with commas
---@field hostaddr? string  address to connect to, `host` being only checked in certificates
---@field port? integer|string  (default 5432)
---@field user? string
---@field password? string
---@field passfile? string  a file of passwords in libpq's form
---@field dbname? string  default: the user's name
---@field service? string  a section of the service file
---@field servicefile? string
---@field application_name? string  shown in pg_stat_activity
---@field fallback_application_name? string  used when nothing else names the application
---@field connect_timeout? integer|string  seconds
---@field options? string  command-line options for the session: "-c search_path=shop"
---@field sslmode? "disable"|"allow"|"prefer"|"require"|"verify-ca"|"verify-full"
---@field sslnegotiation? "postgres"|"direct"
---@field sslrootcert? string  file of trusted certificates, or "system"
---@field sslcert? string  file of the client's certificate
---@field sslkey? string  file of its key
---@field target_session_attrs? "any"|"read-write"|"read-only"|"primary"|"standby"|"prefer-standby"
---@field channel_binding? "disable"|"prefer"|"require"
---@field load_balance_hosts? "disable"|"random"
---@field keepalives? integer|string  0 turns them off
---@field client_encoding? string  UTF8, or it is refused
---@field gssencmode? "disable"|"prefer"

--- Opens a connection.
---
--- ```lua
--- -- needs: a server at localhost
--- local db <close> = sql.connect "postgres://app@localhost/shop?sslmode=verify-full"
--- ```
---@param where? string|rpitr.sql.Target  a URL, a key/value string, or a table of libpq's keys
---@return rpitr.Conn
---@error sql, arg
function sql.connect(where)
  return connection(host.sql_connect(target("sql.connect", where)))
end

--- Quotes an identifier.
---
--- ```lua
--- assert(sql.identifier 'odd "name"' == '"odd ""name"""')
--- ```
---@param name string
---@return string
---@error arg
function sql.identifier(name)
  return '"' .. args.check("sql.identifier", "name", name, "string"):gsub('"', '""') .. '"'
end

function Conn:__tostring()
  return "connection " .. host.sql_describe(self.handle)
end

---@class rpitr.sql.Rows
---@field [integer] table<string, any>  the rows, each by column name
---@field columns string[]  names of the columns, in their order
---@field affected integer  rows the statement returned or touched

--- Runs a query; returns its rows.
---
--- ```lua
--- for _, row in ipairs(db:query("SELECT n FROM generate_series(1, $1) n", 3)) do
---   print(row.n)
--- end
--- ```
---@param statement string
---@param ... any  values of `$1`, `$2` ...
---@return rpitr.sql.Rows
---@error sql, arg
function Conn:query(statement, ...)
  return host.sql_query(self.handle, statement, ...)
end

--- The first row, or nil.
---
--- ```lua
--- local row = db:row "SELECT 1 AS one, 'x' AS text"
--- assert(row.one == 1 and row.text == "x")
--- ```
---@param statement string
---@param ... any  values of `$1`, `$2` ...
---@return table<string, any>? row  by column name
---@error sql, arg
function Conn:row(statement, ...)
  return host.sql_row(self.handle, statement, ...)
end

--- The first column of the first row, or nil.
---
--- ```lua
--- local n = db:value "SELECT count(*) FROM pg_database"
--- assert(n > 0)
--- ```
---@param statement string
---@param ... any  values of `$1`, `$2` ...
---@return any
---@error sql, arg
function Conn:value(statement, ...)
  return host.sql_value(self.handle, statement, ...)
end

--- Runs a statement; returns the number of rows it touched. Without parameters several statements may be
--- given, separated by semicolons.
---
--- ```lua
--- db:exec "CREATE TEMP TABLE example_exec (id int)"
--- assert(db:exec("INSERT INTO example_exec VALUES ($1), ($2)", 1, 2) == 2)
--- ```
---@param statement string
---@param ... any  values of `$1`, `$2` ...
---@return integer
---@error sql, arg
function Conn:exec(statement, ...)
  return host.sql_exec(self.handle, statement, ...)
end

---@class rpitr.sql.TxOptions
---@field isolation? string  "READ COMMITTED", "REPEATABLE READ" or "SERIALIZABLE"; default: the session's
---@field read_only? boolean  (default false)
---@field rollback? boolean  (default false) undo the work even when `fn` returns: for a look at what a change would do

--- Runs `fn(db)` in a transaction: COMMIT when it returns, ROLLBACK when it raises or is cancelled.
--- Nested calls are savepoints, and take no isolation of their own.
---
--- ```lua
--- db:exec "CREATE TEMP TABLE example_tx (id int)"
--- db:tx(function()
---   db:exec("INSERT INTO example_tx VALUES ($1)", 1)
--- end)
--- ```
---@param fn fun(db: rpitr.Conn): any
---@param options? rpitr.sql.TxOptions
---@return any ...  what `fn` returns
---@error sql, arg
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
  local outcome = internal.attempt(fn, self)
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

--- A prepared statement. It lives as long as its connection.
---@class rpitr.Statement
---@field package handle userdata
local Statement = { __name = "rpitr.Statement" }
Statement.__index = Statement

--- Prepares a statement for repeated use.
---
--- ```lua
--- local double = db:prepare "SELECT 2 * $1::int"
--- assert(double:value(21) == 42)
--- ```
---@param statement string
---@return rpitr.Statement
---@error sql
function Conn:prepare(statement)
  return setmetatable({ handle = host.sql_prepare(self.handle, statement) }, Statement)
end

--- Runs it; returns its rows, as `db:query` does.
---@param ... any  values of `$1`, `$2` ...
---@return rpitr.sql.Rows
---@error sql, arg
function Statement:query(...)
  return host.sql_prepared_query(self.handle, ...)
end

--- Runs it; returns the first row, or nil.
---@param ... any  values of `$1`, `$2` ...
---@return table<string, any>?
---@error sql, arg
function Statement:row(...)
  return host.sql_prepared_row(self.handle, ...)
end

--- Runs it; returns the first column of the first row, or nil.
---@param ... any  values of `$1`, `$2` ...
---@return any
---@error sql, arg
function Statement:value(...)
  return host.sql_prepared_value(self.handle, ...)
end

--- Runs it; returns the number of rows it touched.
---@param ... any  values of `$1`, `$2` ...
---@return integer
---@error sql, arg
function Statement:exec(...)
  return host.sql_prepared_exec(self.handle, ...)
end

--- Subscribes to a channel; `db:notification()` waits for the next message.
---
--- ```lua
--- db:listen "example"
--- db:exec "NOTIFY example, 'hello'"
--- assert(db:notification().payload == "hello")
--- ```
---@param channel string
---@error sql, arg
function Conn:listen(channel)
  self:exec("LISTEN " .. sql.identifier(channel))
end

---@class rpitr.sql.Notification
---@field channel string
---@field payload string
---@field pid integer  of the backend that sent it

--- Waits for the next notification.
---@return rpitr.sql.Notification
---@error sql
function Conn:notification()
  local channel, payload, pid = host.sql_notification(self.handle)
  return { channel = channel, payload = payload, pid = pid }
end

---@class rpitr.sql.Notice
---@field severity string  "WARNING", "NOTICE" ...
---@field code string  its SQLSTATE
---@field message string

--- The notices received since the last call.
---
--- ```lua
--- db:notices()
--- db:exec "DO $$ BEGIN RAISE WARNING 'careful'; END $$"
--- assert(db:notices()[1].message == "careful")
--- ```
---@return rpitr.sql.Notice[]
function Conn:notices()
  return host.sql_notices(self.handle)
end

--- Asks the server to cancel what this connection is running in another task, which gets an error with code 57014.
---
--- ```lua
--- local sleeping = task.spawn(pcall, db.exec, db, "SELECT pg_sleep(60)")
--- timer.sleep "100ms"
--- db:cancel()
--- assert(sleeping:join() == false)
--- ```
---@error sql
function Conn:cancel()
  host.sql_cancel(self.handle)
end

--- The backend's process id.
---@return integer
function Conn:pid()
  return (select(2, host.sql_describe(self.handle)))
end

--- The server's version as a number: 150018.
---@return integer
function Conn:version()
  return (select(3, host.sql_describe(self.handle)))
end

--- Whether the connection is encrypted.
---@return boolean
function Conn:is_tls()
  return (select(4, host.sql_describe(self.handle)))
end

--- Whether the connection is gone.
---@return boolean
function Conn:is_closed()
  return host.sql_is_closed(self.handle)
end

--- Closes the connection, or gives it back to its pool; closing twice does no harm.
function Conn:close()
  if self.lease then
    local lease = self.lease
    self.lease = nil
    return host.sql_pool_release(lease)
  end
  host.sql_close(self.handle)
end

Conn.__close = Conn.close

--- Connections to share; closable.
---@class rpitr.Pool
---@field package handle userdata
local Pool = { __name = "rpitr.Pool" }
Pool.__index = Pool

---@class rpitr.sql.PoolOptions
---@field max? integer  (default 4) connections at most

--- A pool of connections, opened as they are needed.
---
--- ```lua
--- local where = pg:endpoint()
--- where.passfile = lab.info().folder .. "/pgpass"
--- local pool <close> = sql.pool(where, { max = 2 })
--- local shared <close> = pool:get()
--- assert(shared:value "SELECT 1" == 1)
--- ```
---@param where? string|rpitr.sql.Target  as for `sql.connect`
---@param options? rpitr.sql.PoolOptions
---@return rpitr.Pool
---@error arg
function sql.pool(where, options)
  local opts = args.options("sql.pool", options, { max = { "integer", 4 } })
  local url, settings = target("sql.pool", where)
  return setmetatable({ handle = host.sql_pool(url, settings, opts.max) }, Pool)
end

--- A connection; closing it gives it back. Waits while all are in use.
---@return rpitr.Conn
---@error sql
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
