--- NAME: a plain script: it returns nothing, and what it prints is its result.
--
-- `rpitr NAME.lua one two` runs it; the words behind its name are in `arg`. The modules (lab, sql, pitr,
-- wal ...) are there without require; `rpitr doc lab.postgres` tells about one of them, `rpitr repl` tries
-- things out. An error ends the script with exit code 11 and shows the line it happened on.

local rows = math.tointeger(tonumber(arg[1] or 100))
assert(rows, "usage: rpitr NAME.lua [ROWS]")

-- `<close>` stops and removes the server when the script ends, however it ends.
local pg <close> = lab.postgres { name = "primary" }
local db <close> = pg:connect()

db:exec "CREATE TABLE numbers (n int PRIMARY KEY)"
db:exec("INSERT INTO numbers SELECT generate_series(1, $1)", rows)

-- Waiting is polling with a deadline, never a sleep and a hope.
eventually(function()
  return db:value "SELECT count(*) FROM numbers" == rows
end, { timeout = "10s", describe = "all rows are there" })

-- Where the server is in its WAL, and how much of it the insert wrote.
local before = db:value "SELECT pg_current_wal_lsn()"
db:exec "UPDATE numbers SET n = -n"
local after = db:value "SELECT pg_current_wal_lsn()"
print(("PostgreSQL %s: updating %d rows wrote %s of WAL"):format(pg.info.version, rows, report.bytes(after - before)))
