--- What tables hold at one moment, and what has become of it at another. `verify.fingerprint`, `verify.snapshot` and
--- `verify.compare` are the public names.
local compare = {}

local _, internal = ...
local args = require "rpitr.core.args"
local stopwatch = require "rpitr.core.stopwatch"
local workload = require "rpitr.workload"

-- Rows of a table that a snapshot knows one by one; of more it knows that they differ, not which.
local MOST_ROWS = 100000
-- Rows that are named.
local MOST_NAMED = 5

local TABLES = [[
SELECT c.oid::regclass::text AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema')]]

-- The sum of row hashes does not depend on the order of rows; as numeric it is exact.
local FINGERPRINT = [[
SELECT count(*) AS rows,
       coalesce(sum(('x' || left(md5(t::text), 16))::bit(64)::bigint::numeric), 0)::text AS hash
FROM (%s) t]]

local PRIMARY_KEY = [[
SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) AS columns
FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
WHERE i.indisprimary AND i.indrelid = to_regclass($1)]]

local DIGESTS = "SELECT concat_ws(', ', %s) AS key, md5(t::text) AS digest FROM (%s) t"

local function queries_of(db, given)
  if given then
    return given
  end
  local queries = {}
  for _, row in ipairs(db:query(TABLES)) do
    queries[row.name] = "SELECT * FROM " .. row.name
  end
  return queries
end

-- Takes fingerprints; see `verify.fingerprint`.
function compare.fingerprint(node, options)
  local opts = args.options("verify.fingerprint", options, {
    dbname = { "string", workload.database },
    queries = "table?",
  })
  local db <close> = node:connect { dbname = opts.dbname }
  local prints = {}
  for name, query in pairs(queries_of(db, opts.queries)) do
    prints[name] = stopwatch.run("verify queries", db.row, db, FINGERPRINT:format(query))
  end
  return prints
end

-- The columns that tell the rows of a query apart; nil: only all of a row does.
local function key_of(db, name, keys)
  if keys and keys[name] then
    return keys[name]
  end
  return name:match '^[%w_."]+$' and db:value(PRIMARY_KEY, name) or nil
end

-- A digest for each row by its key. Rows that are alike in it are told apart by a number.
local function digests(db, query, key)
  local found = {}
  for row in db:rows(DIGESTS:format(key or "md5(t::text)", query)) do
    local name, n = row.key, 1
    while found[name] do
      n = n + 1
      name = ("%s (%d)"):format(row.key, n)
    end
    found[name] = row.digest
  end
  return found
end

-- Notes what tables hold; see `verify.snapshot`.
function compare.snapshot(node, options)
  local opts = args.options("verify.snapshot", options, {
    dbname = { "string", workload.database },
    queries = "table?",
    keys = "table?",
  })
  local db <close> = node:connect { dbname = opts.dbname }
  local snapshot = { dbname = opts.dbname, queries = queries_of(db, opts.queries), keys = opts.keys, tables = {} }
  stopwatch.run("verify queries", function()
    for name, query in pairs(snapshot.queries) do
      local print = db:row(FINGERPRINT:format(query))
      print.key = key_of(db, name, opts.keys)
      if print.rows <= MOST_ROWS then
        print.digests = digests(db, query, print.key)
      end
      snapshot.tables[name] = print
    end
  end)
  return snapshot
end

-- Numbers in order, then everything else.
local function before(a, b)
  local x, y = tonumber(a), tonumber(b)
  if x and y then
    return x < y
  end
  return (x ~= nil) ~= (y ~= nil) and x ~= nil or x == nil and y == nil and a < b
end

-- "orderid 3, 4 and 2 more are missing"
local function name_rows(found, key, kinds)
  local named = {}
  for _, kind in ipairs(kinds) do
    local keys = found[kind]
    table.sort(keys, before)
    if #keys > 0 then
      local first = table.concat(keys, ", ", 1, math.min(#keys, MOST_NAMED))
      local more = #keys > MOST_NAMED and (" and %d more"):format(#keys - MOST_NAMED) or ""
      named[#named + 1] = ("%s %s%s %s %s"):format(key or "row", first, more, #keys == 1 and "is" or "are", kind)
    end
  end
  return named
end

local KINDS = { "missing", "extra", "altered" }

local function compare_rows(was, is)
  local found = { missing = {}, extra = {}, altered = {} }
  for key, digest in pairs(was.digests) do
    local now = is.digests[key]
    local kind = not now and "missing" or now ~= digest and "altered"
    if kind then
      table.insert(found[kind], key)
    end
  end
  for key in pairs(is.digests) do
    if not was.digests[key] then
      table.insert(found.extra, key)
    end
  end
  return found
end

local function compare_table(name, was, is)
  local entry = { name = name, before = was.rows, after = is.rows, same = was.hash == is.hash and was.rows == is.rows }
  if was.digests and is.digests then
    local found = compare_rows(was, is)
    entry.missing, entry.extra, entry.altered = #found.missing, #found.extra, #found.altered
    -- By all of a row no two rows are the same one: what was altered is missing, and something else is there.
    entry.differing = name_rows(found, was.key, KINDS)
  else
    entry.differing = not entry.same and { "too many rows to say which" } or {}
  end
  return entry
end

-- Compares snapshots; see `verify.compare`.
function compare.tables(was, is)
  args.check("verify.compare", "before", was, "table")
  args.check("verify.compare", "after", is, "table")
  if not was.tables then
    internal.raise({ kind = "arg", message = "verify.compare: before must be a snapshot", hint = "verify.snapshot" }, 2)
  end
  if not is.tables then
    is = compare.snapshot(is, { dbname = was.dbname, queries = was.queries, keys = was.keys })
  end
  local entries = {}
  for name, known in pairs(was.tables) do
    local empty = { rows = 0, hash = "0", digests = {} }
    entries[#entries + 1] = compare_table(name, known, is.tables[name] or empty)
  end
  for name, found in pairs(is.tables) do
    if not was.tables[name] then
      entries[#entries + 1] = compare_table(name, { rows = 0, hash = "0", digests = {} }, found)
    end
  end
  table.sort(entries, function(a, b)
    return a.name < b.name
  end)
  return entries
end

-- A ledger's differences as an entry; see `verify.ledger_entry`.
function compare.ledger_entry(name, diff)
  args.check("verify.ledger_entry", "name", name, "string")
  args.check("verify.ledger_entry", "diff", diff, "table")
  local altered = #diff.torn + #diff.altered
  local entry = {
    name = name,
    before = diff.expected,
    after = diff.expected - #diff.lost + #diff.extra,
    missing = #diff.lost,
    extra = #diff.extra,
    altered = altered,
    same = #diff.lost + #diff.extra + altered == 0,
  }
  local found = {}
  for kind, rows in pairs { missing = diff.lost, extra = diff.extra, torn = diff.torn, altered = diff.altered } do
    found[kind] = {}
    for i, row in ipairs(rows) do
      found[kind][i] = tostring(row.order or row.operation)
    end
  end
  entry.differing = name_rows(found, "order", { "missing", "extra", "torn", "altered" })
  return entry
end

return compare
