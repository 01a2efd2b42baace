-- Primary, standby and base backup ready, against the time PostgreSQL's own programs took for it
-- (overlapping work counted once). Goal: <= 1.3 x.

local stopwatch = require "rpitr.core.stopwatch"

local started = timer.now()
local primary = lab.postgres { name = "primary" }
task.all {
  function()
    return pitr.backup(primary)
  end,
  function()
    return lab.standby(primary)
  end,
}
local wall, busy = timer.now() - started, stopwatch.busy()

for _, program in ipairs(stopwatch.list()) do
  print(("  %-18s %6.3f s"):format(program.name, program.seconds))
end
print(("set-up: wall %.2f s, PostgreSQL's programs %.2f s, ratio %.2f (goal <= 1.3)"):format(wall, busy, wall / busy))
