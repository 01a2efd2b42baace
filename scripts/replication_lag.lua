--- Fail over to a standby that lags, and count what was lost; then the ways not to lose it.
--
-- A customer registers. The primary says COMMIT. The standby has not heard of it, because somebody tripped
-- over a cable; a minute later the primary dies, the standby is promoted, everything is green. The customer
-- never existed. Nothing was broken: that is what asynchronous replication promises.
--
-- The drill does it for real, with the ledger of the shop as the witness, and then shows what helps:
--
--   rewind       afterwards: read from the old primary what only it has, then pg_rewind it back as a standby.
--                Copies what changed, not everything. Needs the old machine to come back.
--   drain        before promoting: replay what the archive holds, then the WAL on the dead primary's disk.
--                Costs minutes of being down, and saves everything that can be read.
--   synchronous  beforehand: COMMIT waits until a standby has it. Nothing acknowledged is ever lost;
--                and with the standby gone, nothing is acknowledged.
--
-- That last sentence is the CAP theorem, as a DBA meets it: with the two servers apart (P), you may go on
-- taking orders (A) or know that both have them (C). Asynchronous replication chose A, synchronous C. Two
-- or more synchronous candidates, of which any one suffices, move the point where it hurts; they do not remove it.
--
-- A managed service sells the choice as two products: the "multi-AZ" standby is synchronous and fails over
-- without loss, the "read replica" is asynchronous and may be promoted by you, with what it has.

local CUSTOMERS = "SELECT * FROM customers"

-- For a machine that has other things to do.
local PATIENCE = { timeout = "5m" }

-- A commit that blocks is shown by a deadline, not by waiting for ever.
local DEADLINE = "2s"

-- Defects that a drill of this kind must catch, for its own test.
local DEFECTS = { "none", "connected", "skip-drain", "asynchronous" }

local CONF = { wal_sender_timeout = "10min", wal_receiver_timeout = "10min" }

local function charlie(db, round)
  local email = ("charlie.davis.%d@critical.com"):format(round)
  db:exec("INSERT INTO customers (firstName, lastName, email) VALUES ('Charlie', 'Davis', $1)", email)
  return email
end

local function has_charlie(node, round)
  local db <close> = node:connect { dbname = workload.database }
  local email = ("charlie.davis.%d@critical.com"):format(round)
  return db:value("SELECT count(*) FROM customers WHERE email = $1", email) == 1
end

local function start_pair(arg)
  local north = lab.postgres { name = "north", version = arg.version > 0 and arg.version or nil, conf = CONF }
  workload.init(north, { scale = arg.scale })
  local db <close> = north:connect { dbname = workload.database }
  db:exec "CREATE TABLE imports (id int, line text)"
  return north, lab.standby(north, { name = "south", archive = true })
end

local function sent(primary, standby)
  return primary:value("SELECT sent_lsn FROM pg_stat_replication WHERE application_name = $1", standby.name)
end

-- A frozen machine's network still takes what its buffers hold, and hands it over when it wakes up. So the
-- nightly import runs until nothing gets through any more.
local function fill_the_link(primary, standby)
  local db <close> = primary:connect { dbname = workload.database }
  db:exec "SET synchronous_commit = local"
  eventually(function()
    db:exec "INSERT INTO imports SELECT n, repeat(md5(n::text), 55) FROM generate_series(1, 2000) n"
    local before = sent(primary, standby)
    timer.sleep "300ms"
    return sent(primary, standby) == before and primary:lsn() - before > 2 * 1024 ^ 2
  end, { timeout = "5m", every = "1ms", describe = "a link that takes no more" })
end

local function positions(d, primary, standby)
  local lag = replication.lag(primary:admin(), nil, { name = standby.name })
  local rows = {}
  for i, stage in ipairs(replication.stages) do
    rows[i] = { stage, report.bytes(lag.bytes[stage]) }
  end
  d:table(("%s is behind %s by"):format(standby.name, primary.name), { "stage", "bytes" }, rows)
  d:record { lag_bytes = lag.bytes.flush }
end

local function start_shop(primary, round, arg)
  local ledger = ("%s/ledger-%d.jsonl"):format(lab.info().folder, round)
  return workload.start(primary, { clients = arg.clients, rate = 1000, ledger = ledger, first = round * 10 + 1 })
end

-- Acknowledged, and not there or not whole.
local function missing(node, shop)
  local diff = verify.ledger(node, shop:ledger())
  diff.extra = {} -- the orders of an earlier round, and of another ledger
  return #diff.lost + #diff.torn + #diff.altered, diff
end

local function lose_acknowledged(d, arg, north, south)
  local shop <close> = start_shop(north, 1, arg)

  d:step("the standby is cut off; the primary goes on", function()
    shop:wait_orders(10, PATIENCE)
    north:wait_replayed(south)
    if arg.plant ~= "connected" then
      south:pause()
      fill_the_link(north, south)
    end
    local db <close> = north:connect { dbname = workload.database }
    charlie(db, 1)
    shop:wait_orders(arg.orders, PATIENCE)
    shop:stop()
    if arg.plant ~= "connected" then
      d:check("Charlie Davis never left the primary", sent(north, south) < db:value "SELECT pg_current_wal_flush_lsn()")
    else
      north:wait_replayed(south)
    end
    d:say "COMMIT: Charlie Davis is a customer, acknowledged. So are the orders since."
    positions(d, north, south)
  end)

  d:step("the primary is lost; the standby is promoted", function()
    north:kill()
    if arg.plant ~= "connected" then
      south:resume()
    end
    d:measure("failover_seconds", south.promote, south)
    d:say("%s is open for business, on timeline %d. No error anywhere.", south.name, south:timeline())
    local lost, diff = missing(south, shop)
    d:record { async_lost = lost }
    d:check("Charlie Davis, acknowledged, is missing", not has_charlie(south, 1))
    d:check("the ledger names acknowledged orders that are lost", lost > 0)
    d:say("%s.", verify.describe(diff) or "Nothing is lost")
    d:say "The primary's word was good for the primary. Availability was chosen; this is its price."
  end)
  return shop
end

local function rewind(d, north, south)
  d:step("way out, afterwards: read what only the old primary has, then pg_rewind it", function()
    -- It has not been told that it is not the primary any more: alone, nobody else may reach it.
    north:start()
    local only = verify.same_rows(north, south, CUSTOMERS, { key = "customerid" }).missing
    north:stop()
    local db <close> = south:connect { dbname = workload.database }
    for _, row in ipairs(only) do
      db:exec(
        "INSERT INTO customers (firstName, lastName, email) VALUES ($1, $2, $3)",
        row.firstname,
        row.lastname,
        row.email
      )
    end
    d:record { salvaged = #only }
    d:check("Charlie Davis was salvaged from the old primary", has_charlie(south, 1))
    local done = d:measure("rewind_seconds", north.rewind_from, north, south, { archive = true })
    d:record { rewind_bytes = done.copied, rewind_of_bytes = done.total }
    d:say(
      "They parted at %s. pg_rewind copied %s; a new base backup would copy %s.",
      done.diverged_at,
      report.bytes(done.copied),
      report.bytes(done.total)
    )
    south:wait_replayed(north)
    local same = true
    local theirs = verify.fingerprint(north)
    for name, found in pairs(verify.fingerprint(south)) do
      same = same and theirs[name] ~= nil and theirs[name].hash == found.hash
    end
    d:check("the old primary follows, and every table is the same on both", same)
    d:say "What only it had is gone from it now: a rewind is a way back into line, not a way to keep data."
  end)
end

local function drain(d, arg, south, north)
  local shop <close> = start_shop(south, 2, arg)
  local archived_to, written_to

  d:step("the same again: cut off, acknowledged, lost", function()
    shop:wait_orders(10, PATIENCE)
    south:wait_replayed(north)
    north:pause()
    fill_the_link(south, north)
    local db <close> = south:connect { dbname = workload.database }
    charlie(db, 2)
    shop:wait_orders(arg.orders, PATIENCE)
    archived_to = south:value "SELECT pg_current_wal_flush_lsn()"
    south:flush_archive()
    d:say "archive_timeout strikes: what was written so far is in the archive. The shop goes on for a moment."
    shop:wait_orders(arg.orders // 4, PATIENCE)
    shop:stop()
    written_to = south:value "SELECT pg_current_wal_flush_lsn()"
    south:kill()
    north:resume()
    local lost = missing(north, shop)
    d:record { undrained_lost = lost }
    d:check("promoted now, it would lose Charlie Davis", not has_charlie(north, 2))
    d:say("Promoted now, %s would lose %d acknowledged orders. So it is not promoted yet.", north.name, lost)
  end)

  d:step("way out, before promoting: drain the archive, then the dead primary's disk", function()
    if arg.plant ~= "skip-drain" then
      local function reaches(goal, what)
        eventually(function()
          return north:lsn() >= goal
        end, { timeout = "5m", describe = what })
      end
      d:measure("drain_archive_seconds", function()
        north:restore_from(south)
        reaches(archived_to, "the archive replayed")
      end)
      local lost = missing(north, shop)
      d:record { archive_lost = lost }
      d:check("from the archive Charlie Davis is back", has_charlie(north, 2))
      d:say("The archive brings all but %d orders: those of the segment that was never finished.", lost)
      d:measure("drain_disk_seconds", function()
        local segments = north:take_wal_of(south)
        reaches(written_to, "the last segment replayed")
        d:say("%d segments were still on the dead primary's disk.", #segments)
      end)
    end
    north:promote()
    local lost, diff = missing(north, shop)
    d:record { drained_lost = lost }
    d:check("drained, the failover loses nothing that was acknowledged", lost == 0, verify.describe(diff))
    d:check("Charlie Davis is there", has_charlie(north, 2))
    d:say "The price is the time it takes, with the shop closed; and the disk must be readable. An archive is"
    d:say "there also when the machine is not, up to the last finished segment: archive_timeout is that loss, in seconds."
  end)

  d:step("the old primary comes back as a standby", function()
    local done = south:rewind_from(north, { archive = true })
    north:wait_replayed(south)
    d:say("pg_rewind copied %s of %s.", report.bytes(done.copied), report.bytes(done.total))
  end)
end

-- Seconds a commit takes, the middle one of some.
local function commit_time(primary)
  local db <close> = primary:connect { dbname = workload.database }
  local took = {}
  for i = 1, 21 do
    local started = timer.now()
    db:exec "INSERT INTO imports VALUES (0, 'timed')"
    took[i] = timer.now() - started
  end
  table.sort(took)
  return took[11]
end

local function synchronous(d, arg, north, south)
  d:step("way out, beforehand: synchronous replication", function()
    local alone = commit_time(north)
    if arg.plant ~= "asynchronous" then
      north:synchronize(south)
    end
    local waiting = commit_time(north)
    d:record { async_commit_seconds = alone, sync_commit_seconds = waiting }
    d:say("A commit took %.2f ms, and takes %.2f ms when it waits for %s.", alone * 1000, waiting * 1000, south.name)
  end)

  local shop <close> = start_shop(north, 3, arg)
  d:step("the standby is cut off again: COMMIT blocks", function()
    shop:wait_orders(arg.orders, PATIENCE)
    south:pause()
    local db <close> = north:connect { dbname = workload.database }
    local started = timer.now()
    local answered, e = pcall(task.with_timeout, DEADLINE, charlie, db, 3)
    d:record { sync_blocked_seconds = timer.now() - started }
    d:check(
      "the commit of Charlie Davis gets no answer within " .. DEADLINE,
      not answered and e.kind == "timeout",
      answered and "it was acknowledged" or e.message
    )
    d:say "Nobody was promised anything. The shop stands still as well: consistency was chosen; this is its price."
    if has_charlie(north, 3) then
      d:say "And yet the row is on the primary. A cancelled wait ends with a warning and COMMIT, not with ROLLBACK: the"
      d:say "outcome is open until somebody looks. Retry by key, never blindly."
    end
    shop:abandon()
  end)

  d:step("the primary is lost; the standby is promoted", function()
    north:kill()
    south:resume()
    south:promote()
    local lost, diff = missing(south, shop)
    local open = #shop:ledger():list "unknown"
    d:record { sync_lost = lost, sync_open = open }
    d:check("not one acknowledged order is lost", lost == 0, verify.describe(diff))
    d:say("%d orders of the ledger were never answered: they may be there or not, and either is right.", open)
    d:say("Charlie Davis, never acknowledged, is %s.", has_charlie(south, 3) and "there" or "not there")
  end)
end

return drill "replication_lag" {
  summary = "An acknowledged row is lost in a failover to a lagging standby; and the ways not to lose it.",
  tags = { "replication", "exercise-2.1" },
  args = {
    orders = { 40, "orders taken while the standby is cut off", min = 1 },
    clients = { 4, "concurrent writers", min = 1 },
    scale = { 0, "size of the shop: 1 is about 4 000 rows", min = 0 },
    version = { 0, "PostgreSQL major version; 0 is the newest installed", min = 0 },
    plant = {
      "none",
      "a defect to plant, which the drill must catch: none, connected (no lag), skip-drain, asynchronous",
      choices = DEFECTS,
    },
  },
  budget = "15m",
  expect = { "async_lost > 0", "drained_lost == 0", "sync_lost == 0", "sync_blocked_seconds >= 2s" },

  run = function(d, arg)
    lab.needs_own "it loses a primary for good, twice"
    local north, south
    d:step("north is the primary, south its standby", function()
      north, south = start_pair(arg)
    end)
    lose_acknowledged(d, arg, north, south)
    rewind(d, north, south)
    drain(d, arg, south, north)
    synchronous(d, arg, north, south)
    d:table("What each way costs", { "way", "acknowledged orders lost", "price" }, {
      { "fail over at once", d:metric "async_lost", "none, until somebody asks for Charlie" },
      {
        "drain first",
        d:metric "drained_lost",
        report.seconds((d:metric "drain_archive_seconds" or 0) + (d:metric "drain_disk_seconds" or 0)) .. " closed",
      },
      { "synchronous", d:metric "sync_lost", "no orders while the standby is away" },
    })
  end,
}
