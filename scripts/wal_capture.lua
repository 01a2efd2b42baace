--- Capture the WAL of a primary and lose the primary: what is left, and how much of it.
--
-- Two ways take WAL off a server. `archive_command` hands over a segment when it is full: whatever is in the segment that
-- is being written dies with the machine. A receiver (pg_receivewal) streams every record as it is written, like a
-- standby does, and needs no PostgreSQL of its own. Its replication slot makes the primary keep what the receiver has not
-- got, so nothing is missed while either of them is down. The price: a receiver that stays away fills the primary's disk.
-- `max_slot_wal_keep_size` bounds that, and then the slot is lost instead.
--
-- How much can be lost is a choice. By default pg_receivewal writes at once, but flushes and reports only now and then:
-- a commit is acknowledged whether the receiver has it or not. With --synchronous the receiver flushes and reports each
-- write, the primary waits for it before it acknowledges a commit, and nothing acknowledged is lost with the primary; but
-- nothing can be committed either while the receiver is away. (`synchronous_commit = remote_apply` never works with a
-- receiver: it applies nothing.)
--
-- Beside it runs the manager: a catalogue of what was captured, in SQLite, mirrored to a table of the primary. It reads
-- every segment, record by record, because a directory listing says nothing about what is in the files. It is what
-- `rpitr wal watch` keeps on a real machine; it may be killed at any moment.

-- Defects that a drill of this kind must catch, for its own test.
local DEFECTS = { "none", "deleted-segment", "flipped-byte", "truncated-file", "foreign-name" }

local plant = {
  ["deleted-segment"] = "rm '%s'",
  ["flipped-byte"] = "printf '\\252\\125\\252' | dd of='%s' bs=1 seek=70001 conv=notrunc 2>/dev/null",
  ["truncated-file"] = "head -c 300000 '%s' >'%s.new' && mv '%s.new' '%s'",
  ["foreign-name"] = "cp '%s' '%s.copy'",
}

-- Damages the second of the captured segments.
local function damage(receiver, defect, segments)
  local file = receiver.data .. "/" .. segments[2].name
  receiver:exec { "sh", "-c", (plant[defect]:gsub("%%s", (file:gsub("%%", "%%%%")))) }
  return segments[2].name
end

local function complete_ones(catalogue)
  local found = {}
  for _, segment in ipairs(catalogue:list()) do
    if segment.state == "verified" then
      found[#found + 1] = segment
    end
  end
  return found
end

-- Everything from the backup on, in one piece.
local function unbroken(segments, from)
  local at
  for _, segment in ipairs(segments) do
    if segment.end_lsn > from then
      if at and segment.start_lsn ~= at or not at and segment.start_lsn > from then
        return false, tostring(at or from)
      end
      at = segment.end_lsn
    end
  end
  return at ~= nil, "nothing was captured"
end

return drill "wal_capture" {
  summary = "A receiver and a catalogue survive what happens to them; the primary does not, and its WAL is restored.",
  tags = { "capture", "pitr" },
  args = {
    synchronous = { false, "commits wait until the receiver has them on disk: no acknowledged commit can be lost" },
    orders = { 150, "orders taken between two events", min = 1 },
    version = { 0, "PostgreSQL major version; 0 is the newest installed", min = 0 },
    plant = {
      "none",
      "a defect to plant in the captured WAL, which must be named: " .. table.concat(DEFECTS, ", "),
      choices = DEFECTS,
    },
  },
  budget = "10m",
  expect = { "problems == 0", "captured_lost == 0" },

  run = function(d, arg)
    lab.needs_own "it loses the primary and plants damage in captured WAL"
    local primary, receiver, base

    d:step("a primary that archives nothing, a receiver, a base backup", function()
      primary = lab.postgres {
        name = "primary",
        archive = false,
        version = arg.version > 0 and arg.version or nil,
        wal_segment_size = "1MB",
      }
      receiver = lab.receiver(primary, { synchronous = arg.synchronous })
      workload.init(primary, { scale = 0 })
      base = pitr.backup(primary, { label = "base" })
      d:say(
        "Slot %s, %s; backup complete at %s.",
        receiver.slot,
        arg.synchronous and "synchronous" or "asynchronous",
        base.stop_lsn
      )
    end)
    local watch <close> = archive.watch(receiver, { every = "300ms", mirror = true })
    local shop <close> = workload.start(primary, {
      clients = 4,
      reconnect = true,
      ledger = lab.info().folder .. "/ledger.jsonl",
    })

    d:step("orders come in: how far is capture behind?", function()
      shop:wait_orders(arg.orders)
      local lag = receiver:receiver_lag()
      d:record { rpo_bytes = lag.bytes }
      d:say(
        "The primary is at %s. The receiver has written up to %s, flushed up to %s.",
        lag.primary,
        lag.written,
        lag.flushed
      )
      d:say("RPO now: %s, what the receiver has not reported to be on its disk.", report.bytes(lag.bytes))
    end)

    d:step("the receiver is killed and started again", function()
      receiver:kill()
      d:check("it is gone", receiver:status() == "crashed")
      local before = shop:stats().acknowledged
      if arg.synchronous then
        timer.sleep "500ms"
        local during = shop:stats().acknowledged - before
        d:check("nothing is committed without it", during <= 4, during .. " orders were acknowledged")
      else
        shop:wait_orders(arg.orders)
        d:say("Orders go on; the slot keeps %s of WAL for it.", report.bytes(receiver:receiver_lag().bytes or 0))
      end
      receiver:start()
      shop:wait_orders(arg.orders)
      receiver:wait_received()
    end)

    d:step("the primary is restarted", function()
      primary:restart()
      -- pg_receivewal tries again every five seconds; meanwhile a synchronous primary commits nothing.
      shop:wait_orders(arg.orders, { timeout = "60s" })
      receiver:wait_received()
      d:say "The receiver came back by itself and went on where it was."
    end)

    d:step("the catalogue: every segment read, none missing", function()
      receiver:complete_segment()
      watch:look()
      if arg.plant ~= "none" then
        d:say("Planted: %s, in %s.", arg.plant, damage(receiver, arg.plant, complete_ones(watch.catalogue)))
      end
      local scan = watch:look()
      d:record { segments = scan.totals.segments, captured_bytes = scan.totals.bytes, problems = #scan.problems }
      d:say(
        "%d segments, %s, %d verified.",
        scan.totals.segments,
        report.bytes(scan.totals.bytes),
        scan.totals.verified
      )
      for _, problem in ipairs(scan.problems) do
        d:check(("%s is as it should be"):format(problem.name), false, problem.kind .. ": " .. problem.reason)
      end
      d:check("no gap, no damage, no stranger", #scan.problems == 0)
      local whole, at = unbroken(complete_ones(watch.catalogue), base.start_lsn)
      d:check("from the backup on the WAL is in one piece", whole, not whole and "broken at " .. at or nil)
      -- Segments go on arriving; the copy follows with each look.
      local same = pcall(eventually, function()
        local verified = watch:look().totals.verified
        return primary:value "SELECT count(*) FROM rpitr.wal_segments WHERE state = 'verified'" == verified
      end, { timeout = "30s", describe = "the table on the primary" })
      d:check("the table on the primary says the same", same)
    end)
    if not d:passing() then
      return d:say "What is captured would not restore. That is known now, not on the day it is needed."
    end

    local tail = d:step("the primary is lost under load; what was being received is saved", function()
      shop:wait_orders(arg.orders // 3)
      primary:kill()
      shop:stop()
      local taken = archive.snapshot(receiver)
      d:say("%s: %d commits, up to %s (%s).", taken.segment, taken.commits, taken.upto, taken.ended)
      return taken
    end)

    local restored = d:step("restore from the receiver alone, up to the last record it has", function()
      local node = d:measure("rto", pitr.restore, primary, { to = "latest", wal = tail, name = "target" })
      d:say(pitr.describe(node))
      return node
    end)

    d:step("what was lost?", function()
      local captured =
        verify.ledger(restored, shop:ledger(), { archive = receiver.data, from = base.start_lsn, tail = tail.file })
      d:record { captured_lost = #captured.lost + #captured.torn + #captured.altered + #captured.extra }
      d:check(
        "everything that was captured is there, nothing else",
        verify.describe(captured) == nil,
        verify.describe(captured)
      )
      local promised = verify.ledger(restored, shop:ledger())
      d:record { rpo_transactions = #promised.lost, acknowledged = shop:stats().acknowledged }
      d:say("%d of %d acknowledged orders are lost.", #promised.lost, shop:stats().acknowledged)
      if arg.synchronous then
        d:check("no acknowledged order is lost", #promised.lost == 0, verify.describe(promised))
      else
        d:say "Without --synchronous nobody promised otherwise: an acknowledged commit may not have left the primary yet."
      end
    end)
  end,
}
