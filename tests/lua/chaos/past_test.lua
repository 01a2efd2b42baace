-- What a resumed run knows of its faults comes from its events alone.

local resume = require "rpitr.chaos.resume"

local PLAN = { events = { { n = 1, at = 3 }, { n = 2, at = 8 } } }

-- What a run had done that wrote these events before it was killed.
local function past(events)
  local files = { ["events.jsonl"] = events, ["samples.jsonl"] = {} }
  local bundle = {
    lines = function(_, name)
      return files[name]
    end,
  }
  return resume.past(bundle, PLAN)
end

test.it("a fault that was about to strike counts as fired, and may have to be healed", function()
  local known = past { { e = "epoch", epoch = 1 }, { e = "injecting", n = 1, kind = "pause" } }
  test.ok(known.fired[1])
  test.equal(known.open[1].kind, "pause")
  test.equal(known.elapsed, 3)
  test.equal(known.epoch, 2)
  test.ok(not known.fired[2])
end)

test.it("a fault that could not strike leaves nothing to heal and is not tried again", function()
  local known = past { { e = "injecting", n = 1, kind = "pause" }, { e = "inject_failed", n = 1, kind = "pause" } }
  test.ok(known.fired[1])
  test.equal(known.open[1], nil)
end)

test.it("a healed fault is over", function()
  local known = past {
    { e = "injecting", n = 2, kind = "pause" },
    { e = "inject", n = 2, kind = "pause" },
    { e = "heal", n = 2, kind = "pause" },
  }
  test.ok(known.fired[2])
  test.equal(known.open[2], nil)
  test.equal(known.elapsed, 8)
end)
