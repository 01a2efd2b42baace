--- The shop's database: its tables, the course's rows, and more of them. `workload.init` is the public name.

local host = ...
local args = require "rpitr.core.args"
local stopwatch = require "rpitr.core.stopwatch"

local shop = {}

-- Beside a standing environment the drill has a database of its own.
shop.database = host.options.lab and "statelessCommerce_drill" or "statelessCommerce"

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
  pg:create_database(shop.database)
  local db <close> = pg:connect { dbname = shop.database }
  db:exec(SCHEMA)
  if scale > 0 then
    for _, statement in ipairs(SCALE) do
      db:exec(statement, scale)
    end
  end
  db:exec "ANALYZE"
end

-- Creates the database; see `workload.init`.
function shop.init(pg, options)
  local opts = args.options("workload.init", options, { scale = { "integer", 1 } })
  stopwatch.run("load data", load_data, pg, opts.scale)
end

return shop
