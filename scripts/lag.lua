--- How far is the standby behind? In bytes, seconds and transactions, stage by stage.
--
-- A replication log is the write-ahead log, sent on: the same ordered list of changes that makes one
-- server survive a crash keeps another one in step with it. So lag is a distance in that list, and
-- it has four ends: what was sent, what the standby wrote, what it flushed to disk, what it replayed.
-- A failover keeps what was flushed. A query on the standby sees what was replayed.
--
-- "Seconds behind" is asked for most and misread most. `now() - pg_last_xact_replay_timestamp()` grows
-- on an idle primary, though nothing is missing, and compares the clocks of two machines. Here the age
-- is zero when everything is replayed, and both times are the primary's.
--
--   rpitr lag --primary URL --standby URL             once
--   rpitr lag --primary URL --standby URL --watch     again and again, until Ctrl-C or the limit
--   rpitr lag --primary URL --standby URL --max 16MB  exit 10 when it is more: for a monitor
--   rpitr lag                                         a lab of its own, with a standby that lags
--
-- The user needs pg_monitor. A managed service shows one of these numbers as a graph, a minute late and
-- usually the seconds; which stage is slow, it does not say.

local function bytes(value)
  return value and report.bytes(value) or "?"
end

local function seconds(value)
  return value and report.seconds(value) or "-"
end

local WHAT = {
  sent = "on its way",
  write = "received",
  flush = "on its disk: a failover keeps it",
  replay = "visible to its queries",
}

local function show(d, arg, lag)
  local rows = {}
  for i, stage in ipairs(replication.stages) do
    rows[i] = { stage, bytes(lag.bytes[stage]), seconds(lag.seconds[stage]), WHAT[stage] }
  end
  local title = ("%s, %s: behind by"):format(lag.name or "standby", lag.state or "not connected")
  d:table(title, { "stage", "bytes", "took", "what has got that far is" }, rows)
  if lag.silent then
    d:say("The standby itself %s; this is what the primary last heard of it.", lag.silent)
  else
    d:say("%d transactions are missing; its data is %s old.", lag.transactions, seconds(lag.seconds.data))
  end
  d:record { lag_bytes = lag.bytes.replay, lag_seconds = lag.seconds.data, lag_transactions = lag.transactions }
  if arg.max ~= "" then
    local held, why = replication.within(lag, replication.limit(arg.max))
    d:check("the lag is at most " .. arg.max, held, why)
  end
end

-- A given pair ---------------------------------------------------------------------------------------

-- A standby that is down or frozen must not stop the watch.
local function reach(d, url)
  if url == "" then
    return nil
  end
  local ok, connection = pcall(task.with_timeout, "5s", sql.connect, url)
  if ok then
    return connection
  end
  d:say("The standby cannot be reached: %s", connection.message)
end

local function measure(d, arg)
  local primary <close> = task.with_timeout("10s", sql.connect, arg.primary)
  local standby <close> = reach(d, arg.standby)
  show(d, arg, replication.lag(primary, standby, { name = arg.name ~= "" and arg.name or nil }))
end

local function measure_pair(d, arg)
  local times = arg.watch and arg.times or 1
  local n = 0
  repeat
    n = n + 1
    d:step("lag at " .. tostring(time.now()), measure, d, arg)
    local more = d:passing() and (times == 0 or n < times)
    if more then
      timer.sleep(arg.every)
    end
  until not more
end

-- A lab ----------------------------------------------------------------------------------------------

local function commit(db, n)
  for i = 1, n do
    db:exec("INSERT INTO events VALUES ($1, repeat('x', 2000))", i)
  end
end

local function show_lab(d, arg)
  local primary, standby

  d:step("a primary and a standby that keeps up", function()
    lab.consent "stop the standby's replay and freeze it, with a table of the drill's own"
    primary = lab.postgres { name = "primary", version = arg.version > 0 and arg.version or nil }
    primary:admin():exec "CREATE TABLE events (id int, payload text)"
    d:defer(function()
      primary:admin():exec "DROP TABLE events"
    end)
    standby = lab.standby(primary)
    commit(primary:admin(), 10)
    primary:wait_replayed(standby)
    local lag = replication.lag(primary:admin(), standby:admin())
    show(d, { max = "" }, lag)
    d:check("nothing is missing", lag.bytes.replay == 0 and lag.transactions == 0 and lag.seconds.data == 0)
  end)

  d:step("replay stands still: a long query on the standby, say", function()
    d:defer(function()
      standby:admin():exec "SELECT pg_wal_replay_resume()"
    end)
    standby:admin():exec "SELECT pg_wal_replay_pause()"
    commit(primary:admin(), arg.plant == "miscount" and arg.transactions - 1 or arg.transactions)
    local lag = eventually(function()
      local lag = replication.lag(primary:admin(), standby:admin())
      return lag.bytes.flush == 0 and lag
    end, { describe = "all WAL on the standby's disk" })
    show(d, arg, lag)
    d:check("what was committed is on the standby's disk, and not visible", lag.bytes.replay > 0)
    d:check(
      ("the %d transactions just committed are what is missing"):format(arg.transactions),
      lag.transactions == arg.transactions,
      ("%s are missing"):format(lag.transactions)
    )
    d:check("its data has an age", (lag.seconds.data or 0) > 0)
    d:say "A failover now loses nothing: it replays what it has on disk before it opens."
  end)

  d:step("the standby is frozen", function()
    standby:pause()
    commit(primary:admin(), arg.transactions)
    local lag = replication.lag(primary:admin(), standby:admin(), { timeout = "500ms" })
    show(d, arg, lag)
    d:check("what was committed since is not on its disk", lag.bytes.flush > 0)
    d:check("it is reported as silent", lag.silent ~= nil)
    d:say "Sent is not received: the network's buffers took it. A failover now may lose it."
  end)

  d:step("it wakes up, and catches up", function()
    standby:resume()
    standby:admin():exec "SELECT pg_wal_replay_resume()"
    primary:wait_replayed(standby)
    local lag = replication.lag(primary:admin(), standby:admin())
    show(d, { max = "" }, lag)
    d:check("nothing is missing again", lag.bytes.replay == 0 and lag.transactions == 0)
  end)
end

return drill "lag" {
  summary = "How far a standby is behind its primary: bytes, seconds, transactions, stage by stage.",
  tags = { "replication", "exercise-2.1" },
  args = {
    primary = { "", "connection string of the primary; without one, a lab with a lagging standby" },
    standby = { "", "connection string of the standby; without one, what the primary knows" },
    name = { "", "the standby's application_name or slot, when there are several" },
    max = {
      "",
      'the most it may be behind: "16MB", "30s", "100 transactions"; exit 10 above',
      check = function(text)
        return text == "" or replication.limit(text)
      end,
    },
    watch = { false, "measure again and again, until the limit is exceeded or Ctrl-C" },
    every = { "2s", "how often, with --watch" },
    times = { 0, "how many times, with --watch; 0 is for ever", min = 0 },
    transactions = { 25, "transactions the lab's standby falls behind", min = 1 },
    version = { 0, "PostgreSQL major version of the lab; 0 is the newest installed", min = 0 },
    plant = { "none", "a defect to plant, which the lab must catch: none, miscount", choices = { "none", "miscount" } },
  },

  run = function(d, arg)
    if arg.primary ~= "" then
      return measure_pair(d, arg)
    elseif arg.standby ~= "" or arg.watch then
      err.raise {
        kind = "arg",
        code = "usage",
        message = "--standby and --watch need --primary",
        hint = "rpitr help lag",
      }
    end
    show_lab(d, arg)
  end,
}
