--- Whether a database is whole: constraints that hold, tables and indexes that can be read. `verify.constraints` and
--- `verify.amcheck` are the public names.

local _, internal = ...
local args = require "rpitr.core.args"
local stopwatch = require "rpitr.core.stopwatch"
local workload = require "rpitr.workload"

local integrity = {}

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

-- Checks constraints; see `verify.constraints`.
function integrity.constraints(node, options)
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

-- Reads everything; see `verify.amcheck`.
function integrity.amcheck(node, options)
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

return integrity
