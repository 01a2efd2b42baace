--- Writers that place orders, and put every one on record. `workload.start` is the public name.

local host, internal = ...
local args = require "rpitr.core.args"
local ledger = require "rpitr.workload.ledger"
local random = require "rpitr.random"
local shop = require "rpitr.workload.shop"
local task = require "rpitr.task"

local orders = {}

local INSERT_ORDER = [[
WITH placed AS (
  INSERT INTO orders (customerId, totalAmount) VALUES ($1, $2) RETURNING orderId
)
INSERT INTO operations (operation, orderId, items)
SELECT $3, orderId, $4 FROM placed
RETURNING orderId, xid, pg_current_wal_insert_lsn() AS lsn]]

local INSERT_ITEM = [[
INSERT INTO orderItems (orderId, productId, quantity, pricePerUnit) VALUES ($1, $2, $3, $4)]]

-- The text an order's hash is made of; see `workload.canonical`.
function orders.canonical(operation, customer, total, items)
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
    hash = host.sha256(orders.canonical(operation, customer, money(total), items)),
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

local function is_refusal(e)
  return e.kind == "sql" and e.code and not e.code:match "^08" and not e.code:match "^57P"
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
    entry.outcome = (entry.committing and not is_refusal(e)) and "unknown" or "failed"
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
      local db <close> = pg:connect { dbname = shop.database, application_name = "writer " .. writer }
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

--- Writers at work; closable, which abandons them.
---@class rpitr.Load
---@field clients integer
---@field acknowledged integer  orders the server acknowledged so far
---@field failed integer  orders that were refused, or whose outcome is unknown
---@field errors table<string, integer>  how often each SQLSTATE or kind of error came up
---@field writers rpitr.Task[]
---@field paused? boolean  set it to hold the writers
---@field package ledger_ rpitr.Ledger
---@field package event userdata
---@field package stopping? boolean
---@field package started number
---@field package stopped? number
---@field package pause_between number
---@field package products integer
---@field package customers integer
---@field package reconnect boolean
---@field package draw rpitr.random.Generator
local Load = { __name = "rpitr.Load" }
Load.__index = Load

-- Starts writers; see `workload.start`.
function orders.start(pg, options)
  local opts = args.options("workload.start", options, {
    clients = { "integer", 4 },
    rate = { "number", 400 },
    ledger = "string?",
    first = { "integer", 1 },
    reconnect = { "boolean", false },
  })
  local db <close> = pg:connect { dbname = shop.database }
  local load = setmetatable({
    clients = opts.clients,
    pause_between = opts.rate > 0 and opts.clients / opts.rate or 0,
    products = db:value "SELECT count(*)::int FROM products",
    customers = db:value "SELECT count(*)::int FROM customers",
    ledger_ = ledger.open(opts.ledger),
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

---@class rpitr.workload.WaitOptions
---@field timeout? rpitr.Duration  (default "30s")

--- Waits until `n` more orders were acknowledged. A writer that ended raises its error.
---@param n integer
---@param options? rpitr.workload.WaitOptions
---@error timeout, sql, arg
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
---@param n integer
---@param options? rpitr.workload.WaitOptions
---@error timeout, arg
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
---@error sql
function Load:stop()
  self.stopping = true
  host.event_notify(self.event)
  for _, writer in ipairs(self.writers) do
    writer:join()
  end
  self.stopped = self.stopped or host.now()
end

--- Stops the writers without waiting for answers they may never get. What was sent and not
--- answered is "unknown" in the ledger. Raises nothing: that a writer lost its server is in the ledger, too.
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

---@class rpitr.workload.Stats
---@field acknowledged integer
---@field failed integer
---@field errors table<string, integer>  by SQLSTATE or kind of error
---@field seconds number  since the start, until it was stopped
---@field rate number  acknowledged orders a second

--- What was done so far.
---@return rpitr.workload.Stats
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

--- The ledger, which goes on growing while the writers write.
---@return rpitr.Ledger
function Load:ledger()
  return self.ledger_
end

return orders
