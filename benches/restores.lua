-- Restores a minute, one at a time and two side by side: a base of about 22 MB, over 100 MB of WAL behind it, targets
-- anywhere in it. Each restore copies the base, replays to its target, opens the server and reads every row; all of
-- them are judged afterwards. Goal: >= 45 a minute one at a time on two cores.

local bundle_of = require "rpitr.chaos.bundle"
local targets = require "rpitr.chaos.targets"

local COUNT, SECONDS = tonumber(arg[1] or 20), tonumber(arg[2] or 10)

local primary <close> = lab.postgres { conf = { max_wal_size = "4GB", checkpoint_timeout = "1h" } }
local dir = lab.info().folder .. "/bench"
local from = primary:lsn()
local result = chaos
  .run({
    cluster = { primary = primary },
    dir = dir,
    duration = SECONDS,
    workload = chaos.writers { think = 0, payload = "50..150" },
    targets = chaos.targets { restores = COUNT, adversarial = 0, parallel = 1 },
  })
  :assert()
local wal = primary:value("SELECT $1::pg_lsn - $2::pg_lsn", tostring(primary:lsn()), tostring(from))
local base = pitr.catalog(primary)[1].bytes

local bundle = bundle_of.open(dir)
-- What is restored already would not be restored again.
for _, name in ipairs(fs.list(bundle:path "restores")) do
  fs.remove(bundle:path("restores/" .. name))
end
local list = bundle:draw("side by side", COUNT, 0)
local started = timer.now()
targets.restore_all(bundle, primary, list, 2)
local parallel = timer.now() - started
assert(bundle:judge().verdict == "pass", "a restore was not exact")

local function a_minute(seconds)
  return COUNT / seconds * 60
end

print(
  ("base %s, WAL %s, %d operations, %d restores each, all exact"):format(
    report.bytes(base),
    report.bytes(math.floor(tonumber(tostring(wal)))),
    result.stats.acknowledged,
    COUNT
  )
)
print(
  ("one at a time %5.1f a minute (goal >= 45)   two side by side %5.1f a minute"):format(
    a_minute(result.restore_seconds),
    a_minute(parallel)
  )
)
