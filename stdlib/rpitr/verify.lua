--- Verification: hold a database against what is known about it. Always by identity and content,
--- never by counts alone.
---@class rpitr.verify
local verify = {}

local host = ...
local args = require "rpitr.core.args"
local contents = require "rpitr.verify.compare"
local integrity = require "rpitr.verify.integrity"
local stopwatch = require "rpitr.core.stopwatch"
local workload = require "rpitr.workload"

-- Every operation found in the database, with the hash of what its rows say now.
local FOUND = [[
SELECT p.operation, p.xid, p.items, p.orderId AS order, o.customerId AS customer,
       o.totalAmount::text AS total, o.orderId IS NOT NULL AS has_order,
       coalesce(i.items, 0) AS items_found,
       encode(sha256(convert_to(
         p.operation || '|' || o.customerId || '|' || o.totalAmount || coalesce(';' || i.text, ''), 'UTF8')), 'hex') AS hash
FROM operations p
LEFT JOIN orders o USING (orderId)
LEFT JOIN (
  SELECT orderId, count(*) AS items,
         string_agg(productId || ' x ' || quantity || ' @ ' || pricePerUnit, ';'
                    ORDER BY productId, pricePerUnit, quantity) AS text
  FROM orderItems GROUP BY orderId
) i USING (orderId)]]

-- Whether an operation's commit lies before the target: true, false, or nil when that is not known.
-- With the commits read from the WAL the answer is exact; without, the LSN bounds the client saw
-- decide, and an operation whose bounds straddle the target stays open.
local function committed_before(entry, upto, commits)
  if entry.outcome == "failed" then
    return false
  end
  local commit = commits and entry.xid and host.wal_commit_of(commits.index, entry.xid)
  if commit then
    return upto == nil or commit.lsn < upto
  end
  local low, high = entry.lsn_low, entry.lsn_high
  if commits and low and low >= commits.from then
    -- The WAL was read from before this transaction on and does not hold its commit: it came
    -- after the last archived segment, or never.
    return entry.outcome == "ok" and upto == nil
  elseif entry.outcome == "unknown" then
    return nil
  elseif upto == nil or (high and high <= upto) then
    return true
  elseif low and low >= upto then
    return false
  end
  return nil
end

local function read_commits(opts)
  if opts.archive then
    return { index = host.wal_commits(opts.archive, opts.timeline, opts.from, nil, opts.tail), from = opts.from }
  end
end

local function brief(entry, extra)
  local row = {
    operation = entry.operation,
    order = entry.order,
    customer = entry.customer,
    total = entry.total,
    items = entry.items,
    xid = entry.xid,
  }
  for key, value in pairs(extra or {}) do
    row[key] = value
  end
  return row
end

local function find_operations(node)
  local db <close> = node:connect { dbname = workload.database }
  local found = {}
  stopwatch.run("verify queries", function()
    for row in db:rows(FOUND) do
      found[row.operation] = row
    end
  end)
  return found
end

-- One operation of the ledger against its rows.
local function compare(entry, row, expected, diff)
  if expected == nil then
    diff.uncertain[#diff.uncertain + 1] = brief(entry, { present = row ~= nil })
  elseif expected and not row then
    diff.lost[#diff.lost + 1] = brief(entry)
  elseif not expected and row then
    diff.extra[#diff.extra + 1] = brief(entry)
  end
  if row and expected ~= false then
    if not row.has_order or row.items_found ~= entry.items then
      diff.torn[#diff.torn + 1] = brief(entry, { items_found = row.items_found, has_order = row.has_order })
    elseif row.hash ~= entry.hash then
      diff.altered[#diff.altered + 1] = brief(entry, { total_found = row.total })
    end
  end
end

---@class rpitr.verify.LedgerOptions
---@field upto? rpitr.Lsn|string  the recovery target, exclusive; default: everything
---@field archive? string  folder of WAL to look up the commit of each operation in, which leaves nothing uncertain; with `from`
---@field from? rpitr.Lsn|string  where to begin reading it: before the first operation
---@field timeline? integer  the one to follow in it; default: the newest
---@field tail? string  file of a snapshot (`archive.snapshot`) that goes on where the archive ends

--- An operation, as far as a report needs it.
---@class rpitr.verify.Operation
---@field operation integer
---@field order? integer  nil when it never got one
---@field customer integer
---@field total string
---@field items integer
---@field xid? integer
---@field present? boolean  of an uncertain one: whether it is there
---@field items_found? integer  of a torn one
---@field has_order? boolean  of a torn one
---@field total_found? string  of an altered one

---@class rpitr.verify.Diff
---@field lost rpitr.verify.Operation[]  promised to a client, before the target, and not there
---@field extra rpitr.verify.Operation[]  there although it was refused, came after the target, or nobody sent it
---@field torn rpitr.verify.Operation[]  some rows of the transaction are missing
---@field altered rpitr.verify.Operation[]  its content differs
---@field uncertain rpitr.verify.Operation[]  never answered, or too close to the target to tell
---@field expected integer  operations that must be there
---@field present integer  operations that are there

--- Holds a database against a workload's ledger.
---
--- ```lua
--- local shop <close> = lab.postgres { name = "example_ledger" }
--- workload.init(shop)
--- local load <close> = workload.start(shop)
--- load:wait_orders(20)
--- load:stop()
--- local diff = verify.ledger(shop, load:ledger())
--- assert(#diff.lost == 0 and diff.present >= 20)
--- ```
---@param node rpitr.Node  holding the shop database
---@param ledger rpitr.Ledger  from `load:ledger()`
---@param options? rpitr.verify.LedgerOptions
---@return rpitr.verify.Diff
---@error sql, wal, arg
function verify.ledger(node, ledger, options)
  local opts = args.options("verify.ledger", options, {
    upto = "lsn?",
    archive = "string?",
    from = "lsn?",
    timeline = "integer?",
    tail = "string?",
  })
  local commits = read_commits(opts)
  local found = find_operations(node)
  local diff = { lost = {}, extra = {}, torn = {}, altered = {}, uncertain = {}, expected = 0, present = 0 }
  local known = {}
  for _, entry in ipairs(ledger.entries) do
    known[entry.operation] = true
    local expected = committed_before(entry, opts.upto, commits)
    diff.expected = diff.expected + (expected and 1 or 0)
    compare(entry, found[entry.operation], expected, diff)
  end
  for operation, row in pairs(found) do
    diff.present = diff.present + 1
    if not known[operation] then
      diff.extra[#diff.extra + 1] = brief(row)
    end
  end
  return diff
end

---@class rpitr.verify.GivenUpOptions
---@field upto rpitr.Lsn|string  the recovery target, exclusive
---@field archive string  folder of WAL to look up the commit of each operation in
---@field from rpitr.Lsn|string  where to begin reading it: before the first operation
---@field timeline? integer  the one to follow in it; default: the newest
---@field tail? string  file of a snapshot (`archive.snapshot`) that goes on where the archive ends

--- The operations a recovery to `upto` gives up: acknowledged, but committed at or after it.
---@param ledger rpitr.Ledger
---@param options rpitr.verify.GivenUpOptions
---@return rpitr.verify.Operation[]
---@error wal, arg
function verify.given_up(ledger, options)
  local opts = args.options("verify.given_up", options, {
    upto = "lsn",
    archive = "string",
    from = "lsn",
    timeline = "integer?",
    tail = "string?",
  })
  local commits = read_commits(opts)
  local list = {}
  for _, entry in ipairs(ledger:list "ok") do
    -- Commits after the last archived segment are after the target, too.
    if not committed_before(entry, opts.upto, commits) then
      list[#list + 1] = brief(entry)
    end
  end
  return list
end

--- What differs, in words, or nil when nothing does.
---
--- ```lua
--- assert(verify.describe { lost = {}, extra = {}, torn = {}, altered = {} } == nil)
--- ```
---@param diff rpitr.verify.Diff
---@return string?
function verify.describe(diff)
  local parts = {}
  for _, name in ipairs { "lost", "extra", "torn", "altered" } do
    local rows = diff[name]
    if #rows > 0 then
      local ids = {}
      for i = 1, math.min(#rows, 5) do
        ids[i] = "order " .. tostring(rows[i].order or "?") .. " (operation " .. rows[i].operation .. ")"
      end
      parts[#parts + 1] = ("%d %s: %s%s"):format(#rows, name, table.concat(ids, ", "), #rows > 5 and ", ..." or "")
    end
  end
  return #parts > 0 and table.concat(parts, "; ") or nil
end

-- Rows ---------------------------------------------------------------------------------------------

---@class rpitr.verify.SameRowsOptions
---@field key string  the column that tells which row is which
---@field dbname? string  default: the shop's, `workload.database`

---@class rpitr.verify.RowsDiff
---@field missing table[]  rows only on `a`
---@field extra table[]  rows only on `b`
---@field changed { from: table, to: table }[]  rows on both that differ

--- Compares the rows of a query on two nodes by key. Rows fetched earlier may stand in for a node.
---
--- ```lua
--- local standby <close> = lab.standby(pg, { name = "example_same" })
--- local diff = verify.same_rows(pg, standby, "SELECT datname FROM pg_database", { key = "datname", dbname = "postgres" })
--- assert(#diff.missing == 0 and #diff.extra == 0 and #diff.changed == 0)
--- ```
---@param a rpitr.Node|rpitr.sql.Rows
---@param b rpitr.Node|rpitr.sql.Rows
---@param query string
---@param options rpitr.verify.SameRowsOptions
---@return rpitr.verify.RowsDiff
---@error sql, arg
function verify.same_rows(a, b, query, options)
  local opts = args.options("verify.same_rows", options, { key = "string", dbname = { "string", workload.database } })
  -- The rows by key, and the keys in the order the query gave them: a report names them in that order.
  local function rows_of(source)
    local rows, keys = {}, {}
    local function take(row)
      local key = tostring(row[opts.key])
      rows[key], keys[#keys + 1] = row, key
    end
    if source.columns then
      for _, row in ipairs(source) do
        take(row)
      end
      return rows, keys
    end
    local db <close> = source:connect { dbname = opts.dbname }
    for row in db:rows(query) do
      take(row)
    end
    return rows, keys
  end
  local left, left_keys = rows_of(a)
  local right, right_keys = rows_of(b)
  local diff = { missing = {}, extra = {}, changed = {} }
  for _, key in ipairs(left_keys) do
    local row = left[key]
    if not right[key] then
      diff.missing[#diff.missing + 1] = row
    elseif host.json_encode(row) ~= host.json_encode(right[key]) then
      diff.changed[#diff.changed + 1] = { from = row, to = right[key] }
    end
  end
  for _, key in ipairs(right_keys) do
    if not left[key] then
      diff.extra[#diff.extra + 1] = right[key]
    end
  end
  return diff
end

---@class rpitr.verify.FingerprintOptions
---@field dbname? string  default: the shop's, `workload.database`
---@field queries? table<string, string>  queries by name, instead of all tables

---@class rpitr.verify.Print
---@field rows integer
---@field hash string

--- A fingerprint of each table of a database, or of the rows of the given queries. Equal fingerprints mean equal rows,
--- in whatever order.
---
--- ```lua
--- db:exec "CREATE TABLE example_print AS SELECT generate_series(1, 3) AS id"
--- print(verify.fingerprint(pg, { dbname = "postgres" }).example_print.hash)
--- ```
---@param node rpitr.Node
---@param options? rpitr.verify.FingerprintOptions
---@return table<string, rpitr.verify.Print> prints  by the name of the table or query
---@error sql, arg
verify.fingerprint = contents.fingerprint

---@class rpitr.verify.SnapshotOptions
---@field dbname? string  default: the shop's, `workload.database`
---@field queries? table<string, string>  queries by name, instead of all tables
---@field keys? table<string, string>  the columns that tell the rows of a query apart; default: a table's primary key

---@class rpitr.verify.Snapshot
---@field dbname string
---@field queries table<string, string>
---@field keys? table<string, string>
---@field tables table<string, rpitr.verify.Print>

--- Notes what each table of a database holds, row by row: a digest of each, of up to 100 000 rows a table.
--- `verify.compare` says later what has become of them.
---
--- ```lua
--- db:exec "CREATE TABLE example_snapshot AS SELECT generate_series(1, 3) AS id"
--- local before = verify.snapshot(pg, { dbname = "postgres" })
--- assert(before.tables.example_snapshot.rows == 3)
--- ```
---@param node rpitr.Node
---@param options? rpitr.verify.SnapshotOptions
---@return rpitr.verify.Snapshot
---@error sql, arg
verify.snapshot = contents.snapshot

---@class rpitr.verify.Comparison
---@field name string  of the table or query
---@field before integer  rows
---@field after integer
---@field missing? integer  rows; nil when there are too many to tell
---@field extra? integer
---@field altered? integer
---@field same boolean  the same rows with the same content
---@field differing string[]  the first rows that differ, in words

--- Compares tables before and after, by key and content.
---
--- ```lua
--- local queries, keys = { numbers = "SELECT * FROM example_compare" }, { numbers = "id" }
--- db:exec "CREATE TABLE example_compare AS SELECT g AS id, g AS n FROM generate_series(1, 3) g"
--- local before = verify.snapshot(pg, { dbname = "postgres", queries = queries, keys = keys })
--- db:exec "UPDATE example_compare SET n = 0 WHERE id = 2"
--- local found = verify.compare(before, pg)[1]
--- assert(not found.same and found.altered == 1 and found.differing[1] == "id 2 is altered")
--- ```
---@param before rpitr.verify.Snapshot
---@param after rpitr.verify.Snapshot|rpitr.Node
---@return rpitr.verify.Comparison[] entries  by name
---@error sql, arg
verify.compare = contents.tables

--- What a ledger found out about orders, in the form of `verify.compare`, for `d:compare`.
---
--- ```lua
--- local nothing = { expected = 2, lost = {}, extra = {}, torn = {}, altered = {} }
--- assert(verify.ledger_entry("orders", nothing).same)
--- ```
---@param name string
---@param diff rpitr.verify.Diff  from `verify.ledger`
---@return rpitr.verify.Comparison
---@error arg
verify.ledger_entry = contents.ledger_entry

-- Constraints and indexes ----------------------------------------------------------------------------

---@class rpitr.verify.Problem
---@field name string  of the constraint, table or index
---@field problem string

---@class rpitr.verify.ConstraintsOptions
---@field dbname? string  default: the shop's, `workload.database`

--- Checks every foreign key row by row and every constraint for being valid.
---
--- ```lua
--- assert(#verify.constraints(pg, { dbname = "postgres" }) == 0)
--- ```
---@param node rpitr.Node
---@param options? rpitr.verify.ConstraintsOptions
---@return rpitr.verify.Problem[] problems  empty when all hold
---@error sql, arg
verify.constraints = integrity.constraints

---@class rpitr.verify.AmcheckOptions
---@field dbname? string  default: the shop's, `workload.database`
---@field of? "all"|"tables"|"indexes"  (default "all")

--- Reads every page of every table and index of a database and checks its structure (amcheck):
--- heap tuples, and that each index holds exactly its table's rows. Leaves nothing behind: the
--- extension is created in a transaction that is rolled back.
---
--- ```lua
--- local problems, why_not = verify.amcheck(pg, { dbname = "postgres" })
--- assert(problems, why_not)
--- assert(#problems == 0, verify.list(problems))
--- ```
---@param node rpitr.Node
---@param options? rpitr.verify.AmcheckOptions
---@return rpitr.verify.Problem[]? problems  empty when clean; nil when it could not run
---@return string? why  it could not run
---@error sql, arg
verify.amcheck = integrity.amcheck

--- Problems as one line for a report: "fk_orders: 3 rows have no match; ...".
---
--- ```lua
--- assert(verify.list { { name = "fk_orders", problem = "not validated" } } == "fk_orders: not validated")
--- ```
---@param problems rpitr.verify.Problem[]
---@return string
function verify.list(problems)
  local parts = {}
  for i, problem in ipairs(problems) do
    parts[i] = problem.name .. ": " .. problem.problem
  end
  return table.concat(parts, "; ")
end

return verify
