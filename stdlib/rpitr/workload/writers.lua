--- Writers for chaos and stress runs: `workload.writers` is the public name.
--
-- Each transaction writes two tables in one round trip, with an operation id nobody else has. The
-- writers run on a thread of their own; every operation is in the log before the next one begins.

local host = ...
local args = require "rpitr.core.args"
local range = require "rpitr.core.range"
local timer = require "rpitr.timer"

local writers = {}

writers.database = "writers"

local SCHEMA = [[
CREATE TABLE IF NOT EXISTS operations (
  op bigint PRIMARY KEY,
  items int NOT NULL,
  note text NOT NULL,
  xid xid8 NOT NULL DEFAULT pg_current_xact_id()
);
CREATE TABLE IF NOT EXISTS entries (
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

--- Describes a crew, as plain data; nothing is started.
function writers.spec(options)
  local spec = args.options("workload.writers", options, SPEC)
  spec.rows = range.integers("workload.writers: rows", spec.rows, 1)
  spec.think = range.seconds("workload.writers: think", spec.think)
  spec.payload = range.integers("workload.writers: payload", spec.payload, 0)
  return spec
end

--- Creates the writers' database and its two tables on a node, unless they are there.
function writers.init(pg)
  pg:create_database(writers.database)
  local db <close> = pg:connect { dbname = writers.database }
  db:exec(SCHEMA)
end

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

--- Starts writers against a node. With a log of a crew that was killed, they go on where it was: numbers and contents
-- of operations are what would have come next.
-- @param pg node  holding the tables `writers.init` made
-- @param spec table  from `writers.spec`
-- @param options { log = string, seed = integer?, endpoint = { host, port }? }  `endpoint`: reach the
--   server there instead, through a proxy for example
function writers.start(pg, spec, options)
  local opts = args.options("writers.start", options, { log = "string", seed = "integer?", endpoint = "table?" })
  local described = { seed = opts.seed or host.options.seed }
  for key, value in pairs(spec) do
    described[key] = value
  end
  local handle = host.writers_start(connection_of(pg, spec, opts.endpoint), described, opts.log)
  return setmetatable({ handle = handle, pg = pg, log = opts.log, spec = spec, started = host.now() }, Crew)
end

--- { acknowledged, failed, indeterminate, sessions, refused, waited, slowest, seconds, rate }: counts,
-- seconds, and acknowledged operations a second. Counts include those of earlier crews in the same log, the rate does not.
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

--- Waits until `n` more operations were acknowledged.
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

--- Ends the writers; each finishes the operation it is in, or gives it up at its deadline. Raises
-- when the log could not be written.
function Crew:stop()
  self.ended = self.ended or host.now()
  host.writers_stop(self.handle)
end

--- Waits until the server has no session of a writer left: what was given up cannot commit later.
-- Sessions that outlive `patience` are ended.
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
