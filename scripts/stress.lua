--- Many writers, no faults: does the WAL keep the order of the commits, and is recovery exact?
--
-- A client that writes a row stamped with the time of its INSERT and later restores to that time
-- will not find the row: what counts for recovery is the commit record, which comes after. Between the
-- two, other transactions commit; and the time in a commit record is read before the record is
-- inserted, so that times may even run backwards in the log. Checks built on `created_at <= T`
-- therefore fail on a healthy server, and pass on some broken ones.
--
-- This script holds recovery against what it promises: a target cuts the log at one record, and
-- everything before that record is there, everything behind it is not. Eight writers work without a
-- pause, each operation goes on record outside the database before the next begins. Then targets
-- are drawn: anywhere, and where it hurts (two commits in one microsecond, inversions, segment
-- edges, right behind the backup). Each is judged by two oracles that know nothing of each other, and
-- some are restored for real.

return drill "stress" {
  summary = "Writers under full load; the WAL's order and recovery to any moment are proved.",
  tags = { "chaos", "pitr", "stress" },
  args = {
    duration = { "10s", "how long the writers work" },
    writers = { 8, "concurrent writers", min = 1 },
    think = { "0..4ms", "pause between two operations of a writer" },
    targets = { 1000, "targets judged on the bundle", min = 0 },
    restores = { 12, "targets restored for real", min = 0 },
    parallel = { 2, "restores at a time", min = 1 },
    segment = { "1MB", "size of a WAL segment" },
    version = { 0, "PostgreSQL major version; 0 is the newest installed", min = 0 },
    bundle = { "", "keep the bundle in this folder; rpitr verify judges it again" },
  },
  budget = "60m",
  expect = { "operations >= 1000", "lost == 0", "phantom == 0", "torn == 0", "altered == 0" },

  run = function(d, arg)
    lab.needs_own "it fills the primary with as much as it takes"
    local primary = d:step("a server with an archive", function()
      return lab.postgres { wal_segment_size = arg.segment, version = arg.version > 0 and arg.version or nil }
    end)

    local result = d:step(
      ("%d writers for %s, then %d restores"):format(arg.writers, arg.duration, arg.restores),
      function()
        return chaos.run {
          cluster = { primary = primary },
          duration = arg.duration,
          workload = chaos.writers { n = arg.writers, think = arg.think },
          targets = chaos.targets { bundle = arg.targets, restores = arg.restores, parallel = arg.parallel },
          dir = arg.bundle ~= "" and arg.bundle or nil,
        }
      end
    )

    local verdict, run = result.verdict, result.verdict.run
    d:say(
      "%d operations a second; the slowest took %s. %d commits share their microsecond with the one before, %d run backwards.",
      math.floor(result.stats.rate),
      report.seconds(result.stats.slowest),
      run.ties,
      run.inversions
    )
    d:say(result.text)
    chaos.record(d, result)
    d:check("the verdict is a pass", result:passed(), verdict.verdict)
  end,
}
