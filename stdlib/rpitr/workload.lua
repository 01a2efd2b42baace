--- A shop that takes orders while the drill runs, and a ledger of every commit it was promised.
--
-- `workload.init` creates the statelessCommerce database of the recovery course. `workload.start`
-- runs concurrent writers; each order is one transaction over several tables. Every operation is
-- written to a ledger outside the database: what was sent, what the server acknowledged, the
-- transaction id, bounds of its WAL position, a hash of its content. `verify.ledger` holds a
-- database against it.

local host, internal = ...
local args = require "rpitr.core.args"
local json = require "rpitr.json"
local random = require "rpitr.random"
local stopwatch = require "rpitr.core.stopwatch"
local task = require "rpitr.task"
local writers = require "rpitr.workload.writers"

local workload = {}

-- Beside a standing environment the drill has a database of its own.
workload.database = host.options.lab and "statelessCommerce_drill" or "statelessCommerce"

local SCHEMA = [[
CREATE TABLE customers (
  customerId serial PRIMARY KEY,
  firstName varchar(50),
  lastName varchar(50),
  email varchar(100) UNIQUE,
  registrationDate timestamp DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE products (
  productId serial PRIMARY KEY,
  productName varchar(100),
  category varchar(50),
  price numeric(10, 2)
);
CREATE TABLE orders (
  orderId serial PRIMARY KEY,
  customerId int REFERENCES customers (customerId),
  orderDate timestamp DEFAULT CURRENT_TIMESTAMP,
  totalAmount numeric(10, 2)
);
CREATE TABLE orderItems (
  orderItemId serial PRIMARY KEY,
  orderId int REFERENCES orders (orderId),
  productId int REFERENCES products (productId),
  quantity int,
  pricePerUnit numeric(10, 2)
);
CREATE INDEX ON orderItems (orderId);
-- What ties an order to the ledger. It references orders only, so a TRUNCATE of products that
-- cascades does not reach it.
CREATE TABLE operations (
  operation bigint PRIMARY KEY,
  orderId int NOT NULL REFERENCES orders (orderId),
  items int NOT NULL,
  xid xid8 NOT NULL DEFAULT pg_current_xact_id()
);
CREATE INDEX ON operations (orderId);

INSERT INTO customers (firstName, lastName, email) VALUES
  ('Alice', 'Smith', 'alice.smith@example.com'),
  ('Bob', 'Johnson', 'bob.johnson@example.com');
INSERT INTO products (productName, category, price) VALUES
  ('Laptop Pro', 'Electronics', 1200.00),
  ('Wireless Mouse', 'Electronics', 25.50),
  ('Mechanical Keyboard', 'Electronics', 75.00),
  ('Data Engineering Essentials', 'Books', 49.99);
INSERT INTO orders (customerId, totalAmount) VALUES (1, 1225.50), (2, 124.99);
INSERT INTO orderItems (orderId, productId, quantity, pricePerUnit) VALUES
  (1, 1, 1, 1200.00), (1, 2, 1, 25.50), (2, 4, 1, 49.99), (2, 3, 1, 75.00);
]]

-- `scale` adds a thousand customers and orders and a hundred products a unit to the course's rows.
local SCALE = {
  [[INSERT INTO customers (firstName, lastName, email)
    SELECT 'First' || n, 'Last' || n % 97, 'customer' || n || '@example.com'
    FROM generate_series(1, $1::int * 1000) n]],
  [[INSERT INTO products (productName, category, price)
    SELECT 'Product ' || n, 'Category ' || n % 7, 1 + n % 500 + 0.99
    FROM generate_series(1, $1::int * 100) n]],
  [[INSERT INTO orders (customerId, totalAmount)
    SELECT 1 + n % (2 + $1::int * 1000), 1 + n % 900
    FROM generate_series(1, $1::int * 1000) n]],
  [[INSERT INTO orderItems (orderId, productId, quantity, pricePerUnit)
    SELECT 2 + (n + 1) / 2, 1 + n % (4 + $1::int * 100), 1 + n % 5, 1 + n % 500
    FROM generate_series(1, $1::int * 2000) n]],
}

local function load_data(pg, scale)
  pg:create_database(workload.database)
  local db <close> = pg:connect { dbname = workload.database }
  db:exec(SCHEMA)
  if scale > 0 then
    for _, statement in ipairs(SCALE) do
      db:exec(statement, scale)
    end
  end
  db:exec "ANALYZE"
end

--- Creates the database and its rows on a node.
-- @param pg node
-- @param options { scale = integer? }  1: about 4 000 rows; 0: only the course's own rows
function workload.init(pg, options)
  local opts = args.options("workload.init", options, { scale = { "integer", 1 } })
  stopwatch.run("load data", load_data, pg, opts.scale)
end

-- The ledger ---------------------------------------------------------------------------------------

local Ledger = { __name = "rpitr.Ledger" }
Ledger.__index = Ledger

local function open_ledger(path)
  local file = path and io.open(path, "a") or nil
  if path and not file then
    internal.raise({ kind = "io", message = "cannot write the ledger " .. path }, 2)
  end
  if file then
    file:setvbuf "line"
  end
  return setmetatable({ path = path, file = file, entries = {} }, Ledger)
end

function Ledger:add(entry)
  self.entries[#self.entries + 1] = entry
end

-- Written when the outcome is known, one line an operation: whatever kills rpitr later, the line
-- stays.
function Ledger:settle(entry)
  if self.file then
    self.file:write(json.encode(entry), "\n")
  end
end

--- The operations with this outcome: "ok", "failed" or "unknown"; all without one.
function Ledger:list(outcome)
  local list = {}
  for _, entry in ipairs(self.entries) do
    if outcome == nil or entry.outcome == outcome then
      list[#list + 1] = entry
    end
  end
  return list
end

-- Writers ------------------------------------------------------------------------------------------

local INSERT_ORDER = [[
WITH placed AS (
  INSERT INTO orders (customerId, totalAmount) VALUES ($1, $2) RETURNING orderId
)
INSERT INTO operations (operation, orderId, items)
SELECT $3, orderId, $4 FROM placed
RETURNING orderId, xid, pg_current_wal_insert_lsn() AS lsn]]

local INSERT_ITEM = [[
INSERT INTO orderItems (orderId, productId, quantity, pricePerUnit) VALUES ($1, $2, $3, $4)]]

--- The text an order's hash is made of; `verify` builds the same from the rows it finds.
function workload.canonical(operation, customer, total, items)
  local parts = { ("%d|%d|%s"):format(operation, customer, total) }
  for _, item in ipairs(items) do
    parts[#parts + 1] = ("%d x %d @ %s"):format(item.product, item.quantity, item.price)
  end
  return table.concat(parts, ";")
end

local function money(cents)
  return ("%d.%02d"):format(cents // 100, cents % 100)
end

-- An order with one to three items, or, one time in four, an empty basket: it touches no product,
-- so the shop still takes it after the catalogue is gone.
local function invent(load, writer, sequence)
  local draw = load.draw
  local items, total = {}, 0
  local count = draw(4) == 1 and 0 or draw(3)
  for i = 1, count do
    local cents, quantity = draw(100, 50000), draw(5)
    items[i] = { product = draw(load.products), quantity = quantity, price = money(cents), cents = cents }
    total = total + cents * quantity
  end
  table.sort(items, function(a, b)
    if a.product ~= b.product then
      return a.product < b.product
    elseif a.cents ~= b.cents then
      return a.cents < b.cents
    end
    return a.quantity < b.quantity
  end)
  local operation = writer * 1000000000 + sequence
  local customer = draw(load.customers)
  return {
    operation = operation,
    customer = customer,
    total = money(total),
    items = items,
    hash = host.sha256(workload.canonical(operation, customer, money(total), items)),
  }
end

-- A wait for a synchronous standby that was cancelled ends with a warning, and with COMMIT all the same: it is
-- committed here, and nobody promised that it is anywhere else.
local function committed_alone(db)
  for _, notice in ipairs(db:notices()) do
    if notice.severity == "WARNING" and notice.code == "01000" then
      return true
    end
  end
  return false
end

local function place(db, order, entry)
  db:exec "BEGIN"
  local row = db:row(INSERT_ORDER, order.customer, order.total, order.operation, #order.items)
  entry.order, entry.xid, entry.lsn_low = row.orderid, row.xid, row.lsn
  for _, item in ipairs(order.items) do
    db:exec(INSERT_ITEM, row.orderid, item.product, item.quantity, item.price)
  end
  entry.committing = true
  db:exec "COMMIT"
  entry.committing = nil
  entry.outcome = committed_alone(db) and "unknown" or "ok"
  entry.lsn_high = db:value "SELECT pg_current_wal_insert_lsn()"
end

local function attempt(load, db, writer, sequence)
  local order = invent(load, writer, sequence)
  local entry = {
    operation = order.operation,
    customer = order.customer,
    total = order.total,
    items = #order.items,
    hash = order.hash,
    sent = tostring(host.time_now()),
  }
  load.ledger_:add(entry)
  local ok, e = xpcall(place, internal.as_error, db, order, entry)
  entry.answered = tostring(host.time_now())
  if entry.outcome == "ok" then
    load.acknowledged = load.acknowledged + 1
  elseif ok then
    entry.error = "01000"
    load.failed = load.failed + 1
  else
    -- Once COMMIT was sent, only an error the server itself reported says that it did not happen.
    local refused = e.kind == "sql" and e.code and not e.code:match "^08" and not e.code:match "^57P"
    entry.outcome = (entry.committing and not refused) and "unknown" or "failed"
    entry.error = e.code or e.kind
    load.failed = load.failed + 1
  end
  entry.committing = nil
  load.ledger_:settle(entry)
  host.event_notify(load.event)
  if not ok then
    -- With its server gone there is nothing to roll back, and a second error would hide the first.
    if e.kind ~= "sql" or db:is_closed() then
      error(e, 0)
    end
    load.errors[entry.error] = (load.errors[entry.error] or 0) + 1
    db:exec "ROLLBACK"
  end
end

local function write_on(load, db, writer, count)
  while not load.stopping do
    while load.paused and not load.stopping do
      host.event_wait(load.event)
    end
    if load.stopping then
      break
    end
    attempt(load, db, writer, count())
    if load.pause_between > 0 then
      host.sleep(load.pause_between * (0.5 + load.draw()))
    end
  end
end

local function write_orders(load, pg, writer)
  local sequence = 0
  local function count()
    sequence = sequence + 1
    return sequence
  end
  repeat
    local ok, e = xpcall(function()
      local db <close> = pg:connect { dbname = workload.database, application_name = "writer " .. writer }
      write_on(load, db, writer, count)
    end, internal.as_error)
    if not ok then
      if e.kind ~= "sql" or not load.reconnect then
        error(e, 0)
      end
      host.sleep(0.05)
    end
  until ok or load.stopping
end

local Load = { __name = "rpitr.Load" }
Load.__index = Load

--- Starts concurrent writers against a node.
-- @param pg node  holding the database `workload.init` created
-- @param options { clients = integer?, rate = number?, ledger = string?, first = 1, reconnect = false }
--   `rate` is orders a second over all clients (default 400); `ledger` a file to append to; `first`: number
--   of the first writer. A second workload on the same database needs writers of its own. `reconnect`: a
--   writer that loses the server tries again until the workload is stopped, as an application would.
-- @return Load with :stop(), :stats(), :ledger(), :wait_orders(n); closing it stops the writers
function workload.start(pg, options)
  local opts = args.options("workload.start", options, {
    clients = { "integer", 4 },
    rate = { "number", 400 },
    ledger = "string?",
    first = { "integer", 1 },
    reconnect = { "boolean", false },
  })
  local db <close> = pg:connect { dbname = workload.database }
  local load = setmetatable({
    clients = opts.clients,
    pause_between = opts.rate > 0 and opts.clients / opts.rate or 0,
    products = db:value "SELECT count(*)::int FROM products",
    customers = db:value "SELECT count(*)::int FROM customers",
    ledger_ = open_ledger(opts.ledger),
    acknowledged = 0,
    failed = 0,
    reconnect = opts.reconnect,
    errors = {},
    event = host.event_new(),
    writers = {},
    started = host.now(),
    draw = random.new "workload",
  }, Load)
  for i = 1, opts.clients do
    load.writers[i] = task.spawn(write_orders, load, pg, opts.first + i - 1)
  end
  return load
end

--- Waits until `n` more orders were acknowledged.
function Load:wait_orders(n, options)
  local opts = args.options("load:wait_orders", options, { timeout = { "duration", 30 } })
  local goal = self.acknowledged + n
  task.with_timeout(opts.timeout, function()
    while self.acknowledged < goal do
      for _, writer in ipairs(self.writers) do
        if writer:done() and not writer.ok then
          writer:join()
        end
      end
      host.event_wait(self.event)
    end
  end)
end

--- Waits until `n` more orders were refused: the shop notices that something is wrong.
function Load:wait_failures(n, options)
  local opts = args.options("load:wait_failures", options, { timeout = { "duration", 30 } })
  local goal = self.failed + n
  task.with_timeout(opts.timeout, function()
    while self.failed < goal do
      host.event_wait(self.event)
    end
  end)
end

--- Stops the writers; each finishes the order it is placing. Raises what ended one early.
function Load:stop()
  self.stopping = true
  host.event_notify(self.event)
  for _, writer in ipairs(self.writers) do
    writer:join()
  end
  self.stopped = self.stopped or host.now()
end

--- Stops the writers without waiting for answers they may never get. What was sent and not
-- answered is "unknown" in the ledger. Raises nothing: that a writer lost its server is in the ledger, too.
function Load:abandon()
  self.stopping = true
  host.event_notify(self.event)
  for _, writer in ipairs(self.writers) do
    writer:cancel()
    pcall(writer.join, writer)
  end
  self.stopped = self.stopped or host.now()
end

Load.__close = Load.abandon

--- { acknowledged, failed, errors, seconds, rate }
function Load:stats()
  local seconds = (self.stopped or host.now()) - self.started
  return {
    acknowledged = self.acknowledged,
    failed = self.failed,
    errors = self.errors,
    seconds = seconds,
    rate = seconds > 0 and self.acknowledged / seconds or 0,
  }
end

--- The ledger: `list(outcome)` and `entries`.
function Load:ledger()
  return self.ledger_
end

-- Writers for chaos and stress ---------------------------------------------------------------------

--- Starts many small writers, each operation on record in a log that survives any kill of rpitr:
-- `send` before it goes out, then `ok`, `fail` or `info` (nobody knows) with the server's clock and WAL
-- positions around the commit. Creates the database they write on first use.
-- @param pg node
-- @param options { log = string, n = 8, rows = "1..3", think = "0..10ms", payload = "10..200",
--   deadline = "5s", rollback = 0.02, savepoint = 0.05, synchronous_commit = string?, seed = integer? }
--   `rows` in the second table for each in the first; `think` between two operations; `payload` bytes of
--   text a row; `rollback`, `savepoint`: shares of the transactions that end, or work, that way
-- @return writers with :stats(), :wait(n), :pause(), :resume(), :stop(); closing stops them
-- @error arg, io
function workload.writers(pg, options)
  local opts = {}
  for key, value in pairs(options or {}) do
    opts[key] = value
  end
  local log, seed = opts.log, opts.seed
  opts.log, opts.seed = nil, nil
  args.check("workload.writers", "option log", log, "string")
  local spec = writers.spec(opts)
  if not pg:value("SELECT true FROM pg_database WHERE datname = $1", writers.database) then
    writers.init(pg)
  end
  return writers.start(pg, spec, { log = log, seed = seed })
end

return workload
