--- NAME: faults while writers work, then proof that no acknowledged commit was lost.
--
-- A fault is plain data: chaos.kill_tree "primary". The run draws a schedule from the seed, so that
-- `rpitr NAME.lua --seed 7` strikes at the same moments every time. Each operation of a writer is on
-- record outside the database before the next one begins; recovery to drawn moments is held against
-- that record. docs/faults.md lists the faults.

return drill "NAME" {
  summary = "Faults while writers work, then proof that no acknowledged commit was lost.",
  tags = { "chaos" },
  args = {
    duration = { "15s", "how long the writers work" },
    every = { "2..4s", "pause before each fault, a duration or a range" },
    writers = { 4, "concurrent writers" },
    restores = { 2, "moments that are restored for real" },
  },
  budget = "15m",
  expect = { "lost == 0", "phantom == 0", "torn == 0", "altered == 0" },

  run = function(d, arg)
    -- A primary behind proxies, so that its network can fail, and a standby.
    local cluster = d:step("a primary and a standby", function()
      return chaos.cluster {}
    end)

    local result = d:step("writers for " .. arg.duration .. ", and faults", function()
      return chaos.run {
        cluster = cluster,
        duration = arg.duration,
        every = arg.every,
        workload = chaos.writers { n = arg.writers, think = "0..10ms" },
        faults = {
          -- SIGKILL for every process of the server: what a power cut does.
          chaos.kill_tree "primary",
          -- The standby stands still; nothing it is sent is lost.
          chaos.pause("standby", "1..2s"),
          -- The server commits, and the client never hears of it.
          chaos.ack_loss("client", { probability = 0.05, duration = "1..2s" }),
          -- Two pushes of WAL to the archive fail.
          chaos.archive_fail { count = 2, duration = "1..2s" },
        },
        targets = chaos.targets { bundle = 200, restores = arg.restores },
      }
    end)

    d:say(result.text)
    -- Records lost, phantom, torn and altered operations, and how long healing took.
    chaos.record(d, result)
    d:check("the verdict is a pass", result:passed(), result.verdict.verdict)
  end,
}
