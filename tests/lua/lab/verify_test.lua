-- Verification, both ways: a healthy database passes, each planted defect is found and named.

local support = require "support"

-- A shop with a finished workload, and its ledger.
local shop = support.once(function()
  local pg = lab.postgres {}
  workload.init(pg, { scale = 0 })
  local base = pitr.backup(pg, { label = "base" })
  local load <close> = workload.start(pg, { clients = 3, rate = 0, ledger = lab.info().folder .. "/ledger.jsonl" })
  load:wait_orders(60)
  load:stop()
  pg:flush_archive()
  return { pg = pg, base = base, ledger = load:ledger(), stats = load:stats() }
end)

-- Runs `fn(db)` with constraints switched off, and puts the tables back afterwards.
local TABLES = { "operations", "orders", "orderItems" }

local function with_defect(plant, fn)
  local pg = shop().pg
  local db <close> = pg:connect { dbname = workload.database }
  for _, name in ipairs(TABLES) do
    db:exec(("CREATE TABLE IF NOT EXISTS saved_%s AS TABLE %s"):format(name, name))
  end
  db:exec "SET session_replication_role = replica"
  local _ <close> = defer(function()
    for _, name in ipairs(TABLES) do
      db:exec(
        ("DELETE FROM %s; INSERT INTO %s SELECT * FROM saved_%s; DROP TABLE saved_%s"):format(name, name, name, name)
      )
    end
  end)
  plant(db)
  return fn(pg, db)
end

local function counts(diff)
  return {
    lost = #diff.lost,
    extra = #diff.extra,
    torn = #diff.torn,
    altered = #diff.altered,
    uncertain = #diff.uncertain,
  }
end

local function expect(diff, wanted)
  local all = { lost = 0, extra = 0, torn = 0, altered = 0, uncertain = 0 }
  for name, n in pairs(wanted) do
    all[name] = n
  end
  test.equal(counts(diff), all)
end

-- An acknowledged operation with more than one item.
local function victim()
  for _, entry in ipairs(shop().ledger:list "ok") do
    if entry.items > 1 then
      return entry
    end
  end
end

test.describe("ledger", function()
  test.it("a database that holds every acknowledged order is clean", function()
    local s = shop()
    local diff = verify.ledger(s.pg, s.ledger)
    expect(diff, {})
    test.ok(diff.expected >= 60)
    test.equal(diff.present, diff.expected)
    test.equal(verify.describe(diff), nil)
    test.equal(#fs.read(s.ledger.path):gsub("[^\n]", ""), #s.ledger.entries, "lines on disk")
  end)

  test.it("a deleted order is lost", function()
    local gone = victim()
    with_defect(function(db)
      db:exec("DELETE FROM orderItems WHERE orderId = $1", gone.order)
      db:exec("DELETE FROM operations WHERE orderId = $1", gone.order)
      db:exec("DELETE FROM orders WHERE orderId = $1", gone.order)
    end, function(pg)
      local diff = verify.ledger(pg, shop().ledger)
      expect(diff, { lost = 1 })
      test.equal(diff.lost[1].operation, gone.operation)
      test.ok(verify.describe(diff):find("1 lost: order " .. gone.order, 1, true), verify.describe(diff))
    end)
  end)

  test.it("one deleted and one added is two defects, although the count is right", function()
    local gone = victim()
    with_defect(function(db)
      db:exec("UPDATE operations SET operation = 42 WHERE operation = $1", gone.operation)
    end, function(pg)
      local diff = verify.ledger(pg, shop().ledger)
      expect(diff, { lost = 1, extra = 1 })
      test.equal(diff.present, diff.expected)
      test.equal(diff.extra[1].operation, 42)
    end)
  end)

  test.it("a changed amount is altered", function()
    local changed = victim()
    with_defect(function(db)
      db:exec("UPDATE orders SET totalAmount = totalAmount + 0.01 WHERE orderId = $1", changed.order)
    end, function(pg)
      local diff = verify.ledger(pg, shop().ledger)
      expect(diff, { altered = 1 })
      test.equal(diff.altered[1].order, changed.order)
    end)
  end)

  test.it("an item that was swapped for another is altered, although none is missing", function()
    local changed = victim()
    with_defect(function(db)
      db:exec(
        "UPDATE orderItems SET quantity = quantity + 1 WHERE orderItemId = (SELECT min(orderItemId) FROM orderItems WHERE orderId = $1)",
        changed.order
      )
    end, function(pg)
      expect(verify.ledger(pg, shop().ledger), { altered = 1 })
    end)
  end)

  test.it("a missing item is a torn transaction, a missing order, too", function()
    local torn = victim()
    with_defect(function(db)
      db:exec(
        "DELETE FROM orderItems WHERE orderItemId = (SELECT min(orderItemId) FROM orderItems WHERE orderId = $1)",
        torn.order
      )
    end, function(pg)
      local diff = verify.ledger(pg, shop().ledger)
      expect(diff, { torn = 1 })
      test.equal(diff.torn[1].items_found, torn.items - 1)
    end)
    with_defect(function(db)
      db:exec("DELETE FROM orders WHERE orderId = $1", torn.order)
    end, function(pg)
      local diff = verify.ledger(pg, shop().ledger)
      expect(diff, { torn = 1 })
      test.equal(diff.torn[1].has_order, false)
    end)
  end)

  test.it("a target in the middle: what came after it is extra, what came before is expected", function()
    local s = shop()
    local window = { archive = s.pg.archive, from = s.base.start_lsn }
    local middle = pitr.commit_of(s.pg, s.ledger:list("ok")[30].xid)
    window.upto = middle.lsn
    local diff = verify.ledger(s.pg, s.ledger, window)
    local given_up = verify.given_up(s.ledger, window)
    test.equal(#diff.extra, #given_up)
    test.equal(diff.expected + #given_up, #s.ledger:list "ok")
    expect(diff, { extra = #given_up })
    -- Restored to there, it holds exactly what was expected.
    local node <close> = support.restore(s.pg, { to = pitr.before(middle) })
    local restored = verify.ledger(node, s.ledger, window)
    expect(restored, {})
    test.equal(restored.expected, diff.expected)
  end)

  test.it("an unknown outcome is uncertain, until the WAL settles it", function()
    local s = shop()
    local entries = {}
    for i, entry in ipairs(s.ledger.entries) do
      local copy = {}
      for key, value in pairs(entry) do
        copy[key] = value
      end
      entries[i] = copy
    end
    local unanswered, never
    for _, entry in ipairs(entries) do
      if entry.outcome == "ok" then
        unanswered = entry
        break
      end
    end
    unanswered.outcome, unanswered.lsn_high = "unknown", nil
    never =
      { operation = 77, outcome = "unknown", items = 0, hash = "", xid = 4000000000, lsn_low = unanswered.lsn_low }
    entries[#entries + 1] = never
    local ledger = { entries = entries }
    local diff = verify.ledger(s.pg, ledger)
    expect(diff, { uncertain = 2 })
    test.equal({ diff.uncertain[1].present, diff.uncertain[2].present }, { true, false })
    local settled = verify.ledger(s.pg, ledger, { archive = s.pg.archive, from = s.base.start_lsn })
    expect(settled, {})
    test.equal(settled.expected, diff.expected + 1)
  end)

  test.it("a server killed under the writers loses no acknowledged order", function()
    local pg = lab.postgres { name = "crash", archive = false }
    workload.init(pg, { scale = 0 })
    local load <close> = workload.start(pg, { clients = 3, rate = 0 })
    load:wait_orders(30)
    pg:kill()
    test.raises(function()
      load:stop()
    end, { kind = "sql" })
    test.equal(pg:status(), "crashed")
    pg:start()
    local diff = verify.ledger(pg, load:ledger())
    expect(diff, { uncertain = #load:ledger():list "unknown" })
    test.ok(diff.expected >= 30)
  end)
end)

test.describe("fingerprints and rows", function()
  test.it("are equal for equal rows in any order, different for one changed value", function()
    local pg = shop().pg
    local before = verify.fingerprint(pg)
    test.ok(before.orders.rows >= 60 and before.customers.rows == 2)
    with_defect(function(db)
      db:exec "CREATE TEMP TABLE o AS TABLE orders; DELETE FROM orders; INSERT INTO orders SELECT * FROM o ORDER BY orderId DESC"
    end, function()
      test.equal(verify.fingerprint(pg).orders, before.orders)
    end)
    with_defect(function(db)
      db:exec "UPDATE orders SET totalAmount = totalAmount + 0.01 WHERE orderId = 1"
    end, function()
      local after = verify.fingerprint(pg)
      test.equal(after.orders.rows, before.orders.rows)
      test.ok(after.orders.hash ~= before.orders.hash)
      test.equal(after.customers, before.customers)
    end)
  end)

  test.it("same_rows names what is missing, extra and changed", function()
    local pg = shop().pg
    local query = "SELECT orderId, customerId, totalAmount FROM orders"
    local db <close> = pg:connect { dbname = workload.database }
    local before = db:query(query)
    local same = verify.same_rows(before, pg, query, { key = "orderid" })
    test.equal({ #same.missing, #same.extra, #same.changed }, { 0, 0, 0 })
    with_defect(function(other)
      other:exec "DELETE FROM orders WHERE orderId = 1"
      other:exec "UPDATE orders SET totalAmount = 1 WHERE orderId = 2"
      other:exec "INSERT INTO orders (orderId, customerId, totalAmount) VALUES (100000, 1, 1)"
    end, function()
      local diff = verify.same_rows(before, pg, query, { key = "orderid" })
      test.equal({ #diff.missing, #diff.extra, #diff.changed }, { 1, 1, 1 })
      test.equal(diff.missing[1].orderid, 1)
      test.equal(diff.extra[1].orderid, 100000)
      test.equal({ diff.changed[1].from.totalamount, diff.changed[1].to.totalamount }, { "124.99", "1.00" })
    end)
  end)
end)

test.describe("constraints", function()
  test.it("hold in a healthy database", function()
    test.equal(verify.constraints(shop().pg), {})
  end)

  test.it("an orphan is found where it is", function()
    with_defect(function(db)
      db:exec "INSERT INTO orderItems (orderId, productId, quantity, pricePerUnit) VALUES (999999, 1, 1, 1)"
    end, function(pg)
      local problems = verify.constraints(pg)
      test.equal(#problems, 1)
      test.equal(problems[1].problem, "1 rows of orderitems have no match in orders")
    end)
  end)

  test.it("a constraint that was never validated is named", function()
    local db <close> = shop().pg:connect { dbname = workload.database }
    db:exec "ALTER TABLE products ADD CONSTRAINT cheap CHECK (price < 1) NOT VALID"
    test.equal(verify.constraints(shop().pg), { { name = "cheap", problem = "not validated" } })
    db:exec "ALTER TABLE products DROP CONSTRAINT cheap"
  end)
end)

test.describe("amcheck", function()
  -- A server without checksums, or PostgreSQL itself would refuse the damaged pages first.
  local plain = support.once(function()
    local pg = lab.postgres { name = "plain", archive = false }
    pg:create_database "t"
    local db <close> = pg:connect { dbname = "t" }
    db:exec "CREATE TABLE t (n int PRIMARY KEY, filler text); INSERT INTO t SELECT n, repeat('x', 100) FROM generate_series(1, 2000) n"
    db:exec "CHECKPOINT"
    local files = {}
    for _, name in ipairs { "t", "t_pkey" } do
      files[name] = pg.data .. "/" .. db:value("SELECT pg_relation_filepath($1::text::regclass)", name)
    end
    db:close()
    pg:stop()
    pg:exec { "pg_checksums", "--disable", "--pgdata=" .. pg.data }
    return { pg = pg, files = files }
  end)

  local function check_damaged(file, offset, bytes)
    local p = plain()
    if p.pg:status() ~= "stopped" then
      p.pg:stop()
    end
    return support.while_damaged(p.files[file], function(path)
      support.patch(path, offset, bytes)
    end, function()
      p.pg:start()
      local problems = verify.amcheck(p.pg, { dbname = "t" })
      p.pg:stop()
      return problems
    end)
  end

  test.it("finds nothing in a healthy database and leaves nothing behind", function()
    local pg = shop().pg
    test.equal(verify.amcheck(pg), {})
    test.equal(pg:logs { grep = "is not an index" }, "")
    local db <close> = pg:connect { dbname = workload.database }
    test.equal(db:value "SELECT count(*) FROM pg_extension WHERE extname = 'amcheck'", 0)
  end)

  test.it("finds a heap page whose tuples were overwritten", function()
    local problems = check_damaged("t", 8192 * 3 + 8000, ("\xAB"):rep(100))
    test.ok(#problems > 0)
    test.ok(problems[1].name == "t" and problems[1].problem:find("block 3", 1, true), verify.list(problems))
  end)

  test.it("finds an index whose entry points elsewhere", function()
    local problems = check_damaged("t_pkey", 8192 + 8192 - 16 - 16 * 40, "\0\0\9\0\1\0")
    test.ok(#problems > 0)
    test.ok(verify.list(problems):find("t_pkey", 1, true), verify.list(problems))
  end)

  test.it("finds an index page that is gone", function()
    local problems = check_damaged("t_pkey", 8192, ("\0"):rep(8192))
    test.ok(verify.list(problems):find("t_pkey", 1, true), verify.list(problems))
  end)

  test.it("reports a page with a bad checksum as a finding, not as an error of its own", function()
    local pg = lab.postgres { name = "summed", archive = false }
    pg:create_database "t"
    local db <close> = pg:connect { dbname = "t" }
    db:exec "CREATE TABLE t (n int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 1000)"
    local path = pg.data .. "/" .. db:value "SELECT pg_relation_filepath('t')"
    db:exec "CHECKPOINT"
    db:close()
    pg:stop()
    support.patch(path, 4000, "x")
    pg:start()
    local problems = verify.amcheck(pg, { dbname = "t" })
    test.ok(#problems > 0)
    test.ok(verify.list(problems):find("invalid page", 1, true), verify.list(problems))
  end)

  test.it("says so when it is not installed", function()
    local pg = shop().pg
    local without = setmetatable({
      connect = function()
        local db = {
          value = function()
            return nil
          end,
        }
        return setmetatable(db, { __close = function() end })
      end,
    }, { __index = pg })
    local found, why = verify.amcheck(without)
    test.equal(found, nil)
    test.ok(why:find("not installed", 1, true))
  end)
end)

test.describe("tables before and after", function()
  local queries = {
    items = "SELECT * FROM items",
    big = "SELECT * FROM items WHERE n > 2",
    loose = "SELECT n / 10 AS tens FROM items",
  }
  local options = { dbname = "compared", queries = queries, keys = { big = "n" } }

  local server = support.once(function()
    local pg = lab.postgres { name = "compared", archive = false }
    pg:create_database "compared"
    return pg
  end)

  local function with_items(change)
    local db <close> = server():connect { dbname = "compared" }
    db:exec [[DROP TABLE IF EXISTS items; CREATE TABLE items (n int PRIMARY KEY, name text);
      INSERT INTO items SELECT g, 'name ' || g FROM generate_series(1, 12) g]]
    local before = verify.snapshot(server(), options)
    if change then
      db:exec(change)
    end
    local found = {}
    for _, entry in ipairs(verify.compare(before, server())) do
      found[entry.name] = entry
    end
    return found
  end

  test.it("are the same when nobody changed them", function()
    for name, entry in pairs(with_items "UPDATE items SET name = name") do
      test.ok(entry.same, name)
      test.equal({ entry.missing, entry.extra, entry.altered, #entry.differing }, { 0, 0, 0, 0 })
    end
  end)

  test.it("name the rows that are missing, extra and altered, in order", function()
    local found = with_items [[DELETE FROM items WHERE n IN (2, 10, 9); UPDATE items SET name = 'other' WHERE n = 7;
      INSERT INTO items VALUES (13, 'new')]]
    local items = found.items
    test.ok(not items.same)
    test.equal({ items.before, items.after }, { 12, 10 })
    test.equal({ items.missing, items.extra, items.altered }, { 3, 1, 1 })
    test.equal(items.differing, { "n 2, 9, 10 are missing", "n 13 is extra", "n 7 is altered" })
    test.equal(found.big.missing, 2)
    -- Rows that nothing tells apart are counted: of those alike, two went; where one went, another came.
    test.equal({ found.loose.missing, found.loose.extra }, { 2, 0 })
  end)

  test.it("name the first of many only", function()
    test.equal(with_items("DELETE FROM items").items.differing, { "n 1, 2, 3, 4, 5 and 7 more are missing" })
  end)

  test.it("tell a table that is gone or new from one that is empty", function()
    local before = verify.snapshot(server(), { dbname = "compared" })
    local db <close> = server():connect { dbname = "compared" }
    db:exec "CREATE TABLE fresh AS SELECT 1 AS n"
    local after = verify.snapshot(server(), { dbname = "compared" })
    test.equal(verify.compare(before, after)[1].name, "fresh")
    test.equal(verify.compare(before, after)[1].extra, 1)
    test.equal(verify.compare(after, before)[1].missing, 1)
    db:exec "DROP TABLE fresh"
  end)

  test.it("need a snapshot", function()
    test.raises(function()
      verify.compare({}, server())
    end, { kind = "arg", match = "must be a snapshot" })
  end)
end)
