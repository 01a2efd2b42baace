-- Labs and nodes on real servers, whatever they run on.

local support = require "support"

local primary = support.once(function()
  return support.primary { name = "main", conf = { log_connections = "on" } }
end)

local standby = support.once(function()
  return lab.standby(primary(), { name = "follower" })
end)

-- The addresses something listens on at a port of this machine.
local function listening(port)
  local out = sh.run({ "ss", "-ltnH", "sport = :" .. port }).stdout
  local addresses = {}
  for line in out:gmatch "[^\n]+" do
    addresses[#addresses + 1] = line:match "^%S+%s+%S+%s+%S+%s+(%S+)"
  end
  return addresses
end

test.describe("a primary", function()
  test.it("has checksums, SCRAM, an archive, and listens on loopback only", function()
    local pg = primary()
    test.equal(pg:setting "data_checksums", "on")
    test.equal(pg:setting "password_encryption", "scram-sha-256")
    test.equal(pg:setting "archive_mode", "on")
    test.equal(pg:value "SELECT count(*) FROM pg_hba_file_rules WHERE auth_method <> 'scram-sha-256'", 0)
    test.equal(listening(pg:endpoint().port), { "127.0.0.1:" .. pg:endpoint().port })
    if lab.info().runtime == "local" then
      test.equal(pg:setting "unix_socket_permissions", "0777")
      local socket = sh.run({ "stat", "--format=%a", pg:endpoint().host }).stdout
      test.equal(socket, "700\n", "the socket's folder")
    end
  end)

  test.it("lets nobody in without the password", function()
    local at = primary():endpoint()
    at.password = "wrong"
    test.raises(function()
      sql.connect(at)
    end, { kind = "sql", code = "28P01" })
    at.host, at.password = "127.0.0.1", "wrong"
    test.raises(function()
      sql.connect(at)
    end, { kind = "sql", code = "28P01" })
  end)

  test.it("its password is in no command line, configuration or log", function()
    standby()
    local secret = fs.read(lab.info().folder .. "/password"):gsub("%s", "")
    test.ok(#secret >= 32)
    test.equal(sh.run({ "stat", "--format=%a", lab.info().folder .. "/password" }).stdout, "600\n")
    test.equal(support.processes(secret), {})
    local found = standby():exec {
      "grep",
      "--recursive",
      "--files-with-matches",
      "--fixed-strings",
      "--text",
      secret,
      lab.info().folder,
      check = false,
    }
    local files = {}
    for path in found.stdout:gmatch "[^\n]+" do
      files[#files + 1] = path:match "[^/]+$"
    end
    table.sort(files)
    test.equal(files, { "password", "pgpass" })
  end)

  test.it("archives a segment as soon as it is full, under its name, once", function()
    local pg = primary()
    local name = pg:flush_archive()
    test.equal(tonumber(sh.run({ "stat", "--format=%s", pg.archive .. "/" .. name }).stdout), 1024 ^ 2 // 1 | 0)
    test.equal(pg:value "SELECT failed_count FROM pg_stat_archiver", 0)
  end)
end)

test.describe("a node", function()
  test.it("starts and stops in every mode, and says what it is doing", function()
    local pg = lab.postgres { name = "busy", archive = false }
    test.equal(pg:status(), "running")
    for _, mode in ipairs { "smart", "fast", "immediate" } do
      local port = pg:endpoint().port
      pg:stop(mode)
      test.equal(pg:status(), mode == "immediate" and pg:status() or "stopped", mode)
      test.equal(support.answers(pg), false)
      pg:start()
      test.equal({ pg:status(), pg:endpoint().port }, { "running", port })
    end
    pg:restart()
    test.equal(pg:value "SELECT 1", 1)
    pg:kill()
    test.equal(pg:status(), "crashed")
    pg:start()
    test.ok(pg:logs { grep = "automatic recovery in progress" } ~= "")
    test.raises(function()
      pg:start()
    end, { kind = "state", match = "busy" })
    test.raises(function()
      pg:stop "gently"
    end, { kind = "arg" })
    pg:stop()
    pg:stop()
    test.raises(function()
      pg:pause()
    end, { kind = "state", match = "stopped" })
  end)

  test.it("smart waits for its clients, and says so when they do not go", function()
    local pg = lab.postgres { name = "patient", archive = false }
    local db <close> = pg:connect()
    test.raises(function()
      pg:stop("smart", { timeout = "200ms" })
    end, { kind = "timeout", code = "stop_timeout", hint = "fast" })
    test.equal(db:value "SELECT 1", 1)
    db:close()
    eventually(function()
      return pg:status() == "stopped"
    end)
  end)

  test.it("paused answers nobody, resumed it goes on where it was", function()
    local pg = primary()
    local db <close> = pg:connect()
    pg:pause()
    test.equal(pg:status(), "paused")
    test.raises(function()
      task.with_timeout("200ms", function()
        return db:value "SELECT 1"
      end)
    end, { kind = "timeout" })
    pg:resume()
    test.equal(pg:status(), "running")
    local other <close> = pg:connect()
    test.equal(other:value "SELECT 2", 2)
  end)

  test.it("runs programs as the server's user and reports their failure", function()
    local pg = primary()
    local done = pg:exec { "psql", "--version" }
    test.ok(done.code == 0 and done.stdout:find("psql (PostgreSQL) " .. pg.major, 1, true), done.stdout)
    test.ok(pg:exec({ "id", "-un" }).stdout ~= "root\n")
    test.equal(pg:exec({ "cat", stdin = "in and out" }).stdout, "in and out")
    test.equal(pg:exec({ "sh", "-c", "exit 3", check = false }).code, 3)
    test.raises(function()
      pg:exec { "pg_controldata", "/nowhere" }
    end, { kind = "postgres", code = "pg_controldata", match = "main" })
    test.raises(function()
      pg:exec { "no-such-program" }
    end, { match = "no%-such%-program" })
    test.raises(function()
      pg:exec { "sleep", "60", timeout = "100ms" }
    end, { kind = "timeout", match = "sleep" })
  end)

  test.it("takes settings, now or at the next start", function()
    local pg = primary()
    pg:configure { work_mem = "5MB", log_checkpoints = false }
    test.equal({ pg:setting "work_mem", pg:setting "log_checkpoints" }, { "5MB", "off" })
    pg:write_conf { max_connections = 44, ["log_statement"] = "none" }
    pg:restart()
    test.equal({ pg:setting "max_connections", pg:setting "work_mem" }, { "44", "5MB" })
  end)

  test.it("has a log one can search", function()
    local pg = primary()
    pg:admin():exec "DO $$ BEGIN RAISE LOG 'a line to find'; END $$"
    local line = pg:logs { grep = "a line to find" }
    test.ok(line:find("LOG:  a line to find", 1, true), line)
    test.equal(pg:logs { grep = "never written" }, "")
  end)

  test.it("that does not come up shows the reason from its log", function()
    local pg = lab.postgres { name = "misled", archive = false }
    pg:stop()
    pg:write_conf { shared_preload_libraries = "no_such_library" }
    local e = test.raises(function()
      pg:start()
    end, { kind = "postgres", code = "start_failed", match = "no_such_library" })
    test.ok(e.message:find("misled", 1, true) and e.detail:find("FATAL", 1, true), tostring(e.detail))
    pg:write_conf { shared_preload_libraries = "", work_mem = "lots" }
    local broken = test.raises(function()
      pg:start()
    end, { kind = "postgres", match = "contains errors" })
    test.ok(broken.detail:find('invalid value for parameter "work_mem"', 1, true), broken.detail)
    pg:write_conf { work_mem = "4MB" }
    pg:start()
    pg:stop()
  end)

  test.it("whose port is taken says so, and whose name is, too", function()
    local pg = lab.postgres { name = "squeezed", archive = false }
    local port = pg:endpoint().port
    pg:stop()
    -- A container holds on to its port as long as it runs.
    pg:kill()
    local squatter = task.spawn(function()
      sh.run {
        "python3",
        "-c",
        ("import socket,time; s=socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(('127.0.0.1', %d)); s.listen(); time.sleep(60)"):format(
          port
        ),
        check = false,
      }
    end)
    eventually(function()
      return #listening(port) > 0
    end)
    test.equal(pg:status(), "stopped")
    test.raises(function()
      pg:start()
    end, { kind = "environment", code = "port_taken", match = tostring(port) })
    squatter:cancel()
    pcall(squatter.join, squatter)
    pg:start()
    pg:stop()
    test.raises(function()
      lab.postgres { name = "squeezed" }
    end, { kind = "arg", match = "squeezed" })
    test.raises(function()
      lab.postgres { name = "No Good" }
    end, { kind = "arg", hint = "lower%-case" })
    test.raises(function()
      lab.postgres { nmae = "x" }
    end, { kind = "arg", hint = "name" })
    test.raises(function()
      lab.postgres { name = "old", version = 9 }
    end, { kind = "environment", match = "9" })
  end)
end)

test.describe("a standby", function()
  test.it("streams with a slot of its own, and lag is measured", function()
    local pg, follower = primary(), standby()
    pg:wait_streaming(follower)
    test.equal(follower:status(), "standby")
    test.equal(pg:value "SELECT active FROM pg_replication_slots WHERE slot_name = 'follower'", true)
    pg:admin():exec "CREATE TABLE IF NOT EXISTS seen (n int)"
    pg:admin():exec "INSERT INTO seen VALUES (1)"
    pg:wait_replayed(follower)
    test.equal(follower:value "SELECT count(*) FROM seen", 1)
    test.raises(function()
      follower:admin():exec "INSERT INTO seen VALUES (2)"
    end, { code = "25006" })
    follower:pause()
    pg:admin():exec "INSERT INTO seen SELECT generate_series(1, 1000)"
    test.ok(pg:lag_of(follower).bytes > 1000)
    follower:resume()
    pg:wait_replayed(follower)
    test.equal(follower:setting "archive_mode", "off")
  end)

  test.it("cannot be checked by amcheck, and that is not a pass", function()
    local found, why = verify.amcheck(standby(), { dbname = "postgres" })
    test.equal(found, nil)
    test.ok(why:find("recovery", 1, true), why)
  end)

  test.it("synchronous holds a commit back until it has it", function()
    local pg = lab.postgres { name = "careful", archive = false }
    local follower = lab.standby(pg, { name = "witness-1", sync = true })
    test.equal(pg:value "SELECT sync_state FROM pg_stat_replication WHERE application_name = 'witness-1'", "sync")
    local db <close> = pg:connect()
    db:exec "CREATE TABLE t (n int)"
    follower:pause()
    local commit = task.spawn(function()
      db:exec "INSERT INTO t VALUES (1)"
    end)
    eventually(function()
      return pg:value "SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    end)
    test.equal(commit:done(), false)
    follower:resume()
    commit:join()
    pg:kill()
    follower:promote()
    test.equal(follower:status(), "running")
    test.equal(follower:value "SELECT count(*) FROM t", 1)
    test.equal(follower:timeline(), 2)
    follower:stop()
  end)

  test.it("is asked for by a lag only while it is connected", function()
    local pg = primary()
    test.raises(function()
      pg:lag_of { name = "stranger" }
    end, { kind = "state", match = "stranger" })
  end)
end)

test.describe("a sandbox", function()
  test.it("has no data until a restore fills it, and no other node reaches it", function()
    local box, pg = lab.sandbox { name = "box" }, primary()
    test.equal(box:status(), "absent")
    box:initdb()
    box:start()
    test.equal({ support.reaches(pg, box), support.reaches(pg, pg) }, { false, true })
    if lab.info().runtime == "local" then
      test.equal(box:setting "listen_addresses", "")
      test.equal(listening(box:endpoint().port), {})
    end
    test.equal(box:value "SELECT 1", 1)
    box:stop()
    box:wipe()
    test.equal(box:status(), "absent")
  end)
end)

test.describe("a node's files and its machine", function()
  test.it("are copied in and out", function()
    local pg = primary()
    local here = lab.info().folder .. "/copied"
    fs.write(here, "in\0and out\n")
    pg:copy_in(here, "copied-in")
    test.equal(pg:read_file "copied-in", "in\0and out\n")
    pg:copy_out("copied-in", here .. "-out")
    test.equal(fs.read(here .. "-out"), "in\0and out\n")
    test.raises(function()
      pg:write_file("/etc/rpitr-never", "x")
    end, { kind = "arg", match = "outside" })
  end)

  test.it("a removed node is gone, its name is free", function()
    local pg = lab.postgres { name = "brief", archive = false }
    pg:remove()
    test.equal(lab.nodes().brief, nil)
    test.ok(not fs.exists(lab.info().folder .. "/brief"))
    local again <close> = lab.postgres { name = "brief", archive = false }
    test.equal(again:value "SELECT 1", 1)
    again:remove()
  end)

  test.it("is taken off the network and put back as it was, where it has one", function()
    local pg, other = primary(), standby()
    if lab.info().runtime == "local" then
      for _, operation in ipairs { "disconnect", "reconnect", "inspect" } do
        test.raises(function()
          pg[operation](pg)
        end, { kind = "state", code = "no_container", match = operation })
      end
      test.raises(function()
        pg:limit { cpus = 1 }
      end, { kind = "state", code = "no_container", match = "limit" })
      return
    end
    local before = pg:inspect()
    pg:disconnect()
    test.equal({ support.reaches(other, pg), next(pg:inspect().networks) }, { false, nil })
    test.equal(pg:status(), "running")
    pg:reconnect()
    test.equal(pg:inspect().networks, before.networks)
    test.equal({ support.reaches(other, pg), pg:value "SELECT 1" }, { true, 1 })
    pg:wait_streaming(other)
    pg:limit { memory = "1GB", cpus = 1.5, pids = 500 }
    test.equal(pg:inspect().memory, 1024 ^ 3 // 1 | 0)
  end)
end)

test.describe("two labs", function()
  test.it("live side by side and end apart", function()
    local mine = lab.info()
    local script = lab.info().folder .. "/other.lua"
    fs.write(
      script,
      "local pg = lab.postgres { archive = false } print(lab.info().id, pg:endpoint().port) assert(pg:value 'SELECT 1' == 1)"
    )
    local binary = sh.run({ "readlink", ("/proc/%s/exe"):format(fs.read("/proc/self/stat"):match "^%d+") }).stdout
      :gsub("%s", "")
    local out = sh.run({ binary, script }).stdout
    local id, port = out:match "^(%S+)%s+(%d+)"
    test.ok(id and id ~= mine.id, out)
    test.ok(tonumber(port) ~= primary():endpoint().port)
    test.ok(not fs.exists((mine.folder:gsub("[^/]+$", "")) .. id), "its folder is still there")
    test.equal(primary():value "SELECT 1", 1)
    local listed = sh.run({ binary, "lab", "ls" }).stdout
    test.ok(listed:find(mine.id, 1, true) and listed:find("in use", 1, true), listed)
    test.ok(not listed:find(id, 1, true), listed)
    sh.run { binary, "lab", "gc" }
    test.equal(primary():value "SELECT 1", 1, "gc leaves a lab in use alone")
    test.raises(function()
      sh.run { binary, "lab", "rm", mine.id }
    end, { kind = "io" })
  end)
end)
