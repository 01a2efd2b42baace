--- Verification: hold a database against what is known about it. Always by identity and content,
-- never by counts alone.

local host, internal = ...
local args = require "rpitr.core.args"
local stopwatch = require "rpitr.core.stopwatch"
local workload = require "rpitr.workload"

local verify = {}

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

--- Holds a database against a workload's ledger.
-- @param node node  holding the shop database
-- @param ledger  from `load:ledger()`
-- @param options { upto = lsn?, archive = string?, from = lsn?, timeline = integer?, tail = string? }
--   `upto`: the recovery target, exclusive; nil: everything. With `archive` and `from` the commit
--   of each operation is looked up in the WAL, which leaves nothing uncertain; `tail`: the file of a
--   snapshot (`archive.snapshot`) that goes on where the archive ends.
-- @return { lost, extra, torn, altered, uncertain, expected, present }
--   lost: promised to a client, before the target, and not there; extra: there although it was
--   refused or came after the target; torn: some rows of the transaction are missing; altered: its
--   content differs; uncertain: never answered, or too close to the target to tell.
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

--- The operations a recovery to `upto` gives up: acknowledged, but committed at or after it.
-- @param options { upto = lsn, archive = string, from = lsn, timeline = integer?, tail = string? }
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

--- Compares the rows of a query on two nodes by key. Returns { missing, extra, changed }: rows only
-- on `a`, only on `b`, on both but different. Rows fetched earlier may stand in for a node.
-- @param options { key = "column", dbname = string? }
-- @usage local diff = verify.same_rows(pg, restored, "SELECT * FROM products", { key = "productid" })
function verify.same_rows(a, b, query, options)
  local opts = args.options("verify.same_rows", options, { key = "string", dbname = { "string", workload.database } })
  local function rows_of(source)
    local rows = {}
    if source.columns then
      for _, row in ipairs(source) do
        rows[tostring(row[opts.key])] = row
      end
      return rows
    end
    local db <close> = source:connect { dbname = opts.dbname }
    for row in db:rows(query) do
      rows[tostring(row[opts.key])] = row
    end
    return rows
  end
  local left, right = rows_of(a), rows_of(b)
  local diff = { missing = {}, extra = {}, changed = {} }
  for key, row in pairs(left) do
    if not right[key] then
      diff.missing[#diff.missing + 1] = row
    elseif host.json_encode(row) ~= host.json_encode(right[key]) then
      diff.changed[#diff.changed + 1] = { from = row, to = right[key] }
    end
  end
  for key, row in pairs(right) do
    if not left[key] then
      diff.extra[#diff.extra + 1] = row
    end
  end
  return diff
end

local TABLES = [[
SELECT c.oid::regclass::text AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema')]]

-- The sum of row hashes does not depend on the order of rows; as numeric it is exact.
local FINGERPRINT = [[
SELECT count(*) AS rows,
       coalesce(sum(('x' || left(md5(t::text), 16))::bit(64)::bigint::numeric), 0)::text AS hash
FROM (%s) t]]

--- A fingerprint of each table of a database, or of the rows of the given queries:
-- `{ name = { rows, hash } }`. Equal fingerprints mean equal rows, in whatever order.
-- @param options { dbname = string?, queries = { name = "SELECT ..." }? }
function verify.fingerprint(node, options)
  local opts = args.options("verify.fingerprint", options, {
    dbname = { "string", workload.database },
    queries = "table?",
  })
  local db <close> = node:connect { dbname = opts.dbname }
  local queries = opts.queries
  if not queries then
    queries = {}
    for _, row in ipairs(db:query(TABLES)) do
      queries[row.name] = "SELECT * FROM " .. row.name
    end
  end
  local prints = {}
  for name, query in pairs(queries) do
    prints[name] = stopwatch.run("verify queries", db.row, db, FINGERPRINT:format(query))
  end
  return prints
end

-- Constraints and indexes ----------------------------------------------------------------------------

local FOREIGN_KEYS = [[
SELECT conname AS name, conrelid::regclass::text AS child, confrelid::regclass::text AS parent,
       (SELECT string_agg(format('c.%I = p.%I', a.attname, b.attname), ' AND ' ORDER BY k.n)
        FROM unnest(conkey, confkey) WITH ORDINALITY k(child, parent, n)
        JOIN pg_attribute a ON a.attrelid = conrelid AND a.attnum = k.child
        JOIN pg_attribute b ON b.attrelid = confrelid AND b.attnum = k.parent) AS joined,
       (SELECT string_agg(format('c.%I IS NOT NULL', a.attname), ' AND ')
        FROM unnest(conkey) k(child)
        JOIN pg_attribute a ON a.attrelid = conrelid AND a.attnum = k.child) AS given
FROM pg_constraint WHERE contype = 'f']]

--- Checks every foreign key row by row and every constraint for being valid.
-- @return list of { name, problem }; empty when all hold
function verify.constraints(node, options)
  local opts = args.options("verify.constraints", options, { dbname = { "string", workload.database } })
  local db <close> = node:connect { dbname = opts.dbname }
  local problems = {}
  stopwatch.run("verify queries", function()
    for _, key in ipairs(db:query(FOREIGN_KEYS)) do
      local orphans = db:value(
        ("SELECT count(*) FROM %s c WHERE %s AND NOT EXISTS (SELECT FROM %s p WHERE %s)"):format(
          key.child,
          key.given,
          key.parent,
          key.joined
        )
      )
      if orphans > 0 then
        problems[#problems + 1] =
          { name = key.name, problem = ("%d rows of %s have no match in %s"):format(orphans, key.child, key.parent) }
      end
    end
    for _, row in ipairs(db:query "SELECT conname AS name FROM pg_constraint WHERE NOT convalidated") do
      problems[#problems + 1] = { name = row.name, problem = "not validated" }
    end
  end)
  return problems
end

-- What a check looks at, and the check itself: no rows when all is well. The list is materialized, or the planner
-- may run a check on what is not on it.
local CHECKS = {
  {
    of = "tables",
    relations = [[
FROM pg_class c
WHERE c.relkind IN ('r', 'm', 't') AND c.relpersistence = 'p']],
    check = [[
WITH c AS MATERIALIZED (SELECT c.oid %s)
SELECT c.oid::regclass::text AS name, format('block %%s: %%s', h.blkno, h.msg) AS problem
FROM c CROSS JOIN LATERAL verify_heapam(c.oid) h]],
  },
  {
    of = "indexes",
    relations = [[
FROM pg_class c JOIN pg_index x ON x.indexrelid = c.oid JOIN pg_am m ON m.oid = c.relam
WHERE m.amname = 'btree' AND c.relkind = 'i' AND c.relpersistence = 'p' AND x.indisready AND x.indisvalid]],
    check = [[
WITH c AS MATERIALIZED (SELECT c.oid %s)
SELECT c.oid::regclass::text AS name, 'not checked' AS problem
FROM c WHERE bt_index_check(c.oid, true) IS NULL]],
  },
}

-- The rows of a check; an error leaves the transaction usable.
local function attempt(db, check, relations)
  local ok, rows = xpcall(db.tx, internal.as_error, db, function()
    return db:query(check:format(relations))
  end)
  if not ok and (rows.kind ~= "sql" or db:is_closed()) then
    error(rows, 0)
  end
  return ok, rows
end

-- A damaged index, or a page with a bad checksum, raises. All relations are checked in one go; only
-- when that raises, one by one, so that each is named.
local function run_check(db, one, problems)
  local ok, rows = attempt(db, one.check, one.relations)
  if ok then
    return table.move(rows, 1, #rows, #problems + 1, problems)
  end
  for _, relation in ipairs(db:query("SELECT c.oid::bigint AS oid, c.oid::regclass::text AS name " .. one.relations)) do
    local fine, found = attempt(db, one.check, one.relations .. " AND c.oid = " .. relation.oid)
    if fine then
      table.move(found, 1, #found, #problems + 1, problems)
    else
      problems[#problems + 1] = { name = relation.name, problem = found.message }
    end
  end
end

local function find_damage(db, of)
  local problems = {}
  for _, one in ipairs(CHECKS) do
    if of == "all" or of == one.of then
      run_check(db, one, problems)
    end
  end
  return problems
end

--- Reads every page of every table and index of a database and checks its structure (amcheck):
-- heap tuples, and that each index holds exactly its table's rows. Leaves nothing behind: the
-- extension is created in a transaction that is rolled back.
-- @param options { dbname = string?, of = "all" | "tables" | "indexes" }
-- @return list of { name, problem }, empty when clean; or nil and why it could not run
function verify.amcheck(node, options)
  local opts = args.options("verify.amcheck", options, {
    dbname = { "string", workload.database },
    of = { "string", "all" },
  })
  args.choice("verify.amcheck", "option of", opts.of, { "all", "tables", "indexes" })
  local db <close> = node:connect { dbname = opts.dbname }
  if not db:value "SELECT true FROM pg_available_extensions WHERE name = 'amcheck'" then
    return nil, "amcheck is not installed with this server"
  end
  local loaded = db:value "SELECT true FROM pg_extension WHERE extname = 'amcheck'"
  if not loaded and db:value "SELECT pg_is_in_recovery()" then
    return nil, "amcheck cannot be loaded into a server in recovery"
  end
  return db:tx(function()
    if not loaded then
      db:exec "CREATE EXTENSION amcheck"
    end
    return stopwatch.run("amcheck", find_damage, db, opts.of)
  end, { rollback = true })
end

--- Quotes problems for a report: "fk_orders: 3 rows have no match; ...".
function verify.list(problems)
  local parts = {}
  for i, problem in ipairs(problems) do
    parts[i] = problem.name .. ": " .. problem.problem
  end
  return table.concat(parts, "; ")
end

return verify
