-- What PostgreSQL says when a recovery by hand goes wrong: the messages that docs/troubleshooting.md explains are
-- provoked here on real servers, with backups, archives and settings as people make them.

local support = require "support"

local TOO_FAR = "FFFF/FFFFFFF0"

-- A primary, a backup, and commits in two segments behind it.
local history = support.once(function()
  local pg = support.primary { conf = { max_connections = 50 } }
  local db <close> = pg:connect()
  db:exec "CREATE TABLE log (n int PRIMARY KEY, filler text)"
  db:exec "CREATE TABLE still AS SELECT generate_series(1, 100) AS n"
  local h = { pg = pg, still = db:value "SELECT pg_relation_filepath('still')" }
  h.base = pitr.backup(pg, { label = "base" })
  support.commit(db, 1)
  h.first = pg:flush_archive()
  support.commit(db, 2)
  pg:flush_archive()
  return h
end)

local copies = 0

-- The backup as somebody restores it by hand: copied, `settings` added, told to recover.
-- @param options { signal = true, archive = string?, prepare = function(folder)? }
local function by_hand(settings, options)
  local h, opts = history(), options or {}
  copies = copies + 1
  local folder = ("%s/copy%d"):format(lab.info().folder, copies)
  h.pg:exec { "cp", "-R", h.base.folder, folder }
  h.pg:exec { "sh", "-c", 'rm -rf "$1"/pg_wal/*', "sh", folder }
  local lines = {
    ("restore_command = 'cp %s/%%f %%p'"):format(opts.archive or h.pg.archive),
    "archive_mode = off",
    "listen_addresses = ''",
    ("unix_socket_directories = '%s'"):format(folder),
    "port = 5432",
  }
  for name, value in pairs(settings) do
    lines[#lines + 1] = ("%s = '%s'"):format(name, value)
  end
  fs.append(folder .. "/postgresql.auto.conf", table.concat(lines, "\n") .. "\n")
  if opts.signal ~= false then
    h.pg:exec { "touch", folder .. "/recovery.signal" }
  end
  if opts.prepare then
    opts.prepare(folder)
  end
  return folder
end

-- Runs a server that must end by itself; what it said.
local function ends(settings, options)
  local folder = by_hand(settings, options)
  local ended = history().pg:exec { "postgres", "-D", folder, check = false, timeout = "60s" }
  test.ok(ended.code ~= 0, "the server ended without an error:\n" .. ended.stderr)
  return ended.stderr
end

local function says(text, ...)
  for _, part in ipairs { ... } do
    test.ok(text:find(part, 1, true), ("%q is not in:\n%s"):format(part, text))
  end
end

-- A copy of the archive in which one file is changed.
local function archive_with(change)
  local h = history()
  copies = copies + 1
  local folder = ("%s/archive%d"):format(lab.info().folder, copies)
  h.pg:exec { "cp", "-R", h.pg.archive, folder }
  change(folder, folder .. "/" .. h.first)
  return folder
end

-- Starts a server that stays, for `fn(ask, folder)`; `ask(statement)` is what psql answers.
local function stays(settings, options, fn)
  local pg, folder = history().pg, by_hand(settings, options)
  local log = folder .. "/said.log"
  local _ <close> = defer(function()
    pg:exec { "pg_ctl", "--pgdata", folder, "--mode", "immediate", "stop", check = false }
  end)
  pg:exec { "pg_ctl", "--pgdata", folder, "--log", log, "--no-wait", "start" }
  local function ask(statement)
    local psql = { "psql", "-h", folder, "-p", "5432", "-U", "postgres", "-XAtc", statement, check = false }
    psql.env = { PGPASSFILE = lab.info().folder .. "/pgpass" }
    local answer = pg:exec(psql)
    return answer.stdout .. answer.stderr
  end
  return fn(ask, folder)
end

local function answers(ask, statement, part)
  eventually(function()
    return ask(statement):find(part, 1, true)
  end, { timeout = "60s", describe = part })
end

test.describe("targets", function()
  test.it("that are not reached, or lie before the backup's end", function()
    says(ends { recovery_target_lsn = TOO_FAR }, "recovery ended before configured recovery target was reached")
    says(
      ends { recovery_target_lsn = tostring(history().base.start_lsn), recovery_target_inclusive = "off" },
      "requested recovery stop point is before consistent recovery point"
    )
  end)

  test.it("that contradict each other, or cannot be read", function()
    says(ends { recovery_target_lsn = TOO_FAR, recovery_target_name = "x" }, "multiple recovery targets specified")
    says(ends { recovery_target_time = "half past nine" }, 'invalid value for parameter "recovery_target_time"')
  end)
end)

test.describe("timelines", function()
  test.it("without a history, or with one that left before the backup", function()
    says(ends { recovery_target_timeline = "9" }, "recovery target timeline 9 does not exist")
    local archive = archive_with(function(folder)
      fs.write(folder .. "/00000002.history", "1\t0/200000\tleft early\n")
    end)
    says(
      ends({ recovery_target_timeline = "2" }, { archive = archive }),
      "requested timeline 2 is not a child of this server's history"
    )
  end)
end)

test.describe("how the copy was made", function()
  test.it("no recovery.signal, no backup_label, no restore_command", function()
    says(
      ends({}, { signal = false }),
      "could not locate required checkpoint record",
      "If you are restoring from a backup, touch"
    )
    says(
      ends({}, {
        prepare = function(folder)
          fs.remove(folder .. "/backup_label")
          fs.remove(folder .. "/recovery.signal")
        end,
      }),
      "could not locate a valid checkpoint record"
    )
    says(ends { restore_command = "" }, "must specify restore_command when standby mode is not enabled")
  end)

  test.it("a file of the old kind, permissions, a library that is not installed", function()
    says(
      ends({}, {
        prepare = function(folder)
          fs.write(folder .. "/recovery.conf", "")
        end,
      }),
      'using recovery command file "recovery.conf" is not supported'
    )
    says(
      ends({}, {
        prepare = function(folder)
          history().pg:exec { "chmod", "777", folder }
        end,
      }),
      "has invalid permissions"
    )
    says(ends { shared_preload_libraries = "no_such_library" }, 'could not access file "no_such_library"')
  end)

  test.it("limits below those of the primary", function()
    says(
      ends { max_connections = "20" },
      "insufficient parameter settings",
      "max_connections = 20 is a lower setting than on the primary server, where its value was 50"
    )
  end)

  test.it("the directory or the port of a server that runs", function()
    local pg = history().pg
    local second = pg:exec { "postgres", "-D", pg.data, check = false }
    says(second.stderr, 'lock file "postmaster.pid" already exists')
    local text = ends { listen_addresses = "127.0.0.1", port = pg:endpoint().port }
    if lab.info().runtime == "local" then
      says(text, "Address already in use", "could not create any TCP/IP sockets")
    end
  end)
end)

test.describe("the archive", function()
  test.it("a segment of another cluster, a short one, a damaged one", function()
    local foreign = archive_with(function(_, segment)
      support.patch(segment, 24, "\1\2\3\4\5\6\7\8")
    end)
    says(
      ends({ recovery_target_lsn = TOO_FAR }, { archive = foreign }),
      "WAL file is from different database system",
      "recovery ended before configured recovery target was reached"
    )
    local short = archive_with(function(_, segment)
      fs.write(segment, fs.read(segment):sub(1, 500000))
    end)
    says(ends({ recovery_target_lsn = TOO_FAR }, { archive = short }), "has wrong size: 500000 instead of 1048576")
    local h = history()
    local at = (pitr.commit_of(h.pg, h.pg:value "SELECT xmin::text::bigint FROM log WHERE n = 1").lsn - lsn "0/0")
      % (1024 * 1024)
    local flipped = archive_with(function(_, segment)
      support.patch(segment, at + 30, "damage")
    end)
    says(
      ends({ recovery_target_lsn = TOO_FAR }, { archive = flipped }),
      "incorrect resource manager data checksum in record at"
    )
  end)

  test.it("a restore_command that cannot tell ends the recovery", function()
    says(ends { restore_command = "exit 200" }, "could not restore file")
  end)

  test.it("an archive_command that fails is tried again, and counted", function()
    local pg = history().pg
    local command = pg:setting "archive_command"
    pg:configure { archive_command = "exit 3" }
    pg:admin():exec "SELECT pg_switch_wal()"
    support.commit(pg:admin(), 90)
    pg:admin():exec "SELECT pg_switch_wal()"
    eventually(function()
      return pg:logs():find("archive command failed with exit code 3", 1, true)
    end, { timeout = "60s", describe = "a failed archive command" })
    pg:configure { archive_command = command }
    pg:flush_archive()
  end)
end)

test.describe("a server that recovers", function()
  test.it("takes nobody in until it is consistent", function()
    stays({ restore_command = "sleep 60; exit 255" }, {}, function(ask)
      answers(ask, "SELECT 1", "the database system is starting up")
    end)
  end)

  test.it("paused at its target it is read-only; elsewhere there is nothing to resume", function()
    local pause = { recovery_target = "immediate", recovery_target_action = "pause" }
    stays(pause, {}, function(ask)
      answers(ask, "SELECT pg_get_wal_replay_pause_state()", "paused")
      says(ask "INSERT INTO log VALUES (100)", "cannot execute INSERT in a read-only transaction")
      says(ask "SELECT pg_switch_wal()", "recovery is in progress")
    end)
    test.raises(function()
      history().pg:query "SELECT pg_wal_replay_resume()"
    end, { kind = "sql", match = "recovery is not in progress" })
  end)

  test.it("comes up with a page that changed on disk, and says so when the page is read", function()
    local to = { recovery_target = "immediate", recovery_target_action = "promote" }
    local damaged = {
      prepare = function(folder)
        support.patch(folder .. "/" .. history().still, 4000, "damage")
      end,
    }
    stays(to, damaged, function(ask, folder)
      answers(ask, "SELECT 'opened' WHERE NOT pg_is_in_recovery()", "opened")
      says(ask "SELECT count(*) FROM still", "invalid page in block 0 of relation")
      says(fs.read(folder .. "/said.log"), "page verification failed, calculated checksum")
    end)
  end)
end)
