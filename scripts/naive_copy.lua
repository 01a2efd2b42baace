--- Copy the files of a running PostgreSQL, restore the copy, and find out what it is worth.
--
-- "Why base backups and WAL? tar the data directory, done." It even works when you try it: the copy
-- starts, without a word of complaint. It is wrong all the same, and this drill shows how wrong, and
-- which of the checks people trust notice.
--
-- Why it fails: a running server changes pages in memory and writes them to disk when it likes, at a
-- checkpoint at the latest. The log says what is missing on disk, and the control file says from where
-- the log has to be read. A copy takes time. Files copied early are older than the checkpoint in
-- the middle, the control file copied late says that everything before that checkpoint is on
-- disk. So recovery does not repair the early files: it has been told that there is nothing to
-- repair. Each page is fine. They are just not pages of the same moment.
--
-- What pg_basebackup does instead: the copy is no more "at one moment" than tar's, and need not be.
-- It notes the position in the log *before* the first file is copied (backup_label), keeps the log from
-- there to the end, and recovery replays all of it. The difference is one small file; so the drill
-- also makes a correct copy by hand with pg_backup_start, and ruins it by deleting its backup_label, as
-- people do when the server asks for WAL they do not have.
--
-- A managed service copies below the database: a snapshot of the whole volume at one instant, which
-- recovers like a machine that lost power, plus the archived log. That is right as long as everything is
-- on the volume that is snapped; and nobody can show you the label.

-- Reads tables without their indexes: errors of an index would hide those of a table.
local TABLES_ONLY = { enable_indexscan = "off", enable_indexonlyscan = "off", enable_bitmapscan = "off" }

-- Pages reach the disk at a checkpoint and at no other time, and checkpoints come when the drill says so.
-- On a busy server chance does the same; here it happens in every run.
local QUIET = { bgwriter_lru_maxpages = 0, checkpoint_timeout = "1h", autovacuum = "off" }

-- What an order costs must be what its items cost.
local SUMS = [[
SELECT (SELECT coalesce(sum(totalAmount), 0) FROM orders WHERE orderId > $1) AS orders,
       (SELECT coalesce(sum(quantity * pricePerUnit), 0) FROM orderItems WHERE orderId > $1) AS items]]

-- Defects that a drill of this kind must catch, for its own test.
local DEFECTS = { "none", "cold", "delete-row", "keep-label" }

-- The order of a directory listing is an accident. This is an unlucky one: the orders and all indexes
-- early, the control file and the log last.
local function two_halves(primary)
  local db <close> = primary:connect { dbname = workload.database }
  local early, first, rest, log = {}, {}, {}, {}
  early[primary:file_of(db, "orders")] = true
  for _, index in ipairs(db:query "SELECT indexname AS name FROM pg_indexes WHERE schemaname = 'public'") do
    early[primary:file_of(db, index.name)] = true
  end
  for _, path in ipairs(primary:data_files()) do
    local half = early[path] and first or path:match "^pg_wal/" and log or path ~= "global/pg_control" and rest
    if half then
      half[#half + 1] = path
    end
  end
  rest[#rest + 1] = "global/pg_control"
  return first, rest, log
end

-- Copies the data directory while the shop goes on, with a checkpoint in the middle. `before_log` runs
-- when only the log is left to copy. Returns the copies, and a position that all of them must hold.
local function copy_live(primary, shop, name, arg, in_the_middle, before_log)
  local function go_on(orders)
    if not shop.stopped then
      shop:wait_orders(orders, { timeout = "5m" })
    end
  end
  go_on(arg.orders)
  if arg.plant == "cold" then
    shop:stop()
    primary:checkpoint()
  end
  local first = two_halves(primary)
  local copies = { primary:copy_files(name .. "-1", first) }
  primary:checkpoint()
  if in_the_middle then
    in_the_middle()
  end
  go_on(arg.orders // 10)
  local _, rest = two_halves(primary)
  copies[2] = primary:copy_files(name .. "-2", rest)
  local moment = primary:lsn()
  if before_log then
    before_log()
  end
  local _, _, log = two_halves(primary)
  copies[3] = primary:copy_files(name .. "-3", log)
  return copies, moment
end

-- Everything anybody might check, on a server that was started from a copy.
local function examine(node, shop, loaded, window)
  local seen = {}
  local complaints = {}
  for line in node:logs():gmatch "[^\n]+" do
    if line:match "WARNING:" or line:match "ERROR:" or line:match "FATAL:" or line:match "PANIC:" then
      complaints[#complaints + 1] = line
    end
  end
  seen.log = table.concat(complaints, "; ")
  local db <close> = node:connect { dbname = workload.database }
  seen.sums = db:row(SUMS, loaded)
  local diff = verify.ledger(node, shop:ledger(), window)
  seen.torn, seen.lost, seen.altered = #diff.torn, #diff.lost, #diff.altered
  seen.expected, seen.damaged = diff.expected, #diff.torn + #diff.lost + #diff.altered
  diff.extra = {} -- what committed while the log was copied may be there or not
  seen.ledger = verify.describe(diff)
  seen.tables = verify.amcheck(node, { of = "tables" })
  seen.indexes = verify.amcheck(node, { of = "indexes" })
  db:close()
  node:stop()
  local checked = node:exec { "pg_checksums", "--check", "--pgdata=" .. node.data, check = false }
  seen.checksums = checked.code == 0 and "" or (checked.stderr .. checked.stdout)
  return seen
end

local function sums_agree(seen)
  return seen.sums.orders == seen.sums.items
end

-- The checks that lie: they look at pages and structure, one file at a time.
local function check_green_lights(d, what, seen)
  d:check(what .. " starts without a complaint", seen.log == "", seen.log)
  d:check(what .. ": pg_checksums finds nothing", seen.checksums == "", seen.checksums)
  d:check(what .. ": verify_heapam finds nothing in any table", #seen.tables == 0, verify.list(seen.tables))
end

local function check_is_wrong(d, what, seen)
  check_green_lights(d, what, seen)
  d:check(
    what .. " is wrong: the sum of the orders is not that of their items",
    not sums_agree(seen),
    ("both are %s"):format(seen.sums.items)
  )
  d:check(
    what .. " is wrong: bt_index_check(heapallindexed) notices",
    #seen.indexes > 0,
    "no index was found to be damaged"
  )
  d:check(
    what .. " is wrong: the ledger names what was acknowledged and is damaged",
    seen.damaged > 0,
    ("all %d acknowledged orders are whole"):format(seen.expected)
  )
  d:say("Orders %s, their items %s. %s.", seen.sums.orders, seen.sums.items, seen.ledger or "The ledger finds nothing")
  local first = seen.indexes[1]
  d:say(first and ("%d indexes are damaged, such as %s: %s."):format(#seen.indexes, first.name, first.problem) or "")
end

local function check_is_right(d, what, seen)
  check_green_lights(d, what, seen)
  d:check(what .. ": the sums agree", sums_agree(seen), ("%s and %s"):format(seen.sums.orders, seen.sums.items))
  d:check(what .. ": every index holds exactly its table's rows", #seen.indexes == 0, verify.list(seen.indexes))
  d:check(
    ("%s: all %d acknowledged orders are there and whole"):format(what, seen.expected),
    seen.ledger == nil and seen.expected > 0,
    seen.ledger
  )
end

local function verdicts(columns)
  local rows = {}
  local function row(name, ask)
    local cells = { name }
    for _, seen in ipairs(columns) do
      cells[#cells + 1] = ask(seen)
    end
    rows[#rows + 1] = cells
  end
  local function light(green)
    return green and "green" or "RED"
  end
  row("it starts, nothing in the log", function(seen)
    return light(seen.log == "")
  end)
  row("pg_checksums", function(seen)
    return light(seen.checksums == "")
  end)
  row("verify_heapam", function(seen)
    return light(#seen.tables == 0)
  end)
  row("bt_index_check(heapallindexed)", function(seen)
    return light(#seen.indexes == 0)
  end)
  row("sum of orders = sum of items", function(seen)
    return light(sums_agree(seen))
  end)
  row("the ledger", function(seen)
    return light(seen.ledger == nil)
  end)
  return rows
end

-- Non-exclusive backup mode belongs to a session, which must stay open meanwhile.
local function backup_mode(session)
  local old = session:version() < 150000
  return {
    start = function()
      session:exec(
        old and "SELECT pg_start_backup('by hand', true, false)" or "SELECT pg_backup_start('by hand', true)"
      )
    end,
    stop = function()
      return session:value(
        old and "SELECT labelfile FROM pg_stop_backup(false, true)" or "SELECT labelfile FROM pg_backup_stop(true)"
      )
    end,
  }
end

return drill "naive_copy" {
  summary = "A file copy of a live server: it starts clean and is wrong. Which check notices, and what is right.",
  tags = { "backup", "exercise-3.1" },
  args = {
    orders = { 600, "orders taken before the first file is copied; a tenth more in the middle", min = 1 },
    clients = { 2, "concurrent writers", min = 1 },
    version = { 0, "PostgreSQL major version; 0 is the newest installed", min = 0 },
    plant = {
      "none",
      "a defect to plant, which the drill must catch: none, cold (the copy is not live), delete-row, keep-label",
      choices = DEFECTS,
    },
  },
  budget = "15m",
  expect = { "naive_damaged > 0", "backup_damaged == 0", "labelled_damaged == 0", "unlabelled_damaged > 0" },

  run = function(d, arg)
    lab.needs_own "it restores damaged copies, and needs servers that hold nothing else"
    local primary, loaded, shop

    d:step("a shop that takes orders", function()
      primary = lab.postgres { name = "primary", version = arg.version > 0 and arg.version or nil, conf = QUIET }
      workload.init(primary)
      local db <close> = primary:connect { dbname = workload.database }
      loaded = db:value "SELECT max(orderId) FROM orders"
      primary:checkpoint()
      shop = workload.start(primary, { clients = arg.clients, rate = 0, ledger = lab.info().folder .. "/ledger.jsonl" })
    end)
    local _ <close> = shop

    local copies, moment = d:step("tar the data directory while orders come in", function()
      local copies, moment = copy_live(primary, shop, "naive", arg, function()
        d:say "A checkpoint falls into the middle of it, as one does every five minutes. pg_basebackup runs as well."
        pitr.backup(primary, { label = "proper" })
      end)
      d:say(
        "%d files, %s of the log. tar finished without an error.",
        copies[1].files + copies[2].files + copies[3].files,
        moment
      )
      return copies, moment
    end)

    local by_hand, by_hand_moment, label
    d:step("the same once more, between pg_backup_start and pg_backup_stop", function()
      local session <close> = primary:connect()
      local mode = backup_mode(session)
      mode.start()
      by_hand, by_hand_moment = copy_live(primary, shop, "by-hand", arg, nil, function()
        label = mode.stop()
      end)
      d:say("The server gave us a backup_label: recovery is to begin at %s.", label:match "START WAL LOCATION: (%S+)")
      if not shop.stopped then
        shop:stop()
      end
      primary:flush_archive()
    end)

    local naive = d:step("restore the naive copy", function()
      local node =
        lab.sandbox({ name = "naive", version = primary.major }):unpack(copies, primary, { conf = TABLES_ONLY })
      node:start()
      local seen = examine(node, shop, loaded, { upto = moment })
      d:record { naive_damaged = seen.damaged, naive_torn = seen.torn, naive_lost = seen.lost }
      check_is_wrong(d, "the naive copy", seen)
      return seen
    end)

    local proper = d:step("restore the base backup of the same moment", function()
      local node =
        pitr.restore(primary, { to = { lsn = moment, inclusive = false }, name = "proper", conf = TABLES_ONLY })
      if arg.plant == "delete-row" then
        local db <close> = node:connect { dbname = workload.database }
        db:exec "DELETE FROM orderItems WHERE orderId = (SELECT max(orderId) FROM orderItems)"
      end
      local seen = examine(node, shop, loaded, { upto = moment })
      d:record { backup_damaged = seen.damaged }
      check_is_right(d, "the base backup", seen)
      return seen
    end)

    local labelled = d:step("restore the copy by hand, with its backup_label", function()
      local node = lab.sandbox { name = "labelled", version = primary.major }
      node:unpack(by_hand, primary, { conf = TABLES_ONLY, files = { backup_label = label } })
      node:start()
      local seen = examine(node, shop, loaded, { upto = by_hand_moment })
      d:record { labelled_damaged = seen.damaged }
      check_is_right(d, "the copy with its label", seen)
      return seen
    end)

    local unlabelled = d:step("restore it with its backup_label deleted", function()
      local node = lab.sandbox { name = "unlabelled", version = primary.major }
      local files = arg.plant == "keep-label" and { backup_label = label } or {}
      node:unpack(by_hand, primary, { conf = TABLES_ONLY, files = files })
      node:start()
      local seen = examine(node, shop, loaded, { upto = by_hand_moment })
      d:record { unlabelled_damaged = seen.damaged }
      check_is_wrong(d, "the copy without its label", seen)
      d:say "Without it PostgreSQL believes the control file, and begins where the last checkpoint was: after the damage."
      return seen
    end)

    d:table(
      "Which light tells the truth",
      { "check", "naive copy", "pg_basebackup", "by hand", "label deleted" },
      verdicts { naive, proper, labelled, unlabelled }
    )
    d:say "Checksums and verify_heapam look at one page, one table at a time: each is genuine, only of another moment."
    d:say "What notices compares: an index with its table, a sum with another sum, the database with what was promised."
  end,
}
