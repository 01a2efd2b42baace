-- Finding what went wrong in the WAL: what is found, which one is chosen, and the proof that the choice was right.

local support = require "support"

-- Rows, a backup, then: a small delete, a mass delete, and a TRUNCATE that was prepared.
local history = support.once(function()
  local pg = support.primary { conf = { max_prepared_transactions = 5 } }
  local db <close> = pg:connect()
  db:exec "CREATE TABLE log (n int PRIMARY KEY, filler text)"
  db:exec "CREATE TABLE other (n int)"
  db:exec "INSERT INTO log SELECT n FROM generate_series(1, 3000) n"
  db:exec "INSERT INTO other SELECT n FROM generate_series(1, 50) n"
  -- Older than the backup: no recovery can undo it.
  db:exec "TRUNCATE other"
  db:exec "INSERT INTO other SELECT n FROM generate_series(1, 50) n"
  pitr.backup(pg)
  local h = { pg = pg }
  local function deed(name, statement)
    h[name] = db:tx(function()
      db:exec(statement)
      return db:value "SELECT pg_current_xact_id()"
    end)
    db:exec "INSERT INTO log SELECT coalesce(max(n), 0) + 1 FROM log"
    pg:flush_archive()
    h["after_" .. name] = pg:lsn()
  end
  deed("small", "DELETE FROM other WHERE n <= 2")
  deed("mass", "DELETE FROM log WHERE n <= 2000")
  db:exec "BEGIN"
  h.truncate = db:value "SELECT pg_current_xact_id()"
  db:exec "TRUNCATE log"
  db:exec "PREPARE TRANSACTION 'it''s prepared'"
  db:exec "COMMIT PREPARED 'it''s prepared'"
  pg:flush_archive()
  h.after_truncate = pg:lsn()
  deed("second", "TRUNCATE other")
  return h
end)

local function kinds_of(list)
  local kinds = {}
  for i, found in ipairs(list) do
    kinds[i] = found.kind .. " " .. table.concat(found.names, " ")
  end
  return kinds
end

test.describe("incidents", function()
  test.it("are those since the backup, one a transaction, in order", function()
    local h = history()
    local list = pitr.incidents(h.pg)
    test.equal(kinds_of(list), { "delete public.log", "truncate public.log", "truncate public.other" })
    test.equal({ list[1].xid, list[2].xid, list[3].xid }, { h.mass, h.truncate, h.second })
    test.equal({ list[1].rows.deleted, list[1].target.inclusive }, { 2000, false })
    test.ok(list[1].last_kept.lsn < list[1].lsn and list[1].lsn < list[1].first_lost.lsn)
    test.equal(#pitr.incidents(h.pg, { table = "other" }), 1)
  end)

  test.it("are the small deletes where nothing large was destroyed", function()
    local h = history()
    local list = pitr.incidents(h.pg, { to = h.after_small })
    test.equal(kinds_of(list), { "delete public.other" })
    test.equal({ list[1].xid, list[1].rows.deleted }, { h.small, 2 })
  end)

  test.it("are shown as a table", function()
    local columns, rows = pitr.incident_table(pitr.incidents(history().pg))
    test.equal({ #columns, #rows, rows[1][5] }, { #rows[1], 3, 2000 })
  end)
end)

test.describe("the choice", function()
  test.it("is the one that stands out", function()
    local h = history()
    test.equal(pitr.choose(pitr.incidents(h.pg, { to = h.after_mass })).xid, h.mass)
    -- A TRUNCATE outweighs any number of rows.
    test.equal(pitr.choose(pitr.incidents(h.pg, { to = h.after_truncate })).xid, h.truncate)
  end)

  test.it("is refused when none does, with a list of targets", function()
    local h = history()
    local list = pitr.incidents(h.pg)
    local e = test.raises(function()
      pitr.choose(list)
    end, { kind = "state", code = "ambiguous_incident", match = "3 transactions", hint = "before:LSN" })
    for _, found in ipairs(list) do
      test.ok(e.detail:find("before:" .. tostring(found.target.lsn), 1, true), e.detail)
    end
    test.raises(function()
      pitr.choose {}
    end, { kind = "state", code = "no_incident" })
  end)

  test.it("can be given as text", function()
    local wanted = pitr.target "before:0/3000148"
    test.equal({ wanted.kind, tostring(wanted.value), wanted.inclusive }, { "lsn", "0/3000148", false })
  end)
end)

test.describe("the proof", function()
  test.it("holds right before the incident, which is rolled back when it was prepared", function()
    local h = history()
    local found = pitr.choose(pitr.incidents(h.pg, { to = h.after_truncate }))
    local node <close> = support.restore(h.pg, { to = found.target })
    for _, check in ipairs(pitr.check_choice(node, found)) do
      test.ok(check.held, check.name .. ": " .. check.detail)
    end
    test.equal(pitr.roll_back_prepared(node, found), "it's prepared")
    test.equal(pitr.roll_back_prepared(node, found), nil)
    test.equal(node:value "SELECT count(*) FROM log", 1002)
  end)

  test.it("holds when nothing was committed between the backup and the incident", function()
    local pg = support.primary { name = "backed_up_twice" }
    local db <close> = pg:connect()
    pitr.backup(pg, { label = "older" })
    db:exec "CREATE TABLE log AS SELECT 1 AS n"
    pitr.backup(pg, { label = "newer" })
    db:exec "TRUNCATE log"
    pg:flush_archive()
    local found = pitr.choose(pitr.incidents(pg))
    local node <close> = support.restore(pg, { to = found.target })
    test.equal({ node.proof.backup, node.proof.last_commit }, { "newer", nil })
    for _, check in ipairs(pitr.check_choice(node, found)) do
      test.ok(check.held, check.name .. ": " .. check.detail)
    end
  end)

  test.it("fails anywhere else", function()
    local h = history()
    local list = pitr.incidents(h.pg)
    local node <close> = support.restore(h.pg, { to = list[1].target })
    for i, found in ipairs(list) do
      local failed = 0
      for _, check in ipairs(pitr.check_choice(node, found)) do
        failed = failed + (check.held and 0 or 1)
      end
      test.equal(failed, i == 1 and 0 or 3, found.kind)
    end
  end)
end)
