--- Restore from captured WAL: up to an LSN or a time, with the segment that was still being received.
--
-- The scene: nobody set up archive_command. A receiver (pg_receivewal) pulls the WAL of the primary into its own
-- folder, and there is a base backup. Somebody deletes half of the orders. The mistake is a minute old, so it is in
-- the segment that is being written at this moment, and the receiver has it as `<segment>.partial`.
--
-- PostgreSQL's recovery never asks for a `.partial`. Renaming it by hand works, and is how people lose data: the file
-- changes while it is copied, its end may be torn, and a recovery without a target takes a torn end for the end of the
-- WAL. Here the file is copied, read record by record, cut behind the last good record and described (`archive.snapshot`);
-- recovery gets the copy under the segment's name, after the last complete segment and nowhere else. The target is
-- looked up in the WAL first: if it is not reached, nothing is started.
--
-- The restore target is a server of its own, in a sandbox: it archives nothing, follows nobody, and its data directory
-- is its own. The original is never touched, whatever happens here. A managed service restores "to the latest restorable
-- time", which is typically some minutes ago: the segments it has shipped. Those minutes are what the snapshot holds.

local THE_MISTAKE = "DELETE FROM operations WHERE operation % 2 = 0"

-- Defects that a drill of this kind must catch, for its own test.
local DEFECTS = { "none", "late", "delete-row", "no-tail", "torn-tail" }

-- The moment before the mistake, in the ways PostgreSQL offers.
local function target_of(arg, moment, mistake)
  if arg.plant == "late" then
    return { lsn = mistake.lsn, inclusive = true }
  end
  local ways = { lsn = pitr.before(mistake), time = { time = moment, inclusive = true } }
  return ways[arg.to] or arg.to
end

local function forget_a_row(node)
  local db <close> = node:connect { dbname = workload.database }
  db:exec "DELETE FROM operations WHERE operation = (SELECT max(operation) FROM operations)"
end

-- A byte in the middle of what the snapshot holds.
local function tear(receiver, tail)
  local middle = (tail.upto - tail.begins) // 2
  receiver:exec {
    "sh",
    "-c",
    ("printf '\\377\\377\\377\\377' | dd of='%s' bs=1 seek=%d conv=notrunc 2>/dev/null"):format(tail.file, middle),
  }
end

local function same_prints(before, after)
  for name, print_ in pairs(before) do
    if not after[name] or after[name].hash ~= print_.hash then
      return false, name
    end
  end
  return true
end

return drill "restore" {
  summary = "A mistake in WAL that is still being received; restore to the instant before it, from the receiver alone.",
  tags = { "pitr", "capture" },
  args = {
    to = {
      "lsn",
      "lsn or time: just before the mistake; or a target of your own such as lsn:0/3000148",
      check = function(to)
        return to == "lsn" or to == "time" or pitr.target(to)
      end,
    },
    orders = { 200, "orders taken before the mistake", min = 1 },
    synchronous = { false, "commits wait until the receiver has them on disk" },
    version = { 0, "PostgreSQL major version; 0 is the newest installed", min = 0 },
    plant = {
      "none",
      "a defect to plant, which the proof must catch: " .. table.concat(DEFECTS, ", "),
      choices = DEFECTS,
    },
  },
  budget = "10m",
  expect = { "orders_lost == 0", "orders_extra == 0", "rows_only_in_partial > 0" },

  run = function(d, arg)
    lab.needs_own "it destroys the primary whose receiver it restores from"
    local primary, receiver, base

    d:step("a primary, a receiver of its WAL, a base backup", function()
      primary = lab.postgres {
        name = "primary",
        archive = false,
        version = arg.version > 0 and arg.version or nil,
        wal_segment_size = "4MB",
      }
      receiver = lab.receiver(primary, { synchronous = arg.synchronous })
      workload.init(primary, { scale = 0 })
      base = pitr.backup(primary, { label = "base" })
      d:say("Backup complete at %s; the receiver streams through slot %s.", base.stop_lsn, receiver.slot)
    end)

    local shop <close> = workload.start(primary, { clients = 4, ledger = lab.info().folder .. "/ledger.jsonl" })
    d:step("orders come in; a segment is completed, the next one begun", function()
      shop:wait_orders(arg.orders // 2)
      local name = receiver:complete_segment()
      shop:wait_orders(arg.orders // 2)
      d:say("%s is complete. Everything since then is in the partial segment only.", name)
    end)

    local moment, xid
    d:step("the mistake: every second order loses its operation", function()
      shop:stop()
      moment = primary:value "SELECT clock_timestamp()"
      local db <close> = primary:connect { dbname = workload.database }
      xid = db:tx(function()
        db:exec(THE_MISTAKE)
        return db:value "SELECT pg_current_xact_id()"
      end)
      receiver:wait_received()
    end)
    local original = verify.fingerprint(primary)

    local tail = d:step("a snapshot of the segment that is being received", function()
      local taken = archive.snapshot(receiver)
      d:say("%s: %d commits, up to %s.", taken.segment, taken.commits, taken.upto)
      d:say("Reading ended there because: %s. SHA-256 %s.", taken.ended, taken.sha256:sub(1, 16))
      d:record { snapshot_commits = taken.commits }
      return taken
    end)
    local mistake = pitr.commit_of(primary, xid, { wal = tail })
    local window = { upto = mistake.lsn, archive = receiver.data, from = base.start_lsn, tail = tail.file }

    d:step("without it, the moment is out of reach", function()
      local ok, refusal = pcall(pitr.plan, primary, { to = pitr.before(mistake), wal = receiver.data })
      d:check(
        "a restore from complete segments alone is refused before it starts",
        not ok and refusal.code == "not_reached"
      )
      d:say("%s", ok and "It was not." or refusal.message)
      -- What only the partial segment holds: committed in it, before the mistake.
      local complete =
        #verify.given_up(shop:ledger(), { upto = tail.begins, archive = window.archive, from = window.from })
      local given_up = #verify.given_up(shop:ledger(), window)
      d:record { rows_only_in_partial = complete - given_up }
      d:say("%d acknowledged orders are nowhere else.", complete - given_up)
    end)

    local restored = d:step("restore into the restore target", function()
      local wal = tail
      if arg.plant == "torn-tail" then
        tear(receiver, tail)
      elseif arg.plant == "no-tail" then
        wal = receiver.data
      end
      local target = target_of(arg, moment, mistake)
      local ok, node = pcall(pitr.restore, primary, { to = target, wal = wal, name = "target" })
      d:check("the restore target was recovered and promoted", ok, not ok and node.message or nil)
      if ok then
        d:say(pitr.describe(node))
        return node
      end
    end)
    if restored then
      d:step("prove it, row by row", function()
        if arg.plant == "delete-row" then
          forget_a_row(restored)
        end
        local diff = verify.ledger(restored, shop:ledger(), window)
        d:record { orders_lost = #diff.lost + #diff.torn + #diff.altered, orders_extra = #diff.extra }
        d:check(
          ("all %d orders acknowledged before the mistake are there, and nothing else"):format(diff.expected),
          verify.describe(diff) == nil,
          verify.describe(diff)
        )
        local broken = verify.constraints(restored)
        d:check("every foreign key holds", #broken == 0, verify.list(broken))
        d:check("it takes writes", restored:value "SELECT NOT pg_is_in_recovery()")
      end)
    end

    d:step("the original was not touched", function()
      local same, differs = same_prints(original, verify.fingerprint(primary))
      d:check("every table of the original is as it was, mistake included", same, differs)
      d:check("the original still takes writes on its own timeline", primary:timeline() == base.timeline)
      local captured = archive.catalogue(receiver):scan()
      d:check(
        "the captured WAL is whole",
        #captured.problems == 0,
        captured.problems[1] and captured.problems[1].reason
      )
    end)
  end,
}
