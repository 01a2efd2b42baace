--- Writers for chaos and stress runs: `workload.writers` is the public name.
---
--- Each transaction writes two tables in one round trip, with an operation id nobody else has. The
--- writers run on a thread of their own; every operation is in the log before the next one begins.

local host = ...
local args = require "rpitr.core.args"
local range = require "rpitr.core.range"
local timer = require "rpitr.timer"

local writers = {}

writers.database = "writers"

local SCHEMA = [[
DROP TABLE IF EXISTS operations, entries;
CREATE TABLE operations (
  op bigint PRIMARY KEY,
  items int NOT NULL,
  note text NOT NULL,
  xid xid8 NOT NULL DEFAULT pg_current_xact_id()
);
CREATE TABLE entries (
  op bigint NOT NULL,
  n int NOT NULL,
  payload text NOT NULL,
  PRIMARY KEY (op, n)
)]]

local SPEC = {
  n = { "integer", 8 },
  rows = { "any", "1..3" },
  think = { "any", "0..10ms" },
  payload = { "any", "10..200" },
  deadline = { "duration", 5 },
  rollback = { "number", 0.02 },
  savepoint = { "number", 0.05 },
  synchronous_commit = "string?",
}

---@class rpitr.workload.CrewOptions
---@field n? integer  (default 8) writers
---@field rows? integer|string  (default "1..3") rows in the second table for each in the first
---@field think? rpitr.chaos.Range  (default "0..10ms") pause between two operations, a duration or a range
---@field payload? integer|string  (default "10..200") bytes of text a row
---@field deadline? rpitr.Duration  (default "5s") after this an operation is given up
---@field rollback? number  (default 0.02) share of the transactions that end that way
---@field savepoint? number  (default 0.05) share of the transactions that work that way
---@field synchronous_commit? string  the session's setting: "remote_apply"; default: the server's

-- Describes a crew, as plain data; nothing is started.
---@param options? rpitr.workload.CrewOptions
---@return rpitr.workload.WritersSpec
function writers.spec(options)
  local spec = args.options("workload.writers", options, SPEC)
  spec.rows = range.integers("workload.writers: rows", spec.rows, 1)
  spec.think = range.seconds("workload.writers: think", spec.think)
  spec.payload = range.integers("workload.writers: payload", spec.payload, 0)
  return spec
end

-- Creates the writers' database and its two tables on a node; those of earlier writers go.
function writers.init(pg)
  pg:create_database(writers.database)
  local db <close> = pg:connect { dbname = writers.database }
  db:exec(SCHEMA)
end

--- Small writers at work; closable, which stops them.
---@class rpitr.Writers
---@field pg rpitr.Node
---@field log string  file of the log
---@field spec rpitr.workload.WritersSpec
---@field package handle userdata
---@field package started number
---@field package ended? number
local Crew = { __name = "rpitr.Writers" }
Crew.__index = Crew

local function connection_of(pg, spec, endpoint)
  local at = endpoint or pg:client_endpoint()
  return {
    host = at.host,
    port = tostring(at.port),
    user = at.user or pg:endpoint().user,
    dbname = writers.database,
    passfile = host.lab_passfile(pg.lab.handle),
    application_name = "rpitr writer",
    options = spec.synchronous_commit and "-c synchronous_commit=" .. spec.synchronous_commit or nil,
  }
end

-- Starts writers against a node that holds the tables `writers.init` made. With the log of a crew that was killed they go
-- on where it was: numbers and contents of operations are what would have come next. `endpoint`: reach the server there
-- instead, through a proxy for example.
function writers.start(pg, spec, options)
  local described = { seed = options.seed or host.options.seed }
  for key, value in pairs(spec) do
    described[key] = value
  end
  local handle = host.writers_start(connection_of(pg, spec, options.endpoint), described, options.log)
  return setmetatable({ handle = handle, pg = pg, log = options.log, spec = spec, started = host.now() }, Crew)
end

---@class rpitr.workload.WritersStats
---@field acknowledged integer  operations, those of earlier crews in the same log included
---@field before integer  of these, the operations of earlier crews
---@field failed integer  that the server refused
---@field indeterminate integer  whose outcome nobody knows
---@field sessions integer  connections that were made
---@field refused integer  connections that were refused
---@field waited number  seconds spent waiting for answers
---@field slowest number  seconds the slowest answer took
---@field finished boolean  whether all writers have ended
---@field seconds number  since the start, until they were stopped
---@field rate number  acknowledged operations a second, of this crew

--- What was done so far.
---@return rpitr.workload.WritersStats
function Crew:stats()
  local stats = host.writers_stats(self.handle)
  stats.seconds = (self.ended or host.now()) - self.started
  stats.rate = stats.seconds > 0 and (stats.acknowledged - stats.before) / stats.seconds or 0
  return stats
end

--- Holds the writers after the operations they are in.
function Crew:pause()
  host.writers_pause(self.handle, true)
end

--- Lets held writers go on.
function Crew:resume()
  host.writers_pause(self.handle, false)
end

---@class rpitr.workload.WritersWaitOptions
---@field timeout? rpitr.Duration  (default "60s")

--- Waits until `n` more operations were acknowledged. What ended the writers is raised.
---@param n integer
---@param options? rpitr.workload.WritersWaitOptions
---@error timeout, io, arg
function Crew:wait(n, options)
  local opts = args.options("writers:wait", options, { timeout = { "duration", 60 } })
  local goal = self:stats().acknowledged + n
  timer.eventually(function()
    local stats = host.writers_stats(self.handle)
    if stats.finished and not self.ended then
      -- Raises what ended it.
      self:stop()
    end
    return stats.acknowledged >= goal
  end, { timeout = opts.timeout, every = 0.01, describe = n .. " acknowledged operations" })
end

--- Ends the writers; each finishes the operation it is in, or gives it up at its deadline.
---@error io  the log could not be written
function Crew:stop()
  self.ended = self.ended or host.now()
  host.writers_stop(self.handle)
end

---@class rpitr.workload.WaitGoneOptions
---@field patience? rpitr.Duration  (default "10s") sessions that outlive it are ended

--- Waits until the server has no session of a writer left: what was given up cannot commit later.
---@param options? rpitr.workload.WaitGoneOptions
---@error timeout, arg
function Crew:wait_gone(options)
  local opts = args.options("writers:wait_gone", options, { patience = { "duration", 10 } })
  local left = [[SELECT count(*) FROM pg_stat_activity WHERE application_name = 'rpitr writer']]
  local polite = host.now() + opts.patience
  timer.eventually(function()
    if host.now() > polite then
      self.pg:value [[SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                      WHERE application_name = 'rpitr writer']]
    end
    return self.pg:value(left) == 0
  end, { timeout = opts.patience + 30, every = 0.05, describe = "the end of the writers' sessions" })
end

function Crew:__close()
  self:stop()
end

return writers
