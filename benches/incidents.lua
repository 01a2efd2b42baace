--- Accidents of every kind at random moments under concurrent writers; each found in the WAL, each undone.
--
-- Nothing is told to the recovery but the archive. It finds each accident by what it left in the WAL, proposes a target
-- just before it, and that target is restored for real. Then the restored server is held against the ledger of the
-- writers: every transaction that committed before the target must be there, none that came after, and nothing of the
-- accident. One that is not exactly right fails the run.

local havoc = require "lib.havoc"

-- The accident as the WAL tells it: the one candidate of that kind that names the victim.
local function candidate_for(v, candidates)
  local found = {}
  for _, c in ipairs(candidates) do
    local name = v.kind.database and v.name or v.hits
    for _, relation in ipairs(c.names) do
      if relation == name or relation == "public." .. name then
        found[#found + 1] = c
        break
      end
    end
  end
  return #found == 1 and found[1] or nil, found
end

-- Targets a wrong reader would propose; the ledger must notice each.
local PLANTS = {
  none = function(c)
    return c.target
  end,
  late = function(c)
    return { lsn = c.end_lsn, inclusive = false, timeline = c.timeline }
  end,
  inclusive = function(c)
    return { lsn = c.target.lsn, inclusive = true, timeline = c.timeline }
  end,
  -- Safe from the accident, but it loses who committed meanwhile: judged at the target that was promised.
  early = function(c)
    return { lsn = c.last_kept.lsn, inclusive = false, timeline = c.timeline }
  end,
}

local function undo(d, arg, scene, pg, v, c)
  local node <close> = pitr.restore(pg, { to = PLANTS[arg.plant](c), verify = false })
  -- What was prepared is not yet committed there: to undo it is to roll it back.
  pitr.roll_back_prepared(node, c)
  local problems, commits = scene:judge(node, v, c.target.lsn)
  for _, one in ipairs(arg.plant == "none" and pitr.check_choice(node, c) or {}) do
    problems[#problems + 1] = not one.held and one.name .. ": " .. one.detail or nil
  end
  node:stop "immediate"
  node:wipe()
  return d:check(
    ("%s of %s is undone: %d commits kept, none of it"):format(v.kind.name, v.hits, commits),
    #problems == 0,
    table.concat(problems, "; ")
  )
end

return drill "incidents" {
  summary = "Accidents of every kind under concurrent writers, each found in the WAL and undone exactly.",
  args = {
    incidents = { 40, "how many accidents" },
    clients = { 8, "concurrent writers" },
    version = { 0, "PostgreSQL major version; 0 is the newest installed" },
    plant = {
      "none",
      "a wrong target to plant, which the ledger must catch: none, late, inclusive, early",
      choices = { "none", "late", "inclusive", "early" },
    },
  },
  budget = "30m",
  expect = { "not_found == 0", "false_hits == 0", "wrong == 0" },

  run = function(d, arg)
    local pg, scene, candidates

    d:step("a server, tables to lose, a base backup", function()
      pg = lab.postgres {
        version = arg.version > 0 and arg.version or nil,
        conf = { max_prepared_transactions = 10, max_connections = 60, deadlock_timeout = "50ms" },
      }
      scene = havoc.prepare(pg, arg.incidents, function()
        pitr.backup(pg)
      end)
    end)

    d:step(("%d accidents under %d writers"):format(arg.incidents, arg.clients), function()
      scene:start(arg.clients)
      for _, v in ipairs(scene.victims) do
        scene:maybe_decoy()
        scene:strike(v)
      end
      scene:stop()
      pg:flush_archive()
      d:record { commits = scene.acknowledged }
      d:say("%d transactions were acknowledged meanwhile.", scene.acknowledged)
    end)

    d:step("find them in the WAL", function()
      local w <close> = wal.open(pg)
      scene:read_order(w)
      candidates = w:find { min_rows = 100 }
      local missed, named = 0, {}
      for _, v in ipairs(scene.victims) do
        local c, all = candidate_for(v, candidates)
        v.candidate = c
        -- What went with the victim, such as a view of a table that was dropped, is the same accident.
        named[c and c.xid or v] = true
        local right = c and c.kind == v.kind.found and (v.xid == nil or c.xid == v.xid & 0xFFFFFFFF)
        missed = missed + (right and 0 or 1)
        if not right then
          d:say("%s of %s: found %s", v.kind.name, v.hits, #all == 0 and "nothing" or json.encode { all[1].kind, #all })
        end
      end
      local false_hits = 0
      for _, c in ipairs(candidates) do
        if not named[c.xid] then
          false_hits = false_hits + 1
          d:say("A false hit: %s of %s, transaction %s.", c.kind, table.concat(c.names, ", "), tostring(c.xid))
        end
      end
      d:record { not_found = missed, false_hits = false_hits }
    end)

    local undone, wrong = 0, 0
    d:step("undo each: restore to the proposed target, compare with the ledger", function()
      for _, v in ipairs(scene.victims) do
        local right = v.candidate and undo(d, arg, scene, pg, v, v.candidate)
        undone, wrong = undone + (right and 1 or 0), wrong + (right and 0 or 1)
      end
    end)
    d:record { undone = undone, wrong = wrong }
    d:say("%d of %d accidents undone exactly.", undone, arg.incidents)
  end,
}
