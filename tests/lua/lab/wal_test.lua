-- The wal module on WAL a real server wrote: streams, counts, gaps, damage, names.

local support = require "support"

local SMALL = { segment_size = "1MB" }

-- An archive of several small segments with commits, a rollback, a prepared and a sub-transaction.
local history = support.once(function()
  local pg = support.primary { conf = { max_prepared_transactions = 5 } }
  local db <close> = pg:connect()
  db:exec "CREATE TABLE log (n int PRIMARY KEY, filler text)"
  local h = { pg = pg, commits = {} }
  for n = 1, 5 do
    h.commits[n] = support.commit(db, n)
    if n == 3 then
      db:exec "SELECT pg_create_restore_point('after-three')"
    end
    pg:flush_archive()
  end
  h.parent = db:tx(function()
    db:exec "SAVEPOINT a"
    h.subxact = db:value "INSERT INTO log VALUES (6) RETURNING xmin::text::bigint"
    db:exec "RELEASE a"
    return db:value "SELECT pg_current_xact_id()"
  end)
  db:exec "BEGIN"
  db:exec "INSERT INTO log VALUES (7)"
  h.prepared = db:value "SELECT pg_current_xact_id()"
  db:exec "PREPARE TRANSACTION 'seven'"
  db:exec "COMMIT PREPARED 'seven'"
  db:exec "BEGIN"
  db:exec "INSERT INTO log VALUES (8)"
  h.aborted = db:value "SELECT pg_current_xact_id()"
  db:exec "ROLLBACK"
  pg:flush_archive()
  h.archive = pg.archive
  return h
end)

local function list(stream)
  local found = {}
  for item in stream do
    found[#found + 1] = item
  end
  return found
end

local function only(w, options)
  local found = list(w:commits(options))
  test.equal(#found, 1)
  return found[1]
end

test.describe("commits", function()
  test.it("come in WAL order and agree with what the server said", function()
    local h = history()
    local w <close> = wal.open(h.pg)
    local last
    for c in w:commits() do
      test.ok(last == nil or last < c.lsn, "commits out of order")
      test.ok(c.lsn < c.end_lsn and c.committed and c.timeline == 1)
      last = c.lsn
    end
    for _, made in ipairs(h.commits) do
      test.ok(only(w, { xid = made.xid }).time <= made.after)
    end
  end)

  test.it("find a transaction by its subtransaction, name prepared ones, and show aborts when asked", function()
    local h = history()
    local w <close> = wal.open(h.archive)
    test.equal(only(w, { xid = h.subxact }).xid, h.parent)
    local prepared = only(w, { xid = h.prepared })
    test.equal({ prepared.prepared, prepared.committed }, { true, true })
    test.equal(#list(w:commits { xid = h.aborted }), 0)
    test.equal(only(w, { xid = h.aborted, aborted = true }).committed, false)
  end)

  test.it("are bounded by positions, the upper one exclusive, and by times", function()
    local h = history()
    local w <close> = wal.open(h.archive)
    local two, four = only(w, { xid = h.commits[2].xid }), only(w, { xid = h.commits[4].xid })
    local between = list(w:commits { from = two.lsn, to = four.lsn })
    test.equal({ between[1].xid, between[#between].xid }, { h.commits[2].xid, h.commits[3].xid })
    local timed = list(w:commits { from = two.time, to = tostring(four.time) })
    test.equal({ timed[1].xid, timed[#timed].xid }, { h.commits[2].xid, h.commits[4].xid })
  end)

  test.it("can be left early, and streams outlive nothing", function()
    local w <close> = wal.open(history().archive)
    for _ in w:commits() do
      break
    end
    local stream <close> = w:records()
    test.ok(stream().lsn < stream().lsn)
    stream:close()
    test.equal(stream(), nil)
  end)
end)

test.describe("records", function()
  test.it("are those pg_waldump lists", function()
    local h = history()
    local w <close> = wal.open(h.archive)
    local _, _, from = wal.segment_of(only(w, { xid = h.commits[1].xid }).lsn, SMALL)
    local first = wal.name(from, 1, SMALL)
    local dump = h.pg:exec { "pg_waldump", "--path=" .. h.archive, first, check = false }
    local expected = {}
    for rmgr, start in dump.stdout:gmatch "rmgr: (%S+)%s+len[^\n]-lsn: (%x+/%x+)" do
      expected[#expected + 1] = rmgr .. " " .. tostring(lsn(start))
    end
    local found = {}
    for r in w:records { from = from, to = from + (1 << 20) } do
      found[#found + 1] = r.rmgr .. " " .. tostring(r.lsn)
    end
    test.ok(#expected > 5, "pg_waldump listed " .. #expected)
    test.equal(found, expected)
  end)

  test.it("add up to the statistics", function()
    local w <close> = wal.open(history().archive)
    local stats, counted = w:stats(), { records = 0, heap = 0 }
    for r in w:records() do
      counted.records = counted.records + 1
      counted.heap = counted.heap + (r.rmgr == "Heap" and 1 or 0)
    end
    test.equal({ stats.total.records, stats.managers.Heap.records }, { counted.records, counted.heap })
    test.ok(stats.total.image_bytes > 0 and stats.first < stats.last)
  end)
end)

test.describe("the whole", function()
  test.it("is told in order", function()
    local w <close> = wal.open(history().archive)
    local story = w:timeline()
    local names = {}
    for i, e in ipairs(story) do
      names[#names + 1] = e.what == "restore point" and e.detail or nil
      test.ok(i == 1 or story[i - 1].lsn <= e.lsn)
    end
    test.equal(names, { "after-three" })
    test.equal({ story.finish.damage, story.chain }, { false, { 1 } })
    test.ok(story.commits > 7)
  end)

  test.it("is sound, and a missing or damaged segment is named", function()
    local h = history()
    local w <close> = wal.open(h.archive)
    test.equal({ #w:gaps(), #w:verify() }, { 0, 0 })
    local name = wal.name(only(w, { xid = h.commits[3].xid }).lsn, 1, SMALL)
    local path = h.archive .. "/" .. name

    support.while_damaged(path, fs.remove, function()
      local gap = w:gaps()[1]
      test.equal({ gap.first, gap.last, gap.segments, gap.timeline }, { name, name, 1, 1 })
      test.equal({ w:verify()[1].kind, w:verify()[1].file }, { "missing", name })
      local e = test.raises(function()
        list(w:commits())
      end, { kind = "wal", match = name })
      test.equal(e.code, "missing_segment")
    end)
  end)

  test.it("raises at damage after what lies before it", function()
    local h = history()
    local w <close> = wal.open(h.archive)
    local c = only(w, { xid = h.commits[4].xid })
    local name = wal.name(c.lsn, 1, SMALL)
    local _, offset = wal.segment_of(c.lsn, SMALL)
    support.while_damaged(h.archive .. "/" .. name, function(path)
      support.patch(path, offset + 30, "\xff\x00\xff")
    end, function()
      local seen
      local e = test.raises(function()
        for found in w:commits() do
          seen = found.xid
        end
      end, { kind = "wal", match = name })
      test.equal({ e.code, seen }, { "crc", h.commits[3].xid })
      test.equal({ w:verify()[1].kind, w:verify()[1].file }, { "corrupt", name })
    end)
  end)
end)

test.describe("names and errors", function()
  test.it("convert positions", function()
    test.equal(wal.name("0/3000148", 1), "000000010000000000000003")
    test.equal(wal.name("1/0", 10, { segment_size = "1GB" }), "0000000A0000000100000000")
    local number, offset, start = wal.segment_of "0/3000148"
    test.equal({ number, offset, tostring(start) }, { 3, 0x148, "0/3000000" })
    test.raises(function()
      wal.name("0/1", 1, { segment_size = "3MB" })
    end, { kind = "arg", hint = "power of two" })
  end)

  test.it("name what is wrong", function()
    test.raises(function()
      wal.open "/no/such/folder"
    end, { kind = "arg", match = "/no/such/folder" })
    test.raises(function()
      wal.open "lab:nobody"
    end, { kind = "arg", match = "nobody" })
    local w = wal.open(history().archive)
    test.raises(function()
      w:commits { form = "0/1" }
    end, { kind = "arg", match = "form" })
    test.raises(function()
      w:commits { from = "2026-01-01 00:00:00" }
    end, { kind = "arg", match = "offset" })
    w:close()
    test.raises(function()
      w:stats()
    end, { kind = "state", match = "closed" })
  end)
end)
