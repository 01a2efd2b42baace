-- Schedules are pure: what is drawn depends on the seed and the description alone.

local FAULTS = {
  chaos.pause("primary", "1..3s"),
  chaos.kill_tree "primary",
  chaos.cut_pair("standby", "500ms..1s"),
  chaos.restart "primary",
}

local function make(seed, options)
  local spec = { seed = seed, duration = "10m", every = "5..15s", faults = FAULTS }
  for key, value in pairs(options or {}) do
    spec[key] = value
  end
  return chaos.schedule(spec)
end

test.it("the same seed gives the same schedule, byte for byte; another seed another one", function()
  for seed = 1, 20 do
    test.equal(json.encode(make(seed)), json.encode(make(seed)))
    test.ok(json.encode(make(seed)) ~= json.encode(make(seed + 1)))
  end
end)

test.it("every fault comes up before one comes up twice, and none overlaps another", function()
  for seed = 1, 20 do
    local events = make(seed).events
    test.ok(#events >= 20, "only " .. #events .. " events in ten minutes")
    for turn = 0, #events // #FAULTS - 1 do
      local kinds = {}
      for i = turn * #FAULTS + 1, (turn + 1) * #FAULTS do
        kinds[events[i].fault.kind] = true
      end
      for _, fault in ipairs(FAULTS) do
        test.ok(kinds[fault.kind], ("seed %d: turn %d has no %s"):format(seed, turn, fault.kind))
      end
    end
    for i = 2, #events do
      test.ok(events[i].at >= events[i - 1].at + events[i - 1].hold + 0.9)
    end
    test.ok(events[#events].at + events[#events].hold <= 600)
  end
end)

test.it("a longer run begins like a shorter one", function()
  local short, long = make(3, { duration = "5m" }).events, make(3).events
  for i, event in ipairs(short) do
    test.equal(json.encode(event), json.encode(long[i]))
  end
end)

test.it("a fault can wait for the run to get somewhere", function()
  local planned = make(1, { faults = { chaos.when({ commits = 500 }, chaos.kill_tree "primary"), FAULTS[1] } })
  test.equal(planned.events[1].when.commits, 500)
  test.equal(planned.events[1].at, nil)
  test.equal(planned.events[1].fault.when, nil)
  test.equal(planned.events[2].fault.kind, "pause")
  local e = test.raises(function()
    chaos.when({ commit = 500 }, FAULTS[1])
  end)
  test.ok(e.hint:find("commits", 1, true), e.hint)
end)

test.it("a range is read with its unit at the end, and refused when it runs backwards", function()
  test.equal(chaos.writers({ think = "0..10ms" }).think[2], 0.01)
  test.equal(chaos.writers({ rows = 2 }).rows[1], 2)
  for _, bad in ipairs { "9..1s", "soon", "1..2parsecs" } do
    test.raises(function()
      chaos.writers { think = bad }
    end)
  end
end)
