-- Every kind of fault on real servers: its effect is seen, it is healed, the probes hold.

local made

local function cluster()
  if made then
    return made
  end
  made = chaos.cluster {
    clock = sh.run({ "sh", "-c", "ls /usr/lib*/*/faketime/libfaketime.so.1", check = false }).code == 0,
  }
  made.primary:admin():exec "CREATE TABLE seen (n int)"
  -- A few segments to damage.
  for _ = 1, 3 do
    made.primary:admin():exec "SELECT pg_logical_emit_message(true, 'test', repeat('x', 1000))"
    made.primary:flush_archive()
  end
  return made
end

-- Injects, looks, heals; every probe that could be made must hold.
local seen = {}
local function with(fault, look)
  local undo <close> = chaos.inject(cluster(), fault)
  test.equal(#chaos.active(), 1)
  local extra = look and look(undo)
  local result = undo:heal()
  test.equal(#chaos.active(), 0)
  -- A receiver is looked at after its own faults only.
  test.equal(#result.checks, fault.target == "receiver" and 6 or 4)
  for _, check in ipairs(result.checks) do
    test.equal(check.ok, true, ("%s after %s: %s"):format(check.name, fault.kind, check.detail))
  end
  test.equal(undo:heal(), result, "healing twice is fine")
  seen[fault.kind] = true
  return result, extra
end

local function hangs(fn)
  return test.raises(function()
    task.with_timeout("400ms", fn)
  end, { kind = "timeout" })
end

local function postmaster(node)
  return tonumber(node:exec({ "head", "-n", "1", node.data .. "/postmaster.pid" }).stdout)
end

-- The states of a postmaster and its children as ps shows them: { pid = state }.
local function states(pid)
  local list = sh.run { "ps", "-o", "pid=,state=", "--pid", pid, "--ppid", pid, check = false }
  local found = {}
  for one, state in list.stdout:gmatch "(%d+)%s+(%a)" do
    found[one] = state
  end
  return found
end

-- Ended; whether its parent has taken note is another matter.
local function gone(pid)
  local state = sh.run({ "ps", "-o", "state=", "--pid", pid, check = false }).stdout
  return state == "" or state:sub(1, 1) == "Z"
end

-- Patience for a machine that is busy with something else.
local function it(name, fn)
  test.it(name, fn, { timeout = "3m" })
end

local function burn_wal()
  cluster().primary:admin():exec "SELECT pg_logical_emit_message(true, 'test', 'x')"
  return cluster().primary:value "SELECT pg_walfile_name(pg_switch_wal())"
end

test.describe("a fault of processes", function()
  for _, target in ipairs { "primary", "standby" } do
    it("pause: every process stands still, " .. target, function()
      local node = cluster()[target]
      with(chaos.pause(target, "1s"), function()
        test.equal(node:status(), "paused")
        local all = states(postmaster(node))
        test.ok(next(all))
        for pid, state in pairs(all) do
          test.equal(state, "T", "process " .. pid)
        end
        hangs(function()
          node:value "SELECT 1"
        end)
      end)
      for pid, state in pairs(states(postmaster(node))) do
        test.ok(state ~= "T", "process " .. pid)
      end
    end)

    it("kill_tree: nothing of the server is left, " .. target, function()
      local node = cluster()[target]
      local before = states(postmaster(node))
      with(chaos.kill_tree(target), function()
        test.equal(node:status(), "crashed")
        for pid in pairs(before) do
          test.ok(gone(pid), "process " .. pid)
        end
      end)
      test.ok(node:logs():find("was interrupted", 1, true), "it recovered")
    end)

    it("kill_postmaster: the children find out by themselves, " .. target, function()
      local node = cluster()[target]
      local before = postmaster(node)
      with(chaos.kill_postmaster(target), function()
        test.ok(gone(before), "process " .. before)
      end)
      test.ok(postmaster(node) ~= before)
    end)

    it("kill_backend: the server takes everybody down and recovers, " .. target, function()
      local node = cluster()[target]
      local before, db = postmaster(node), node:connect(node:endpoint())
      with(chaos.kill_backend(target), function()
        test.raises(function()
          db:value "SELECT 1"
        end, { kind = "sql" })
      end)
      test.equal(postmaster(node), before)
      test.ok(node:logs():find("terminating any other active server processes", 1, true))
    end)

    it("immediate: stopped without a checkpoint, " .. target, function()
      local node = cluster()[target]
      with(chaos.immediate(target), function()
        test.ok(node:status() == "crashed" or node:status() == "stopped", node:status())
        test.ok(node:logs():find("received immediate shutdown request", 1, true))
      end)
    end)

    it("restart: in order, " .. target, function()
      local before = postmaster(cluster()[target])
      with(chaos.restart(target))
      test.ok(postmaster(cluster()[target]) ~= before)
    end)
  end

  it("crash_loop: killed again and again", function()
    local result = with(chaos.crash_loop("primary", { times = 2, every = "50ms" }), function(undo)
      eventually(function()
        return undo.crashes == 2
      end)
    end)
    test.equal(result.fired, 2)
  end)

  it("kill_capturer, restart, pause: a receiver dies, stops, freezes, and receives again", function()
    local c = cluster()
    c.receiver = lab.receiver(c.primary)
    with(chaos.kill_capturer(), function()
      test.equal(c.receiver:status(), "crashed")
      burn_wal()
    end)
    with(chaos.restart "receiver")
    with(chaos.pause "receiver", function()
      test.equal(c.receiver:status(), "paused")
      burn_wal()
    end)
    c.receiver:remove()
    c.receiver = nil
    c.primary:admin():exec "SELECT pg_drop_replication_slot('receiver')"
  end)
end)

test.describe("a fault of the network", function()
  it("isolate: nobody reaches the primary, and everybody does again", function()
    local pg, standby = cluster().primary, cluster().standby
    local db <close> = pg:connect()
    local _, waiting = with(chaos.isolate "primary", function()
      hangs(function()
        pg:connect()
      end)
      pg:admin():exec "INSERT INTO seen VALUES (1)"
      local goal, at = pg:lsn(), standby:lsn()
      test.ok(at < goal, "the standby got it")
      return task.spawn(function()
        return db:value "SELECT 7"
      end)
    end)
    test.equal(waiting:join(), 7, "the connection goes on where it was")
  end)

  it("isolate: the standby is cut off, clients are not", function()
    local pg, standby = cluster().primary, cluster().standby
    with(chaos.isolate "standby", function()
      local db <close> = pg:connect()
      db:exec "INSERT INTO seen VALUES (2)"
      test.ok(standby:lsn() < pg:lsn())
    end)
  end)

  it("cut_pair: one way at a time", function()
    local pg, standby = cluster().primary, cluster().standby
    with(chaos.cut_pair "standby", function()
      local db <close> = pg:connect()
      db:exec "INSERT INTO seen VALUES (3)"
      test.ok(standby:lsn() < pg:lsn())
    end)
    with(chaos.cut_pair "client", function()
      hangs(function()
        pg:connect()
      end)
      pg:wait_replayed(standby)
    end)
  end)

  it("cut_oneway: done, and nobody told", function()
    local pg = cluster().primary
    local db <close> = pg:connect()
    local _, insert = with(chaos.cut_oneway("client", { way = "down" }), function()
      local insert = task.spawn(function()
        return db:exec "INSERT INTO seen VALUES (4)"
      end)
      eventually(function()
        return pg:value "SELECT count(*) = 1 FROM seen WHERE n = 4"
      end)
      test.equal(insert:done(), false)
      return insert
    end)
    insert:join()
    local _, later = with(chaos.cut_oneway("client", { way = "up" }), function()
      local later = task.spawn(function()
        return db:exec "INSERT INTO seen VALUES (5)"
      end)
      timer.sleep "200ms"
      test.equal(pg:value "SELECT count(*) FROM seen WHERE n = 5", 0)
      return later
    end)
    later:join()
  end)

  it("latency and rate: slow, and quick again", function()
    local db <close> = cluster().primary:connect()
    local function took(statement)
      local started = timer.now()
      db:value(statement)
      return timer.now() - started
    end
    took "SELECT 1"
    with(chaos.latency("client", { delay = "100ms" }), function()
      local slow = took "SELECT 1"
      test.ok(slow >= 0.2, slow)
    end)
    with(chaos.rate("client", { bytes = "64kB" }), function()
      local slow = took "SELECT repeat('x', 64000)"
      test.ok(slow >= 0.9, slow)
    end)
  end)

  it("reset: connections are torn down, new ones too", function()
    local pg = cluster().primary
    local db <close> = pg:connect()
    with(chaos.reset "client", function()
      test.raises(function()
        db:value "SELECT 1"
      end, { kind = "sql" })
      test.raises(function()
        pg:connect()
      end, { kind = "sql" })
      test.ok(pg:traffic("client").torn >= 2)
    end)
    local again <close> = pg:connect()
    test.equal(again:value "SELECT 1", 1)
    with(chaos.reset "standby")
  end)

  it("ack_loss: committed, and the client does not know", function()
    local pg = cluster().primary
    local result = with(chaos.ack_loss("client", { every = 2, most = 1 }), function()
      local db = pg:connect()
      db:tx(function()
        db:exec "INSERT INTO seen VALUES (10)"
      end)
      test.raises(function()
        db:tx(function()
          db:exec "INSERT INTO seen VALUES (11)"
        end)
      end, { kind = "sql" })
      local other <close> = pg:connect()
      other:tx(function()
        other:exec "INSERT INTO seen VALUES (12)"
      end)
    end)
    test.equal(result.fired, 1)
    test.equal(pg:value "SELECT count(*) FROM seen WHERE n IN (10, 11, 12)", 3)
  end)
end)

test.describe("a fault of archiving", function()
  local function path(name)
    return cluster().primary.archive .. "/" .. name
  end

  local function failures()
    return cluster().primary:value "SELECT failed_count FROM pg_stat_archiver"
  end

  -- Switches WAL and waits until the fault has struck.
  local function struck(look)
    return function(undo)
      local before, name = failures(), burn_wal()
      if undo.fault.kind ~= "archive_hang" and undo.fault.kind ~= "archive_lie" then
        eventually(function()
          return failures() > before
        end)
      end
      if look then
        look(name)
      end
      return name
    end
  end

  local function whole(name)
    test.equal(tonumber(sh.run({ "stat", "--format=%s", path(name) }).stdout), 1024 * 1024)
  end

  it("archive_fail: the segment waits", function()
    local result, name = with(
      chaos.archive_fail { count = 100 },
      struck(function(name)
        test.equal(fs.exists(path(name)), false)
      end)
    )
    test.ok(result.fired >= 1)
    whole(name)
  end)

  it("archive_fail: the n-th push, no other", function()
    local result = with(chaos.archive_fail { nth = 2 }, function()
      local before = failures()
      local first = burn_wal()
      cluster().primary:wait_archived(first)
      test.equal(failures(), before)
      burn_wal()
      eventually(function()
        return failures() == before + 1
      end)
    end)
    test.equal(result.fired, 1)
  end)

  it("archive_full: no space, until there is", function()
    local result, name = with(chaos.archive_full { bytes = "1536kB" }, function()
      local first = burn_wal()
      cluster().primary:wait_archived(first)
      local before, name = failures(), burn_wal()
      eventually(function()
        return failures() > before
      end)
      test.equal(fs.exists(path(name)), false)
      test.ok(cluster().primary:logs():find("No space left on device", 1, true))
      return name
    end)
    test.ok(result.fired >= 1)
    whole(name)
  end)

  it("archive_hang: nothing goes on", function()
    local result, name = with(
      chaos.archive_hang(),
      struck(function(name)
        local log = cluster().primary.archive .. "/.rpitr-fault.log"
        eventually(function()
          return fs.exists(log) and #fs.read(log) > 0
        end)
        test.equal(fs.exists(path(name)), false)
      end)
    )
    test.equal(result.fired, 1)
    eventually(function()
      return fs.exists(path(name))
    end)
    whole(name)
  end)

  it("archive_lie: said to be there, and is not; healed it is", function()
    local result, name = with(
      chaos.archive_lie(),
      struck(function(name)
        eventually(function()
          return cluster().primary:value("SELECT last_archived_wal = $1 FROM pg_stat_archiver", name)
        end)
        test.equal(fs.exists(path(name)), false)
      end)
    )
    test.equal(result.fired, 1)
    whole(name)
  end)

  it("archive_partial: stuck behind the start of a segment, until that is removed", function()
    local result, name = with(
      chaos.archive_partial { bytes = "100kB" },
      struck(function(name)
        test.equal(tonumber(sh.run({ "stat", "--format=%s", path(name) }).stdout), 102400)
      end)
    )
    test.equal(result.fired, 1)
    whole(name)
  end)

  it("leaves nothing in the archive but what belongs there", function()
    for _, name in ipairs(fs.list(cluster().primary.archive)) do
      test.ok(name == ".rpitr-archive.json" or name:match "^%x+$" or name:match "%.backup$", name)
    end
  end)
end)

test.describe("a fault of a segment at rest", function()
  local function names()
    return table.concat(fs.list(cluster().primary.archive), " ")
  end

  for kind, check in pairs {
    segment_missing = function(path)
      test.equal(fs.exists(path), false)
    end,
    segment_truncated = function(path, before)
      test.equal(#fs.read(path), #before // 2)
    end,
    segment_zeroed = function(path, before)
      local now = fs.read(path)
      test.equal({ #now, now:sub(1, #now // 2) == before:sub(1, #now // 2) }, { #before, true })
      test.equal(now:sub(#now // 2 + 1), ("\0"):rep(#now // 2))
    end,
    segment_bitflip = function(path, before)
      local now, differ = fs.read(path), 0
      for i = 1, #before do
        differ = differ + (now:byte(i) ~= before:byte(i) and 1 or 0)
      end
      test.equal({ #now, differ }, { #before, 1 })
    end,
  } do
    it(kind .. ": damaged, and restored to the byte", function()
      local pg = cluster().primary
      local list = names()
      local segment = list:match "%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x"
      local path = pg.archive .. "/" .. segment
      local before = fs.read(path)
      with(chaos[kind] { pick = 0 }, function(undo)
        test.equal(undo.fault.segment, segment)
        check(path, before)
      end)
      test.ok(fs.read(path) == before)
      test.equal({ names(), fs.exists(pg.archive .. ".held") }, { list, false })
    end)
  end
end)

test.describe("a fault of the clock", function()
  it("clock_step: the server lives in the past, then in the present", function()
    local pg = cluster().primary
    if not pg.clock then
      test.skip "libfaketime is not installed (apt install faketime)"
    end
    local function ahead()
      return pg:value "SELECT extract(epoch FROM clock_timestamp())::float8" - time.now():unix()
    end
    test.near(ahead(), 0, 1)
    with(chaos.clock_step("primary", { by = -30 }), function()
      eventually(function()
        return math.abs(ahead() + 30) < 2
      end)
    end)
    eventually(function()
      return math.abs(ahead()) < 1
    end)
  end)
end)

test.describe("faults together", function()
  it("on the same thing are refused, before anything happens", function()
    local c = cluster()
    local undo <close> = chaos.inject(c, chaos.pause "primary")
    test.raises(function()
      chaos.inject(c, chaos.kill_tree "primary")
    end, { kind = "state", code = "illegal", match = "process:primary" })
    test.raises(function()
      chaos.inject(c, chaos.archive_fail())
    end, { code = "illegal" })
    test.equal(c.primary:status(), "paused")
    -- Another server is another thing.
    local other <close> = chaos.inject(c, chaos.pause "standby")
    local result = undo:heal()
    local by = {}
    for _, check in ipairs(result.checks) do
      by[check.name] = check
    end
    test.equal({ by.writable.ok, by.streaming.ok }, { true, nil })
    test.ok(by.streaming.detail:find("pause of standby", 1, true), by.streaming.detail)
    test.equal(#other:heal().checks, 4)
  end)

  it("are legal or not by a rule that schedules can ask", function()
    local pause = chaos.pause("primary", "5..20s")
    test.equal(pause, { kind = "pause", target = "primary", duration = { 5, 20 } })
    test.equal(json.decode(json.encode(pause)), pause)
    local legal = chaos.legal
    test.equal({ legal(pause, {}) }, { true })
    test.equal((legal(chaos.kill_tree "primary", { pause })), false)
    test.equal((legal(chaos.kill_tree "standby", { pause })), true)
    test.equal((legal(chaos.latency "client", { chaos.isolate "primary" })), false)
    test.equal((legal(chaos.latency "client", { chaos.latency "standby" })), true)
    test.equal((legal(chaos.restart "primary", { chaos.archive_hang() })), false)
    test.equal((legal(chaos.segment_zeroed(), { chaos.segment_missing() })), false)
    test.equal((legal { kind = "no such" }), false)
  end)

  it("that cannot be are refused with a reason", function()
    test.raises(function()
      chaos.pause "prinary"
    end, { kind = "arg", hint = "primary" })
    test.raises(function()
      chaos.pause("primary", { duraton = "1s" })
    end, { kind = "arg", hint = "duration" })
    test.raises(function()
      chaos.pause("primary", "20..5s")
    end, { kind = "arg" })
    test.raises(function()
      chaos.inject({ primary = cluster().primary }, chaos.pause "standby")
    end, { kind = "arg", code = "no_target" })
    test.raises(function()
      chaos.inject(cluster(), { kind = "plague", target = "primary" })
    end, { kind = "arg" })
    local plain = lab.postgres { name = "plain", archive = false }
    test.raises(function()
      chaos.inject({ primary = plain }, chaos.latency "client")
    end, { kind = "state", code = "not_proxied", hint = "proxied" })
    plain:stop()
    test.equal(#chaos.active(), 0)
  end)

  it("whose healing does not hold say so", function()
    local c = cluster()
    local undo = chaos.inject(c, chaos.restart "standby")
    -- Somebody leads the standby astray meanwhile.
    local link = c.standby.settings.primary_conninfo
    c.standby:write_conf { primary_conninfo = "host=127.0.0.1 port=1" }
    c.standby:restart()
    local failed = task.spawn(function()
      test.raises(function()
        undo:heal { patience = "2s" }
      end, { kind = "state", code = "heal_failed", match = "streaming" })
    end)
    failed:join()
    c.standby:write_conf { primary_conninfo = link }
    c.standby:restart()
    undo:heal()
    test.equal(#chaos.active(), 0)
  end)
end)

test.describe("the catalogue", function()
  it("was tried to its last kind", function()
    local kinds = require("rpitr.chaos.kinds").list
    for kind in pairs(kinds) do
      -- Killing rpitr takes another process to watch: tests/faults.rs.
      local excused = kind == "kill_orchestrator" or (kind == "clock_step" and not cluster().primary.clock)
      test.ok(seen[kind] or excused, kind .. " was never injected")
    end
  end)
end)
