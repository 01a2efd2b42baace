--- Recover a shop from a TRUNCATE, beside the damaged primary, and prove that nothing else was lost.
--
-- The scene: a primary and a hot standby take orders. A network switch fails and the standby falls
-- behind. While you look at the network, somebody runs TRUNCATE TABLE products CASCADE on the
-- primary. What now?
--
-- Failing over loses every order since the standby was cut off. Restoring last night's backup loses
-- the day. The answer is point-in-time recovery: the base backup plus the archived WAL, replayed up
-- to the instant before the TRUNCATE committed. This drill does that for real, beside the damaged
-- server, and lets the recovered one take over only after it is proved.
--
-- Nobody has to know when it happened. The write-ahead log holds every transaction, the destructive ones
-- too: the drill finds the TRUNCATE there, and with it the exact position to stop at.
--
-- A managed service does the same behind a button: it picks the backup, replays the log into a new
-- instance and hands you its address. What it does not do is find the instant or prove the result;
-- and what you give up is the choice of both.

-- What nobody writes to during the drill: it must come back exactly as it was loaded.
local LOADED = {
  products = "SELECT * FROM products",
  customers = "SELECT * FROM customers",
  ["orders loaded before the drill"] = "SELECT * FROM orders o WHERE NOT EXISTS (SELECT FROM operations p WHERE p.orderId = o.orderId)",
  ["order items loaded before the drill"] = "SELECT * FROM orderItems i WHERE NOT EXISTS (SELECT FROM operations p WHERE p.orderId = i.orderId)",
}

local KEYS = {
  ["orders loaded before the drill"] = "orderId",
  ["order items loaded before the drill"] = "orderItemId",
}

-- The developer's script. It may lose a deadlock against the shop; then he runs it again.
local function faulty_script(primary)
  local db <close> = primary:connect { dbname = workload.database }
  return eventually(function()
    return db:tx(function()
      db:exec "TRUNCATE TABLE products CASCADE"
      return db:value "SELECT pg_current_xact_id()"
    end)
  end, { describe = "the faulty script" })
end

-- Defects that a drill of this kind must catch, for its own test.
local DEFECTS = { "none", "late", "inclusive", "delete-row" }

-- The transaction to undo, as the archive tells it. Nothing but the archive is asked.
local function find_in_wal(d, primary)
  local candidates = pitr.incidents(primary)
  d:table("What destroyed data since the backup:", pitr.incident_table(candidates))
  return pitr.choose(candidates)
end

local function recovery_target(arg, commit)
  if arg.plant == "late" then
    return { lsn = commit.end_lsn, inclusive = false }
  elseif arg.plant == "inclusive" then
    return { lsn = commit.lsn, inclusive = true }
  elseif arg.to ~= "" then
    return arg.to
  end
  return pitr.before(commit)
end

local function delete_one_order(node)
  local db <close> = node:connect { dbname = workload.database }
  local order = db:value "SELECT min(orderId) FROM operations"
  db:exec("DELETE FROM orderItems WHERE orderId = $1", order)
  db:exec("DELETE FROM operations WHERE orderId = $1", order)
  db:exec("DELETE FROM orders WHERE orderId = $1", order)
end

local function list_orders(d, title, orders)
  local rows = {}
  table.sort(orders, function(a, b)
    return a.order < b.order
  end)
  for i, order in ipairs(orders) do
    rows[i] = { order.order, order.customer, order.total, order.items, order.xid }
  end
  d:table(("%s %d"):format(title, #rows), { "order", "customer", "total", "items", "transaction" }, rows)
end

local function prove(d, node, loaded, ledger, window)
  local diff = verify.ledger(node, ledger, window)
  d:compare("Before the drill, and recovered:", loaded, node, {
    check = "%s are as they were loaded",
    ledger = verify.ledger_entry("orders acknowledged before the target", diff),
  })
  d:record {
    orders_expected = diff.expected,
    orders_lost = #diff.lost,
    orders_extra = #diff.extra,
    orders_torn = #diff.torn,
    orders_altered = #diff.altered,
  }
  d:check(
    ("all %d orders acknowledged before the target are there, none extra, none torn"):format(diff.expected),
    verify.describe(diff) == nil,
    verify.describe(diff)
  )
  local broken = verify.constraints(node)
  d:check("every foreign key holds", #broken == 0, verify.list(broken))
  local damage, unavailable = verify.amcheck(node)
  if damage then
    d:check("amcheck reads every table and index without a finding", #damage == 0, verify.list(damage))
  else
    d:say("Not checked: " .. unavailable)
  end
end

return drill "full_recovery" {
  summary = "A lagging standby, a TRUNCATE CASCADE, recovery to the instant before it, and the proof.",
  tags = { "pitr", "exercise-4.1" },
  args = {
    scale = { 1, "size of the shop: 1 is about 4 000 rows", min = 0 },
    clients = { 4, "concurrent writers", min = 1 },
    orders = { 150, "orders taken while the standby is cut off", min = 1 },
    rate = { 2000, "orders a second the writers aim at", min = 1 },
    to = {
      "",
      "recovery target: before:LSN, lsn:, xid:, name:, or a time with its offset; default: before what the WAL shows",
      check = pitr.target,
    },
    version = { 0, "PostgreSQL major version; 0 is the newest installed", min = 0 },
    plant = {
      "none",
      "a defect to plant, which the proof must catch: none, late, inclusive, delete-row",
      choices = DEFECTS,
    },
  },
  budget = "15m",
  expect = { "orders_lost == 0", "orders_extra == 0", "orders_torn == 0", "orders_altered == 0", "rto < 5m" },

  run = function(d, arg)
    local primary, standby, shop, base, loaded
    lab.consent "freeze, kill and restart the standby, and replace the drill's own database"

    d:step("a primary, a hot standby, a base backup, and orders coming in", function()
      primary = lab.postgres {
        name = "primary",
        version = arg.version > 0 and arg.version or nil,
        conf = { deadlock_timeout = "100ms" },
      }
      workload.init(primary, { scale = arg.scale })
      loaded = verify.snapshot(primary, { queries = LOADED, keys = KEYS })
      shop = workload.start(
        primary,
        { clients = arg.clients, rate = arg.rate, ledger = lab.info().folder .. "/ledger.jsonl" }
      )
      -- The backup is taken while orders come in, as backups are.
      base, standby = table.unpack(task.all {
        function()
          return pitr.backup(primary, { label = "nightly" })
        end,
        function()
          return lab.standby(primary)
        end,
      })
      d:say(
        "PostgreSQL %s. Backup %s: %s, complete at %s.",
        primary.info.version,
        base.label,
        report.bytes(base.bytes),
        base.stop_lsn
      )
      d:say "The WAL goes to an archive of its own, not into the data directory it must outlive."
    end)
    local _ <close> = shop

    d:step("the switch fails: the standby is cut off and falls behind", function()
      primary:wait_replayed(standby)
      standby:pause()
      shop:wait_orders(arg.orders)
      d:say "Its replication slot keeps the WAL on the primary, but cannot send it."
    end)

    local culprit = d:step("TRUNCATE TABLE products CASCADE", function()
      local xid = faulty_script(primary)
      shop:wait_failures(5)
      shop:wait_orders(10)
      shop:stop()
      primary:flush_archive()
      d:say "Products and order items are gone. The shop still takes empty baskets and refuses the rest."
      return xid
    end)

    -- Whoever names a target knows better than the WAL.
    local truncate = arg.to ~= "" and pitr.commit_of(primary, culprit)
      or d:step("what happened, and when? ask the WAL", function()
        local found = find_in_wal(d, primary)
        d:say(
          "The clear one: %s of %s. Stop before %s; that gives up %d commits made since.",
          found.kind,
          table.concat(found.names, ", "),
          found.target.lsn,
          found.commits_lost
        )
        d:check("the transaction found in the WAL is the developer's", found.xid == culprit & 0xFFFFFFFF)
        return found
      end)

    d:step("assess: what would a failover lose?", function()
      local lag = primary:lag_of(standby)
      d:record { lag_bytes = lag.bytes, lag_seconds = lag.seconds }
      d:say(
        "The standby is %s and %.1f s behind: every order since then would be lost.",
        report.bytes(lag.bytes),
        lag.seconds
      )
      d:say("The TRUNCATE is transaction %d, committed at %s, %s.", truncate.xid, truncate.lsn, truncate.time)
    end)

    -- What the proof holds the recovered server against: the commits in the archive up to the target.
    local window = { upto = truncate.lsn, archive = primary.archive, from = base.start_lsn }
    local restored, server

    d:measure("rto", function()
      d:step("recover beside the primary, to the instant before the TRUNCATE", function()
        local target = recovery_target(arg, truncate)
        local plan = pitr.plan(primary, { to = target })
        d:say("Plan: backup %s and %d WAL files, target %s.", plan.backup.label, plan.wal_files, plan.asked)
        restored = d:measure("rto_restore", pitr.restore, primary, { to = target })
        d:say(pitr.describe(restored))
      end)

      d:step("prove the recovered server before anyone relies on it", function()
        if arg.plant == "delete-row" then
          delete_one_order(restored)
        end
        if truncate.target and arg.plant == "none" then
          for _, c in ipairs(pitr.check_choice(restored, truncate)) do
            d:check(c.name, c.held, c.detail)
          end
        end
        d:measure("rto_prove", prove, d, restored, loaded, shop:ledger(), window)
      end)

      if d:passing() then
        d:step("swap: the recovered server takes over the primary's address", function()
          server = d:measure("rto_swap", restored.take_over, restored, primary)
          d:say("Clients reach the shop at port %d as before.", server:endpoint().port)
          if server == restored then
            d:say("The recovered server archives into a new archive, on timeline %d.", server:timeline())
          else
            d:say "A standing server serves others, too: it took the recovered database, and keeps the damaged one until the end."
          end
        end)
      end
    end)

    if not d:passing() then
      return d:say "It does not take over. The damaged primary is untouched: correct the target and recover again."
    end

    d:step("the price: what recovery gives up, what a failover would have lost", function()
      local given_up = verify.given_up(shop:ledger(), window)
      d:record { rpo_transactions = #given_up }
      list_orders(d, "Acknowledged after the target, given up by the recovery:", given_up)
      -- A failover would promote what the standby had when it was cut off. Started alone, it shows that.
      standby:kill()
      standby:write_conf { primary_conninfo = "" }
      standby:start()
      local stale = verify.ledger(standby, shop:ledger(), window)
      d:record { failover_would_lose = #stale.lost }
      list_orders(d, "Kept by the recovery, lost by a failover to the stale standby:", stale.lost)
      d:check("a failover would have lost orders that the recovery kept", #stale.lost > 0)
    end)

    d:step("rebuild the standby from the recovered server", function()
      standby:stop()
      standby:follow(server)
      server:wait_replayed(standby)
      local differs = verify.describe(verify.ledger(standby, shop:ledger(), window))
      d:check("the rebuilt standby holds the same orders", differs == nil, differs)
    end)
  end,
}
