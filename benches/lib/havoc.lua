--- Writers and accidents: eight clients write to many tables while accidents of every kind destroy them, one
-- table each. Everything that was acknowledged is known, and what each accident destroyed, so that the state
-- at any position of the WAL can be worked out and held against a restored server.

local havoc = {}

havoc.database = "havoc"

local LOADED = 300

local TABLE =
  "CREATE TABLE %s (op bigint PRIMARY KEY, amount int NOT NULL DEFAULT 1, filler text DEFAULT repeat('x', 40))"
local LOAD = "INSERT INTO %s (op) SELECT -n FROM generate_series(1, " .. LOADED .. ") n"

-- Accidents ------------------------------------------------------------------------------------------

local function set_of(rows)
  local set = {}
  for _, row in ipairs(rows) do
    set[row.op] = true
  end
  return set
end

local function statement(text)
  return function(db, v)
    db:exec((text:gsub("%$t", v.table):gsub("%$n", v.name)))
  end
end

local function delete(db, v)
  return { removed = set_of(db:query(("DELETE FROM %s RETURNING op"):format(v.table))) }
end

local function update(db, v)
  return { zeroed = set_of(db:query(("UPDATE %s SET amount = 0 RETURNING op"):format(v.table))) }
end

-- Each kind: how its victim is made, besides the table writers use; what is done to it; what `find` must call it. What
-- the deed says about the rows: `wiped`, `gone`, or the sets `removed` and `zeroed`.
local KINDS = {
  { name = "truncate", found = "truncate", wiped = true, strike = statement "TRUNCATE $t" },
  {
    name = "truncate cascade",
    found = "truncate",
    wiped = true,
    make = statement [[CREATE TABLE $n_parent (id int PRIMARY KEY);
      INSERT INTO $n_parent SELECT generate_series(1, 50);
      ALTER TABLE $t ADD parent int DEFAULT 1 REFERENCES $n_parent]],
    strike = statement "TRUNCATE $n_parent CASCADE",
    probe = { "SELECT count(*) FROM $n_parent", 50 },
  },
  {
    name = "truncate restart identity",
    found = "truncate",
    wiped = true,
    make = statement "ALTER TABLE $t ADD id serial",
    strike = statement "TRUNCATE $t RESTART IDENTITY",
    probe = { "SELECT (last_value >= " .. LOADED .. ")::int FROM $n_id_seq", 1 },
  },
  {
    name = "truncate in a subtransaction",
    found = "truncate",
    wiped = true,
    nested = true,
    strike = statement "TRUNCATE $t",
  },
  { name = "truncate, prepared", found = "truncate", wiped = true, prepared = true, strike = statement "TRUNCATE $t" },
  { name = "drop table", found = "drop_table", gone = true, strike = statement "DROP TABLE $t" },
  {
    name = "drop table cascade",
    found = "drop_table",
    gone = true,
    make = statement "CREATE VIEW $n_view AS SELECT * FROM $t",
    strike = statement "DROP TABLE $t CASCADE",
    probe = { "SELECT (count(*) >= " .. LOADED .. ")::int FROM $n_view", 1 },
  },
  {
    name = "drop table, prepared",
    found = "drop_table",
    gone = true,
    prepared = true,
    strike = statement "DROP TABLE $t",
  },
  {
    name = "drop index",
    found = "drop_index",
    hit = "%s_amount",
    make = statement "CREATE INDEX $n_amount ON $t (amount)",
    strike = statement "DROP INDEX $n_amount",
    probe = { "SELECT count(*) FROM pg_class WHERE relname = '$n_amount'", 1 },
  },
  {
    name = "drop schema",
    found = "drop_schema",
    gone = true,
    schema = true,
    strike = statement "DROP SCHEMA $n CASCADE",
    probe = { "SELECT count(*) FROM pg_namespace WHERE nspname = '$n'", 1 },
  },
  { name = "drop database", found = "drop_database", database = true },
  { name = "delete", found = "delete", strike = delete },
  { name = "delete in a subtransaction", found = "delete", nested = true, strike = delete },
  {
    name = "delete after a rolled back update",
    found = "delete",
    strike = function(db, v)
      db:exec "SAVEPOINT undone"
      update(db, v)
      db:exec "ROLLBACK TO undone"
      return delete(db, v)
    end,
  },
  { name = "update", found = "update", strike = update },
  { name = "update, prepared", found = "update", prepared = true, strike = update },
}

-- What looks like an accident and is none.
local DECOYS = {
  "VACUUM FULL decoy",
  "CLUSTER decoy USING decoy_pkey",
  "REINDEX TABLE decoy",
  "ALTER TABLE decoy ALTER amount TYPE bigint",
  "ALTER TABLE decoy ALTER amount TYPE int",
  "BEGIN; TRUNCATE decoy; ROLLBACK",
  "BEGIN; DROP TABLE decoy CASCADE; ROLLBACK",
  "BEGIN; DELETE FROM decoy; ROLLBACK",
  "CREATE TEMP TABLE scratch AS SELECT * FROM decoy; TRUNCATE scratch; DROP TABLE scratch",
  "REFRESH MATERIALIZED VIEW decoy_sum",
  "BEGIN; CREATE TABLE decoy_new AS SELECT * FROM decoy; TRUNCATE decoy_new; DROP TABLE decoy_new; COMMIT",
}

-- The scene ------------------------------------------------------------------------------------------

local Havoc = {}
Havoc.__index = Havoc

local function shuffle(draw, list)
  for i = #list, 2, -1 do
    local j = draw(i)
    list[i], list[j] = list[j], list[i]
  end
  return list
end

-- Every kind in turn, then in an order of the seed's.
local function draw_kinds(draw, count)
  local kinds, rest = {}, {}
  for i = 1, count do
    if #rest == 0 then
      rest = shuffle(draw, table.move(KINDS, 1, #KINDS, 1, {}))
    end
    kinds[i] = table.remove(rest)
  end
  return kinds
end

local function make_victim(self, db, kind, number)
  local v = { kind = kind, name = ("v%02d"):format(number), live = not kind.database }
  v.table = kind.schema and v.name .. ".t" or v.name
  v.hits = kind.hit and kind.hit:format(v.name) or v.table
  if kind.database then
    self.pg:create_database(v.name)
    local other <close> = self.pg:connect { dbname = v.name }
    other:exec(TABLE:format "t")
    other:exec(LOAD:format "t")
    return v
  end
  if kind.schema then
    db:exec("CREATE SCHEMA " .. v.name)
  end
  db:exec(TABLE:format(v.table))
  db:exec(LOAD:format(v.table))
  if kind.make then
    kind.make(db, v)
  end
  return v
end

--- Makes the tables on a server.
---@param count integer  how many accidents are planned
---@param between fun()  called when half of the tables exist: tables older and newer than the backup
function havoc.prepare(pg, count, between)
  local self = setmetatable({ pg = pg, draw = random.new "havoc", ops = {}, acknowledged = 0, victims = {} }, Havoc)
  pg:create_database(havoc.database)
  local db <close> = pg:connect { dbname = havoc.database }
  db:exec "CREATE TABLE journal (op bigint PRIMARY KEY)"
  db:exec(TABLE:format "decoy")
  db:exec(LOAD:format "decoy")
  db:exec "CREATE MATERIALIZED VIEW decoy_sum AS SELECT sum(op) FROM decoy"
  for number, kind in ipairs(draw_kinds(self.draw, count)) do
    if number == count // 2 + 1 then
      between()
    end
    self.victims[number] = make_victim(self, db, kind, number)
  end
  return self
end

-- Writers --------------------------------------------------------------------------------------------

local function pick(self)
  local live = {}
  for _, v in ipairs(self.victims) do
    if v.live then
      live[#live + 1] = v
    end
  end
  return live[1] and live[self.draw(#live)]
end

local function write_one(self, db, op)
  local v = pick(self)
  local xid
  local ok, e = pcall(db.tx, db, function()
    xid = db:value("INSERT INTO journal VALUES ($1) RETURNING pg_current_xact_id()", op)
    if v then
      db:exec(("INSERT INTO %s (op) VALUES ($1)"):format(v.table), op)
    end
  end)
  if ok then
    self.ops[#self.ops + 1] = { op = op, xid = xid, victim = v }
    self.acknowledged = self.acknowledged + 1
  elseif not err.is(e, "sql") or db:is_closed() then
    error(e, 0)
  end
end

--- Starts the writers; closing what it returns stops them.
function Havoc:start(clients)
  self.stopping, self.writers = false, {}
  for writer = 1, clients do
    self.writers[writer] = task.spawn(function()
      local db <close> = self.pg:connect { dbname = havoc.database }
      local sequence = 0
      while not self.stopping do
        sequence = sequence + 1
        write_one(self, db, writer * 1000000 + sequence)
        timer.sleep(0.001 * self.draw(8))
      end
    end)
  end
end

--- Lets the writers finish what they are doing.
function Havoc:stop()
  self.stopping = true
  for _, writer in ipairs(self.writers) do
    writer:join()
  end
end

-- A random moment later: some more transactions, or a little time when the writers wait for a lock.
local function a_while(self, most)
  local goal = self.acknowledged + self.draw(most)
  pcall(eventually, function()
    return self.acknowledged >= goal
  end, { timeout = 0.5, every = 0.002 })
end

-- Striking -------------------------------------------------------------------------------------------

local function strike_once(self, db, v)
  local kind = v.kind
  local effect
  db:exec "BEGIN"
  local ok, e = pcall(function()
    v.xid = db:value "SELECT pg_current_xact_id()"
    if kind.nested then
      db:exec "SAVEPOINT deed"
    end
    effect = kind.strike(db, v) or {}
    if kind.nested then
      db:exec "RELEASE deed"
    end
    -- Others commit between the deed and its commit.
    a_while(self, 4)
    db:exec(kind.prepared and ("PREPARE TRANSACTION '%s'"):format(v.name) or "COMMIT")
  end)
  if not ok then
    db:exec "ROLLBACK"
    error(e, 0)
  end
  if kind.prepared then
    a_while(self, 20)
    db:exec(("COMMIT PREPARED '%s'"):format(v.name))
  end
  return effect
end

--- One accident, at a random moment. A deadlock against the writers is tried again, as people do.
function Havoc:strike(v)
  a_while(self, 25)
  local db <close> = self.pg:connect { dbname = v.kind.database and "postgres" or havoc.database }
  if v.kind.database then
    db:exec("DROP DATABASE " .. v.name)
    v.effect = {}
    return
  end
  if v.kind.prepared then
    v.live = false
  end
  v.effect = eventually(function()
    local ok, result = pcall(strike_once, self, db, v)
    if not ok and not err.is(result, "sql", "40P01") then
      error(result, 0)
    end
    return ok and result
  end, { timeout = "30s", describe = v.kind.name .. " of " .. v.name })
  v.live = false
end

--- Something that looks like an accident, now and then.
function Havoc:maybe_decoy()
  if self.draw(2) == 1 then
    local db <close> = self.pg:connect { dbname = havoc.database }
    db:exec(DECOYS[self.draw(#DECOYS)])
  end
end

-- What must be there ---------------------------------------------------------------------------------

--- Finds each acknowledged transaction in the WAL: from then on the state at any position is known.
function Havoc:read_order(w)
  local committed = {}
  for c in w:commits() do
    committed[c.xid & 0xFFFFFFFF] = c.lsn
  end
  for _, entry in ipairs(self.ops) do
    entry.lsn = assert(committed[entry.xid & 0xFFFFFFFF], "an acknowledged commit is not in the archive")
  end
  for _, v in ipairs(self.victims) do
    v.lsn = v.xid and assert(committed[v.xid & 0xFFFFFFFF], "an accident is not in the archive")
  end
end

-- What the accident did to an op's row in its table, when it committed before `at`.
local function destroyed(v, entry, at)
  if not v.lsn or v.lsn >= at then
    return false
  end
  local kind, effect = v.kind, v.effect
  return kind.gone or (kind.wiped and entry.lsn < v.lsn) or (effect.removed and effect.removed[entry.op])
end

local function amount_of(v, op, at)
  local zeroed = v.lsn and v.lsn < at and v.effect.zeroed
  return zeroed and zeroed[op] and 0 or 1
end

-- The rows each table must hold at a position: { journal = { op = amount }, v01 = ... }; no entry: no such table.
local function expected_at(self, at)
  local tables = { journal = {} }
  for _, v in ipairs(self.victims) do
    local gone = v.kind.gone and v.lsn and v.lsn < at
    if not v.kind.database and not gone then
      local rows = {}
      for op = -LOADED, -1 do
        if not destroyed(v, { op = op, lsn = lsn "0/0" }, at) then
          rows[op] = amount_of(v, op, at)
        end
      end
      tables[v.table] = rows
    end
  end
  for _, entry in ipairs(self.ops) do
    if entry.lsn < at then
      tables.journal[entry.op] = 1
      local v = entry.victim
      if v and tables[v.table] and not destroyed(v, entry, at) then
        tables[v.table][entry.op] = amount_of(v, entry.op, at)
      end
    end
  end
  return tables
end

local TABLES = [[
SELECT CASE nspname WHEN 'public' THEN relname ELSE nspname || '.' || relname END AS name
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE relkind = 'r' AND (relname ~ '^v\d\d$' OR nspname ~ '^v\d\d$' OR relname = 'journal')]]

local function found_on(node)
  local db <close> = node:connect { dbname = havoc.database }
  local tables = {}
  for _, row in ipairs(db:query(TABLES)) do
    local amount = row.name == "journal" and "1" or "amount"
    local rows = {}
    local text = db:value(("SELECT string_agg(op || ':' || %s, ' ') FROM %s"):format(amount, row.name)) or ""
    for op, value in text:gmatch "(-?%d+):(%d+)" do
      rows[math.tointeger(tonumber(op))] = math.tointeger(tonumber(value))
    end
    tables[row.name] = rows
  end
  return tables
end

local function differences(expected, found)
  local problems = {}
  local function add(text, ...)
    problems[#problems + 1] = text:format(...)
  end
  for name, rows in pairs(expected) do
    local there = found[name]
    if not there then
      add("table %s is missing", name)
    else
      local lost, extra, changed = 0, 0, 0
      for op, amount in pairs(rows) do
        lost = lost + (there[op] == nil and 1 or 0)
        changed = changed + (there[op] ~= nil and there[op] ~= amount and 1 or 0)
      end
      for op in pairs(there) do
        extra = extra + (rows[op] == nil and 1 or 0)
      end
      if lost + extra + changed > 0 then
        add("%s: %d rows lost, %d extra, %d changed", name, lost, extra, changed)
      end
    end
  end
  for name in pairs(found) do
    if not expected[name] then
      add("table %s should be gone", name)
    end
  end
  return problems
end

-- The accident's own traces that are no rows of its table.
local function probe(node, v)
  if v.kind.database then
    local db <close> = node:connect { dbname = v.name }
    local rows = db:value "SELECT count(*) FROM t"
    return rows ~= LOADED and ("database %s holds %d rows of %d"):format(v.name, rows, LOADED)
  elseif v.kind.probe then
    local db <close> = node:connect { dbname = havoc.database }
    local value = db:value((v.kind.probe[1]:gsub("%$t", v.table):gsub("%$n", v.name)))
    return tostring(value) ~= tostring(v.kind.probe[2])
      and ("%s says %s, expected %s"):format(v.kind.probe[1], tostring(value), v.kind.probe[2])
  end
end

--- Holds a restored server against the ledger at a position: every commit before it, none after, nothing of
-- accident `v`. Returns a list of problems, empty when all is right, and how many commits were expected.
function Havoc:judge(node, v, at)
  local expected = expected_at(self, at)
  local problems = differences(expected, task.with_timeout("60s", found_on, node))
  local ok, trace = pcall(probe, node, v)
  if trace then
    problems[#problems + 1] = ok and trace or tostring(trace)
  end
  local commits = 0
  for _ in pairs(expected.journal) do
    commits = commits + 1
  end
  return problems, commits
end

return havoc
