-- Completion at the prompt, without a terminal: what is offered for a line, and how quickly.

local complete = require "rpitr.core.repl.complete"

-- Looks like a node to the prompt; no server is needed to complete its methods.
local Node = { __name = "rpitr.Node" }
Node.__index = Node
function Node.stop() end
function Node.start() end
function Node.run_program() end

local function session()
  return {
    env = { pg = setmetatable({ name = "pg" }, Node), rows = 1 },
    tables = { "orders", "order_items" },
    command_names = { sql = true, psql = true },
  }
end

-- The candidates for a line, without what the list shows beside them.
local function offered(line)
  local start, found = complete.at(session(), line, #line)
  local words = {}
  for i, word in ipairs(found) do
    words[i] = word:match "^[^\t]*"
  end
  return words, start
end

local function contains(list, word)
  for _, other in ipairs(list) do
    if other == word then
      return true
    end
  end
  return false
end

test.describe("completion", function()
  test.it("names, fields and functions", function()
    local words, start = offered "x = pit"
    test.equal(words, { "pitr" })
    test.equal(start, 4)
    test.equal(offered "pitr.resto", { "restore" })
    test.ok(contains(offered "ro", "rows"))
    test.ok(not contains(offered "drill.", "execute"), "what is not for scripts is not offered")
  end)

  test.it("methods of handles, without internal ones", function()
    test.equal(offered "pg:st", { "start", "stop" })
    test.equal(offered "pg:r", {})
  end)

  test.it("what a call gives", function()
    test.ok(contains(offered "lab.postgres():", "connect"))
    test.ok(contains(offered "lab.postgres { version = 17 }:", "connect"))
    test.ok(contains(offered "pg:connect():co", "copy_in"))
    test.ok(not contains(offered "lab.postgres():", "name"), "fields are not called")
    test.ok(contains(offered "lab.postgres().", "name"))
  end)

  test.it("option keys that are not given yet", function()
    test.equal(offered "pitr.backup(pg, { l", { "label = " })
    local others = offered "pitr.backup(pg, { label = 'x', "
    test.ok(contains(others, "verify = ") and not contains(others, "label = "))
    test.ok(contains(offered "lab.postgres { ", "version = "))
    test.ok(contains(offered "pg:stop('fast', { ", "timeout = "))
    local _, found = complete.at(session(), "pitr.backup(pg, { l", 19)
    test.equal(found, { "label = \tlabel  string" })
  end)

  test.it("keys of a table inside the options", function()
    local words = offered "pitr.restore(pg, { to = { "
    test.ok(contains(words, "lsn = ") and contains(words, "inclusive = "))
    test.ok(not contains(words, "to = "))
    test.ok(contains(offered "pitr.restore(pg, { to = { lsn = '0/1' }, ", "action = "))
  end)

  test.it("tables and commands", function()
    test.equal(offered "pg:query 'SELECT * FROM order", { "order_items", "orders" })
    test.equal(offered ":sq", { "sql" })
  end)

  test.it("takes less than 50 ms", function()
    offered "pitr."
    local started = timer.now()
    for _ = 1, 10 do
      offered "pitr.restore(pg, { "
      offered "lab.postgres():"
      offered "p"
    end
    -- Thirty of them, in a build without optimisation on a machine that is busy.
    test.ok((timer.now() - started) / 30 < 0.05)
  end)
end)
