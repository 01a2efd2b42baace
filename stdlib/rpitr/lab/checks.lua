--- The checks of a standing environment. Each says what is wrong and how to mend it.

local _, internal = ...
local timer = require "rpitr.timer"

local checks = {}

local EXPECTED = {
  recovery = {
    tables = { "customers", "products", "orders", "orderitems" },
    slots = { "replica" },
    folders = { primary = { "/pgdata", "/archive" }, replica = { "/pgdata" } },
  },
  pitr = {
    tables = { "test_data", "wal_metadata" },
    slots = { "standby", "wal_capturer" },
    folders = {
      primary = { "/pgdata", "/archive" },
      standby = { "/pgdata" },
      wal_capturer = { "/wal_archive", "/backups" },
      restore_target = { "/pgdata" },
    },
  },
}

-- What one segment may take to arrive.
local PATIENCE = "20s"

local function fail(why, mend)
  error(setmetatable({ why = why, mend = mend }, { __name = "rpitr.FailedCheck" }), 0)
end

local function servers(environment)
  local list = {}
  for _, made in pairs(environment.nodes) do
    if made.role == "primary" or made.role == "standby" then
      list[#list + 1] = made
    end
  end
  table.sort(list, function(a, b)
    return a.role < b.role
  end)
  return list
end

local function running(environment)
  local name = environment.name
  for _, service in ipairs(environment:services()) do
    if service.state ~= "running" and service.role ~= "inspector" then
      fail(("%s is %s"):format(service.name, service.state), ("rpitr lab up %s starts it"):format(name))
    end
  end
  for service in pairs(EXPECTED[name].folders) do
    if not environment.nodes[service] then
      fail(service .. " has no container", ("rpitr lab up %s makes it"):format(name))
    end
  end
end

local WRITABLE = 'for d; do (: >"$d/.rpitr-check") 2>/dev/null || { echo "$d"; exit 1; }; rm -f "$d/.rpitr-check"; done'

local function folders(environment)
  for name, list in pairs(EXPECTED[environment.name].folders) do
    local made = environment.nodes[name]
    local result = made:exec { "/bin/sh", "-c", WRITABLE, "rpitr", check = false, table.unpack(list) }
    if result.code ~= 0 then
      local folder = result.stdout:gsub("%s+$", "")
      fail(
        ("the server's account cannot write to %s of %s"):format(folder, name),
        ("docker exec --user 0 %s sh -c 'chown postgres %s && chmod 700 %s'"):format(made.container, folder, folder)
      )
    end
  end
end

local function answers(environment)
  for _, made in ipairs(servers(environment)) do
    local ok, e = xpcall(made.value, internal.as_error, made, "SELECT pg_is_in_recovery()")
    if not ok then
      local mend = ("rpitr lab logs %s %s"):format(environment.name, made.name)
      if e.code == "28P01" then
        mend = "the volumes were made with other credentials: restore their .env, or rpitr lab rebuild "
          .. environment.name
      end
      fail(("%s does not answer: %s"):format(made.name, e.message), mend)
    elseif e and made.role == "primary" then
      fail(made.name .. " is in recovery", "rpitr lab rebuild " .. environment.name)
    end
  end
end

local function tables(environment)
  local database = environment:service(environment.primary.name).env.POSTGRES_DB
  for _, made in ipairs(servers(environment)) do
    local db <close> = made:connect { dbname = database }
    for _, name in ipairs(EXPECTED[environment.name].tables) do
      if not db:value("SELECT to_regclass($1) IS NOT NULL", name) then
        fail(
          ("table %s is missing from database %s on %s"):format(name, database, made.name),
          ("create it, or rpitr lab rebuild %s"):format(environment.name)
        )
      end
    end
  end
end

local SLOT = "SELECT active, wal_status FROM pg_replication_slots WHERE slot_name = $1 AND slot_type = 'physical'"

local function slots(environment)
  for _, name in ipairs(EXPECTED[environment.name].slots) do
    local slot = environment.primary:admin():row(SLOT, name)
    local restart = ("rpitr lab restart %s %s"):format(environment.name, name)
    if not slot then
      fail(("replication slot %s is missing"):format(name), restart .. " makes it again")
    elseif slot.wal_status == "lost" then
      fail(
        ("replication slot %s has lost WAL that %s still needs"):format(name, name),
        "rpitr lab rebuild " .. environment.name
      )
    elseif not slot.active then
      fail(("replication slot %s is not in use"):format(name), restart)
    end
  end
end

local function replication(environment)
  local primary = environment.primary
  for _, made in ipairs(servers(environment)) do
    if made.role == "standby" then
      local mend = ("rpitr lab restart %s %s, or rpitr lab rebuild %s"):format(
        environment.name,
        made.name,
        environment.name
      )
      if not made:value "SELECT pg_is_in_recovery()" then
        fail(made.name .. " is no standby any more: it was promoted", "rpitr lab rebuild " .. environment.name)
      end
      local state = primary:value("SELECT state FROM pg_stat_replication WHERE application_name = $1", made.name)
      if state ~= "streaming" then
        fail(("%s does not stream from %s"):format(made.name, primary.name), mend)
      end
      local ok = pcall(primary.wait_replayed, primary, made, { timeout = PATIENCE })
      if not ok then
        fail(("%s does not replay what %s writes"):format(made.name, primary.name), mend)
      end
    end
  end
end

-- Ends a segment and waits until it is in a folder of a container.
local function arrives(environment, made, folder, why, mend)
  local primary = environment.primary
  local lsn = primary:value "SELECT pg_logical_emit_message(false, 'rpitr', 'a check of the archive')"
  local name = primary:value("SELECT pg_walfile_name($1)", lsn)
  primary:value "SELECT pg_switch_wal()"
  local failures = "SELECT failed_count FROM pg_stat_archiver"
  local before = made == primary and primary:value(failures)
  local ok = pcall(timer.eventually, function()
    -- The archiver tries three times, then leaves it for a minute.
    if before and primary:value(failures) >= before + 3 then
      internal.raise { kind = "archive", code = "fatal", message = name }
    end
    return made:exec({ "test", "-e", folder .. "/" .. name, check = false }).code == 0
  end, { timeout = PATIENCE, every = 0.1, describe = name })
  if not ok then
    fail(why(name), mend)
  end
end

local function archiving(environment)
  local primary = environment.primary
  if primary:setting "archive_mode" ~= "on" then
    fail("archive_mode is off", "rpitr lab rebuild " .. environment.name)
  end
  arrives(environment, primary, "/archive", function(name)
    local failed = primary:value "SELECT last_failed_wal FROM pg_stat_archiver WHERE last_failed_time IS NOT NULL"
    local said = primary:logs { grep = "rpitr archive-push" }
    return ("segment %s, whose end was forced, does not arrive in the archive%s%s"):format(
      name,
      failed and "; the last that failed is " .. failed or "",
      said ~= "" and ": " .. said:match "[^\n]*$" or ""
    )
  end, ("make /archive of %s writable for postgres and see that its disk has space"):format(primary.container))
end

local function capturing(environment)
  local receiver = environment.receiver
  if receiver then
    arrives(environment, receiver, "/wal_archive", function(name)
      return ("%s has not received segment %s after %s"):format(receiver.name, name, PATIENCE)
    end, ("rpitr lab restart %s %s"):format(environment.name, receiver.name))
  end
end

local ALL = {
  { "containers run", running },
  { "folders can be written to", folders },
  { "servers answer", answers },
  { "tables exist", tables },
  { "slots are in use", slots },
  { "replication streams", replication },
  { "archiving works", archiving },
  { "the receiver receives", capturing, only = "receiver" },
}

-- Runs all checks that make sense; what needs a failed one is not run, and says so. Returns them, and whether all passed.
function checks.run(environment)
  local results, all, broken = {}, true, nil
  for i, check in ipairs(ALL) do
    if not check.only or environment[check.only] then
      local result = { what = check[1] }
      if broken then
        result.ok, result.why = false, "not checked: " .. broken
      else
        local ok, e = xpcall(check[2], function(e)
          return type(e) == "table" and e.why and e or internal.as_error(e)
        end, environment)
        result.ok = ok
        if not ok then
          result.why, result.mend = e.why or e.message, e.mend or e.hint
          -- Without containers or answers the rest would only say the same again.
          broken = (i == 1 or i == 3) and result.why or nil
        end
      end
      all = all and result.ok
      results[#results + 1] = result
    end
  end
  return results, all
end

--- Whether servers answer and standbys stream, without waiting.
function checks.settled(environment)
  return (
    pcall(function()
      running(environment)
      answers(environment)
      slots(environment)
      for _, made in ipairs(servers(environment)) do
        if made.role == "standby" and made:value "SELECT pg_is_in_recovery()" then
          local state =
            environment.primary:value("SELECT state FROM pg_stat_replication WHERE application_name = $1", made.name)
          if state ~= "streaming" then
            fail(made.name, "")
          end
        end
      end
    end)
  )
end

return checks
