-- Lag of a pair, rewinding, draining, synchronous replication.

local support = require "support"

-- Servers and engines may be slow on a machine that does other things.
local function it(name, fn)
  test.it(name, fn, { timeout = "3m" })
end

local primary = support.once(function()
  local pg = support.primary { name = "main" }
  pg:admin():exec "CREATE TABLE log (n int, text text)"
  return pg
end)

local standby = support.once(function()
  return lab.standby(primary(), { name = "follower", archive = true })
end)

local function commit(pg, n)
  for i = 1, n do
    pg:admin():exec("INSERT INTO log VALUES ($1, repeat('x', 500))", i)
  end
end

test.describe("replication.lag", function()
  it("is nothing when everything is replayed, however long ago", function()
    standby()
    commit(primary(), 3)
    primary():wait_replayed(standby())
    local lag = replication.lag(primary():admin(), standby():admin())
    test.equal({ lag.bytes.sent, lag.bytes.write, lag.bytes.flush, lag.bytes.replay }, { 0, 0, 0, 0 })
    test.equal({ lag.transactions, lag.seconds.data, lag.name, lag.connected }, { 0, 0, "follower", true })
    test.equal(lag.state, "streaming")
  end)

  it("counts the transactions that are not visible", function()
    standby():admin():exec "SELECT pg_wal_replay_pause()"
    local _ <close> = defer(function()
      standby():admin():exec "SELECT pg_wal_replay_resume()"
    end)
    commit(primary(), 7)
    local lag = eventually(function()
      local lag = replication.lag(primary():admin(), standby():admin())
      return lag.bytes.flush == 0 and lag
    end)
    test.equal(lag.transactions, 7)
    test.ok(lag.bytes.replay > 7 * 500)
    test.ok(lag.seconds.data > 0)
    test.ok(replication.within(lag, replication.limit "7 transactions"))
    test.ok(not replication.within(lag, replication.limit "6 transactions"))
    test.ok(not replication.within(lag, replication.limit "1kB"))
    test.ok(replication.within(lag, replication.limit "1h"))
  end)

  it("without the standby is what the primary knows, and exceeds what is not known", function()
    local lag = replication.lag(primary():admin())
    test.ok(lag.connected and lag.bytes.flush ~= nil and lag.transactions == nil)
    test.ok(not replication.within(lag, replication.limit "1000 transactions"))
  end)

  it("refuses a pair that is none", function()
    local function refused(a, b, options)
      test.raises(function()
        replication.lag(a, b, options)
      end, { kind = "state" })
    end
    refused(primary():admin(), primary():admin())
    refused(primary():admin(), nil, { name = "nobody" })
    local other <close> = lab.postgres { name = "other", archive = false }
    local its <close> = lab.standby(other, { name = "its" })
    refused(primary():admin(), its:admin())
    refused(other:admin(), standby():admin())
  end)

  it("wants to know which of several", function()
    local second <close> = lab.standby(primary(), { name = "second" })
    test.raises(function()
      replication.lag(primary():admin())
    end, { kind = "state", match = "follower, second" })
    test.equal(replication.lag(primary():admin(), nil, { name = "second" }).name, "second")
    test.equal(replication.lag(primary():admin(), second:admin()).name, "second")
    test.equal(replication.lag(primary():admin(), standby():admin()).name, "follower")
  end)

  it("limits say what they are", function()
    test.equal(replication.limit("16MB").limit, 16777216)
    test.equal(replication.limit("1.5s").kind, "seconds")
    test.equal(replication.limit("1 transaction").limit, 1)
    for _, wrong in ipairs { "16", "", "much", "10 bananas", "-3s" } do
      test.raises(function()
        replication.limit(wrong)
      end, { kind = "arg" })
    end
  end)
end)

test.describe("the lag command", function()
  -- The program itself, from outside, with connection strings.
  local function run(...)
    local command = { support.program(), "lag", ... }
    command.check = false
    return sh.run(command)
  end

  local function url(node)
    local at = node:endpoint()
    return ("host=%s port=%d user=postgres dbname=postgres passfile=%s/pgpass"):format(
      at.host,
      at.port,
      lab.info().folder
    )
  end

  it("measures any pair, once or again, and ends with 10 above the limit", function()
    commit(primary(), 1)
    primary():wait_replayed(standby())
    local pair = { "--primary", url(primary()), "--standby", url(standby()) }
    local function ask(...)
      local words = table.move({ ... }, 1, select("#", ...), #pair + 1, table.move(pair, 1, #pair, 1, {}))
      return run(table.unpack(words))
    end
    local once = ask("--max", "0 transactions")
    test.equal(once.code, 0, once.stdout .. once.stderr)
    test.ok(once.stdout:find("0 transactions are missing", 1, true), once.stdout)
    local twice = ask("--watch", "--every", "10ms", "--times", "2", "--max", "1GB")
    test.equal(twice.code, 0)
    test.equal(select(2, twice.stdout:gsub("» lag at", "")), 2)
    standby():admin():exec "SELECT pg_wal_replay_pause()"
    commit(primary(), 2)
    local above = ask("--watch", "--every", "10ms", "--max", "1 transaction")
    standby():admin():exec "SELECT pg_wal_replay_resume()"
    test.equal(above.code, 10, above.stdout .. above.stderr)
    test.equal(run("--standby", url(standby())).code, 2)
  end)
end)

test.describe("synchronous replication", function()
  it("a cancelled wait is not an acknowledgement", function()
    local pg <close> = lab.postgres { name = "sync", archive = false }
    workload.init(pg, { scale = 0 })
    local follower <close> = lab.standby(pg, { name = "synchronous", sync = true })
    local shop <close> = workload.start(pg, { clients = 1, rate = 0, first = 5 })
    shop:wait_orders(3)
    test.ok(shop:ledger().entries[1].operation > 5e9, "writers are numbered from 5 on")
    follower:pause()
    -- What statement_timeout, an operator or a proxy would do.
    local cancelled = eventually(function()
      return pg:value [[SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity
        WHERE wait_event = 'SyncRep' AND application_name LIKE 'writer%']] > 0
    end)
    test.ok(cancelled)
    -- An operation without an answer yet is unknown, too.
    local answered = eventually(function()
      local unknown = shop:ledger():list("unknown")[1]
      return unknown and unknown.error
    end)
    test.equal(answered, "01000")
    shop:abandon()
    follower:resume()
    pg:wait_replayed(follower)
    local diff = verify.ledger(follower, shop:ledger())
    test.equal(verify.describe(diff), nil)
    test.equal(#diff.uncertain, #shop:ledger():list "unknown")
  end)
end)

test.describe("after a failover", function()
  it("what was archived and what is on the dead disk is replayed, and the old primary is rewound", function()
    local old, new = primary(), standby()
    old:wait_replayed(new)
    new:kill()
    commit(old, 2)
    local rows = old:value "SELECT count(*) FROM log"
    local archived = old:value "SELECT pg_current_wal_flush_lsn()"
    old:flush_archive()
    commit(old, 1)
    local written = old:value "SELECT pg_current_wal_flush_lsn()"
    old:kill()
    new:start()
    new:restore_from(old)
    eventually(function()
      return new:lsn() >= archived
    end)
    test.equal(new:value "SELECT count(*) FROM log", rows, "from the archive")
    test.raises(function()
      new:take_wal_of(new)
    end, { kind = "state", match = "only copied from its disk when it is dead" })
    test.ok(#new:take_wal_of(old) >= 1)
    eventually(function()
      return new:lsn() >= written
    end)
    new:promote()
    test.equal(new:value "SELECT count(*) FROM log", rows + 1, "from the disk")
    commit(new, 4)
    new:flush_archive()
    test.ok(fs.exists(("%s/%08X.history"):format(new.archive, new:timeline())), "the new timeline is archived")
    local done = old:rewind_from(new)
    test.ok(done.needed and done.copied > 0 and done.copied <= done.total and done.diverged_at ~= nil)
    commit(new, 1)
    new:wait_replayed(old)
    test.equal(old:value "SELECT count(*) FROM log", rows + 6)
    test.equal(old:value "SELECT pg_is_in_recovery()", true)
  end)

  it("a server that is not stopped is not rewound", function()
    test.raises(function()
      standby():rewind_from(primary())
    end, { kind = "postgres" })
  end)
end)
