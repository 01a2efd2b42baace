--- Delete the Johnsons, then bring them back: point-in-time recovery to any kind of target.
--
-- A base backup alone takes you back to the moment it was made. The write-ahead log is the ordered
-- list of every change since, the same list a standby is fed with; replayed on top of the backup it
-- takes you to any moment after it. That is all there is to point-in-time recovery: a backup, an
-- unbroken log, and knowing the moment.
--
-- The moment need not be known: the log holds the mistake as well, and the drill finds it there. The
-- drill also makes it reachable in every way PostgreSQL offers: a time, a transaction, a WAL position, a
-- named restore point. Choose with --to; `--to ask` asks on a terminal.
-- It restores beside the server, which keeps running, and compares every row.

local CUSTOMERS = "SELECT * FROM customers ORDER BY customerid"

-- The foreign keys refuse to delete a customer who has orders. The developer knew how to help that.
local THE_MISTAKE = [[
DELETE FROM orderItems USING orders, customers
  WHERE orderItems.orderId = orders.orderId AND orders.customerId = customers.customerId AND lastName = 'Johnson';
DELETE FROM orders USING customers WHERE orders.customerId = customers.customerId AND lastName = 'Johnson';
DELETE FROM customers WHERE lastName = 'Johnson']]

local function delete_the_johnsons(db)
  local deleted = db:tx(function()
    local customers = db:exec(THE_MISTAKE)
    return { xid = db:value "SELECT pg_current_xact_id()", customers = customers }
  end)
  return deleted
end

-- The ways to name the moment before the mistake.
local function targets(moment, mistake)
  return {
    lsn = pitr.before(mistake),
    time = { time = moment.time, inclusive = true },
    xid = { xid = mistake.xid, inclusive = false },
    name = { name = "before-the-mistake" },
  }
end

local function choose(arg, moment, mistake)
  local choices = targets(moment, mistake)
  if arg.to ~= "ask" then
    return choices[arg.to] or arg.to
  end
  local question = ("The DELETE committed at %s, %s. Recover to"):format(mistake.lsn, mistake.time)
  local answer = prompt.line(question, { default = "lsn" })
  return choices[answer] or answer
end

-- The mistake as the archive tells it; nothing else is asked.
local function find_in_wal(d, primary)
  local candidates = pitr.incidents(primary)
  d:table("What destroyed rows since the backup:", pitr.incident_table(candidates))
  return pitr.choose(candidates)
end

local WAYS = { lsn = true, time = true, xid = true, name = true, ask = true }

-- Defects that a drill of this kind must catch, for its own test.
local DEFECTS = { "none", "late", "inclusive", "delete-row" }

local function planted(kind, mistake)
  if kind == "late" then
    return { lsn = mistake.end_lsn, inclusive = false }
  elseif kind == "inclusive" then
    return { xid = mistake.xid, inclusive = true }
  end
end

return drill "pitr" {
  summary = "A customer is deleted by mistake; recover to the moment before, and the row is back.",
  tags = { "pitr", "exercise-1.1" },
  args = {
    to = {
      "",
      "lsn, time, xid or name: just before the mistake; ask; or a target of your own such as lsn:0/3000148; "
        .. "default: before what the WAL shows",
      check = function(to)
        return WAYS[to] or pitr.target(to)
      end,
    },
    scale = { 1, "size of the shop: 1 is about 4 000 rows", min = 0 },
    version = { 0, "PostgreSQL major version; 0 is the newest installed", min = 0 },
    plant = {
      "none",
      "a defect to plant, which the proof must catch: none, late, inclusive, delete-row",
      choices = DEFECTS,
    },
  },
  budget = "10m",
  expect = { "rows_missing == 0", "rows_changed == 0", "rows_extra == 0" },

  run = function(d, arg)
    local primary, before, tables

    d:step("a shop with a base backup and an archive of its WAL", function()
      primary = lab.postgres { name = "primary", version = arg.version > 0 and arg.version or nil }
      workload.init(primary, { scale = arg.scale })
      local base = pitr.backup(primary)
      d:say("Backup %s: %s, complete at %s.", base.label, report.bytes(base.bytes), base.stop_lsn)
    end)
    local db <close> = primary:connect { dbname = workload.database }

    local moment = d:step("business goes on after the backup; then note the moment", function()
      db:exec "INSERT INTO customers (firstName, lastName, email) VALUES ('Carol', 'Johnson', 'carol.johnson@example.com')"
      before, tables = db:query(CUSTOMERS), verify.snapshot(primary)
      db:exec "SELECT pg_create_restore_point('before-the-mistake')"
      local now = db:value "SELECT clock_timestamp()"
      d:say(
        "It is %s. The second Johnson became a customer after the backup: the backup alone would not have her.",
        now
      )
      return { time = now }
    end)

    local mistake = d:step("DELETE FROM customers WHERE lastName = 'Johnson'", function()
      local deleted = delete_the_johnsons(db)
      db:exec "INSERT INTO customers (firstName, lastName, email) VALUES ('Dave', 'Later', 'dave.later@example.com')"
      primary:flush_archive()
      local commit = pitr.commit_of(primary, deleted.xid)
      d:say(
        "%d customers are gone, and their orders with them: transaction %d, committed at %s.",
        deleted.customers,
        deleted.xid,
        commit.lsn
      )
      return commit
    end)

    local found = arg.to == ""
      and d:step("find it in the WAL", function()
        local found = find_in_wal(d, primary)
        d:say("Stop before %s; that gives up %d commits made since.", found.target.lsn, found.commits_lost)
        d:check("the transaction found in the WAL is the mistake", found.xid == mistake.xid)
        return found
      end)

    local restored = d:step("recover beside the server", function()
      local target = planted(arg.plant, mistake) or found and found.target or choose(arg, moment, mistake)
      local node = d:measure("rto", pitr.restore, primary, { to = target })
      d:say(pitr.describe(node))
      return node
    end)

    d:step("compare every row", function()
      if found and arg.plant == "none" then
        for _, c in ipairs(pitr.check_choice(restored, found)) do
          d:check(c.name, c.held, c.detail)
        end
      end
      if arg.plant == "delete-row" then
        local other <close> = restored:connect { dbname = workload.database }
        other:exec "DELETE FROM customers WHERE lastName = 'Johnson' AND firstName = 'Carol'"
      end
      local diff = verify.same_rows(before, restored, CUSTOMERS, { key = "customerid" })
      d:record { rows_missing = #diff.missing, rows_changed = #diff.changed, rows_extra = #diff.extra }
      for _, row in ipairs(diff.missing) do
        d:check(
          ("%s %s is back"):format(row.firstname, row.lastname),
          false,
          "customer " .. row.customerid .. " is missing"
        )
      end
      d:check("the Johnsons are back, and everybody else is as before", #diff.missing + #diff.changed == 0)
      d:check("nothing from after the target is there", #diff.extra == 0)
      d:compare("Before the mistake, and recovered:", tables, restored, { check = "%s is as it was, row for row" })
      local broken = verify.constraints(restored)
      d:check("every foreign key holds", #broken == 0, verify.list(broken))
    end)

    d:step("the original was not touched", function()
      d:check("it still takes writes", primary:value "SELECT NOT pg_is_in_recovery()")
      d:check("it is on its own timeline", primary:timeline() < restored:timeline())
      d:say "A managed service would have made a new instance just the same; which rows differ it would not have told you."
    end)
  end,
}
