--- A shop that takes orders while the drill runs, and a ledger of every commit it was promised.
---
--- `workload.init` creates the statelessCommerce database of the recovery course. `workload.start`
--- runs concurrent writers; each order is one transaction over several tables. Every operation is
--- written to a ledger outside the database: what was sent, what the server acknowledged, the
--- transaction id, bounds of its WAL position, a hash of its content. `verify.ledger` holds a
--- database against it.
---@class rpitr.workload
local workload = {}

local args = require "rpitr.core.args"
local orders = require "rpitr.workload.orders"
local shop = require "rpitr.workload.shop"
local writers = require "rpitr.workload.writers"

--- Name of the shop's database. Beside a standing environment the drill has one of its own.
---@type string
workload.database = shop.database

---@class rpitr.workload.InitOptions
---@field scale? integer  (default 1) about 4 000 rows each; 0: only the course's own rows

--- Creates the database and its rows on a node.
---
--- ```lua
--- local shop <close> = lab.postgres { name = "example_init" }
--- workload.init(shop, { scale = 0 })
--- local db <close> = shop:connect { dbname = workload.database }
--- assert(db:value "SELECT count(*) FROM products" == 4)
--- ```
---@param pg rpitr.Node
---@param options? rpitr.workload.InitOptions
---@error sql, arg
workload.init = shop.init

---@class rpitr.workload.StartOptions
---@field clients? integer  (default 4) concurrent writers
---@field rate? number  (default 400) orders a second over all clients; 0: as fast as they can
---@field ledger? string  a file to append the ledger to
---@field first? integer  (default 1) number of the first writer; a second workload on the same database needs writers of its own
---@field reconnect? boolean  (default false) a writer that loses the server tries again until the workload is stopped, as an application would

--- Starts concurrent writers against a node.
---
--- ```lua
--- local shop <close> = lab.postgres { name = "example_load" }
--- workload.init(shop)
--- local load <close> = workload.start(shop, { clients = 2 })
--- load:wait_orders(10)
--- load:stop()
--- print(load:stats().acknowledged, #load:ledger():list "ok")
--- ```
---@param pg rpitr.Node  holding the database `workload.init` created
---@param options? rpitr.workload.StartOptions
---@return rpitr.Load
---@error sql, io, arg
workload.start = orders.start

--- The text an order's hash is made of; `verify` builds the same from the rows it finds.
---
--- ```lua
--- local items = { { product = 3, quantity = 2, price = "9.50" } }
--- assert(workload.canonical(7, 1, "19.00", items) == "7|1|19.00;3 x 2 @ 9.50")
--- ```
---@param operation integer
---@param customer integer
---@param total string
---@param items { product: integer, quantity: integer, price: string }[]  by product, then price, then quantity
---@return string
workload.canonical = orders.canonical

--- What many small writers do, as plain data: from `chaos.writers`, ranges as pairs of numbers.
---@class rpitr.workload.WritersSpec
---@field n integer
---@field rows integer[]
---@field think number[]  seconds
---@field payload integer[]  bytes
---@field deadline number  seconds
---@field rollback number
---@field savepoint number
---@field synchronous_commit? string

---@class rpitr.workload.WritersOptions: rpitr.workload.CrewOptions
---@field log string  a file, to which every operation is appended
---@field seed? integer  default: the run's

--- Starts many small writers, each operation on record in a log that survives any kill of rpitr:
--- `send` before it goes out, then `ok`, `fail` or `info` (nobody knows) with the server's clock and WAL
--- positions around the commit. Creates the database they write on first use.
---
--- ```lua
--- local writers <close> = workload.writers(pg, { log = lab.info().folder .. "/example.jsonl", n = 2 })
--- writers:wait(20)
--- writers:stop()
--- print(writers:stats().rate)
--- ```
---@param pg rpitr.Node
---@param options rpitr.workload.WritersOptions
---@return rpitr.Writers
---@error arg, io
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
