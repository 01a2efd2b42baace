-- Damaged archives, with a target and without: what is wrong is named, nothing is promoted, nothing
-- is left running, the original is untouched.

local support = require "support"

local SEGMENT = 1024 ^ 2

-- A backup, and four segments of commits after it: one commit a segment, in its middle.
local shop = support.once(function()
  local pg = support.primary()
  local db <close> = pg:connect()
  db:exec "CREATE TABLE log (n int PRIMARY KEY, filler text)"
  local base = pitr.backup(pg, { label = "base" })
  local s = { pg = pg, base = base, segments = {}, commits = {} }
  for n = 1, 4 do
    s.commits[n] = support.commit(db, n)
    s.segments[n] = pg:flush_archive()
    s.commits[n].lsn = pitr.commit_of(pg, s.commits[n].xid).lsn
  end
  s.before = support.tree(pg.archive)
  return s
end)

local function path_of(name)
  return shop().pg.archive .. "/" .. name
end

-- The offset of commit `n` in its segment.
local function offset_of(n)
  return (shop().commits[n].lsn - lsn "0/0") % math.tointeger(SEGMENT)
end

local damages = {
  missing = function(path)
    fs.remove(path)
  end,
  truncated = function(path)
    fs.write(path, fs.read(path):sub(1, 500000))
  end,
  empty = function(path)
    fs.write(path, "")
  end,
  ["bit-flipped"] = function(path)
    local at = offset_of(2)
    support.patch(path, at + 30, string.char(support.byte(path, at + 30) ~ 4))
  end,
  ["zero-filled"] = function(path)
    support.patch(path, 0, ("\0"):rep(math.tointeger(SEGMENT)))
  end,
  ["zeroed from a page on"] = function(path)
    support.patch(path, offset_of(2) // 8192 * 8192, ("\0"):rep(8192))
  end,
  -- Page headers have no checksum: this is what a segment of another cluster looks like.
  ["of another cluster"] = function(path)
    support.patch(path, 24, "\1\2\3\4\5\6\7\8")
  end,
  ["another segment's"] = function(path)
    fs.write(path, fs.read(path_of(shop().segments[4])))
  end,
}

local names = {}
for name in pairs(damages) do
  names[#names + 1] = name
end
table.sort(names)

local attempts = 0

-- A restore that must fail, name the segment, and leave nothing running.
local function fails_naming(to, segment)
  attempts = attempts + 1
  local name = "attempt" .. attempts
  local e = test.raises(function()
    pitr.restore(shop().pg, { to = to, name = name })
  end)
  local text = table.concat({ e.message, e.detail or "", e.hint or "" }, "\n")
  test.ok(text:find(segment, 1, true), "the error does not name " .. segment .. ":\n" .. text)
  test.ok(e.kind == "wal" or e.kind == "archive", e.kind)
  test.equal(support.processes("/" .. name .. "/"), {})
  return e
end

for _, name in ipairs(names) do
  test.describe("a segment that is " .. name, function()
    for _, to in ipairs { "a time", "a transaction", "a position", "latest" } do
      test.it("refuses recovery to " .. to .. " behind it", function()
        local s = shop()
        local targets = {
          ["a time"] = { time = s.commits[3].after },
          ["a transaction"] = { xid = s.commits[3].xid },
          ["a position"] = pitr.before(s.commits[4]),
          latest = "latest",
        }
        support.while_damaged(path_of(s.segments[2]), damages[name], function()
          fails_naming(targets[to], s.segments[2])
        end)
      end)
    end
  end)
end

test.describe("a segment behind the target", function()
  for _, name in ipairs { "missing", "bit-flipped", "of another cluster" } do
    test.it("does not stand in the way when it is " .. name, function()
      local s = shop()
      support.while_damaged(path_of(s.segments[3]), damages[name], function()
        local node <close> = support.restore(s.pg, { to = { xid = s.commits[2].xid } })
        test.equal(support.rows(node), "1 2")
      end)
    end)
  end
end)

-- archive-fetch is the second line: a server whose archive went bad after the plan was made must not
-- take the bad segment for the end of the WAL.
test.describe("damage that appears after the plan was made", function()
  local healthy = support.once(function()
    return support.restore(shop().pg, { to = { xid = shop().commits[1].xid }, action = "pause" })
  end)

  -- What `pitr.restore` lays out, with the plan of a healthy archive.
  local function lay_out(node)
    local s = shop()
    local plan = pitr.plan(s.pg, { to = "latest" })
    node:exec { "cp", "--archive", plan.backup.folder, node.data }
    node:exec { "sh", "-c", 'cd "$1" && rm -rf pg_wal/* && touch recovery.signal', "sh", node.data }
    local settings = {
      restore_command = healthy():setting "restore_command",
      archive_mode = "off",
      fsync = "off",
      recovery_target_action = "promote",
    }
    for key, value in pairs(plan.settings) do
      settings[key] = value
    end
    node:write_conf(settings)
  end

  for _, name in ipairs { "missing", "bit-flipped", "truncated", "of another cluster" } do
    test.it("ends recovery instead of a promotion: " .. name, function()
      local s = shop()
      local node = lab.sandbox { name = "late-" .. name:gsub("%W", "-") }
      lay_out(node)
      support.while_damaged(path_of(s.segments[2]), damages[name], function()
        local e = test.raises(function()
          node:start { wait = "ready" }
        end, { kind = "postgres", match = "did not start" })
        test.ok(e.detail:find("FATAL", 1, true), e.detail)
      end)
      test.equal(node:logs { grep = "archive recovery complete" }, "")
      test.ok(node:status() ~= "running")
    end)
  end
end)

test.describe("timelines", function()
  -- A promoted restore whose history and WAL somebody copied into the archive.
  local child = support.once(function()
    local s = shop()
    local node <close> = support.restore(s.pg, { to = { xid = s.commits[2].xid }, name = "child" })
    local folder = node:new_archive()
    node:stop()
    node:archive_into(folder)
    node:start()
    local db <close> = node:connect()
    local commit = support.commit(db, 100)
    node:flush_archive()
    node:exec { "sh", "-c", 'cp --preserve "$1"/00000002* "$2"', "sh", folder, s.pg.archive }
    if not fs.exists(s.pg.archive .. "/00000002.history") then
      node:exec { "cp", "--preserve", node.data .. "/pg_wal/00000002.history", s.pg.archive }
    end
    return commit
  end)

  test.it("a child in the archive is followed only when it is asked for", function()
    child()
    local s = shop()
    local own <close> = support.restore(s.pg, { to = "latest" })
    test.equal(support.rows(own), "1 2 3 4")
    test.equal(own.proof.parent_timeline, 1)
    local other <close> = support.restore(s.pg, { to = { latest = true, timeline = 2 } })
    test.equal(support.rows(other), "1 2 100")
    test.equal({ other.proof.parent_timeline, other.proof.timeline }, { 2, 3 })
  end)

  test.it("a missing history file is named", function()
    local commit = child()
    support.while_damaged(path_of "00000002.history", damages.missing, function()
      fails_naming({ xid = commit.xid, timeline = 2 }, "00000002.history")
      fails_naming({ latest = true, timeline = 2 }, "00000002.history")
    end)
  end)

  test.it("a damaged history file is named", function()
    local commit = child()
    support.while_damaged(path_of "00000002.history", function(path)
      fs.write(path, "nonsense\n")
    end, function()
      fails_naming({ xid = commit.xid, timeline = 2 }, "00000002.history")
    end)
    support.while_damaged(path_of "00000002.history", damages.empty, function()
      fails_naming({ xid = commit.xid, timeline = 2 }, "00000002.history")
    end)
  end)
end)

test.describe("afterwards", function()
  test.it("the archive, the backup and the original are as they were, and the healthy case passes", function()
    local s = shop()
    local now = support.tree(s.pg.archive)
    for line in s.before:gmatch "[^\n]+" do
      test.ok(now:find(line, 1, true), "changed: " .. line)
    end
    test.equal(support.rows(s.pg), "1 2 3 4")
    local node <close> = support.restore(s.pg, { to = { xid = s.commits[4].xid } })
    test.equal(support.rows(node), "1 2 3 4")
  end)
end)
