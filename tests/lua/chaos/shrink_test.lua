-- Shrinking finds the few items it takes, whatever they are and wherever they stand.

local shrink = require "rpitr.chaos.shrink"

local function numbers(n)
  local list = {}
  for i = 1, n do
    list[i] = i
  end
  return list
end

local function has(list, wanted)
  for _, item in ipairs(list) do
    if item == wanted then
      return true
    end
  end
  return false
end

test.it("one item of many", function()
  for guilty = 1, 40 do
    local tried = 0
    local rest = shrink.minimal(numbers(40), function(part)
      tried = tried + 1
      return has(part, guilty)
    end)
    test.equal(rest, { guilty })
    test.ok(tried <= 60, tried .. " runs")
  end
end)

test.it("items that only fail together, in their order", function()
  local rest = shrink.minimal(numbers(30), function(part)
    return has(part, 3) and has(part, 17) and has(part, 29)
  end)
  test.equal(rest, { 3, 17, 29 })
end)

test.it("nothing at all, when it fails without any", function()
  test.equal(
    shrink.minimal(numbers(8), function()
      return true
    end),
    {}
  )
end)

test.it("everything, when it takes everything", function()
  test.equal(
    shrink.minimal(numbers(7), function(part)
      return #part == 7
    end),
    numbers(7)
  )
end)

test.it("a failed run, down to the crash that it takes", function()
  -- Its server forgets in a crash what it acknowledged; nobody said that it may.
  local function forgetful()
    return chaos.cluster {
      receiver = true,
      conf = { wal_writer_delay = "10s", wal_writer_flush_after = "64MB", synchronous_commit = "off" },
    }
  end
  local options = {
    seed = 8,
    duration = "2s",
    workload = chaos.writers { n = 4, think = "0..2ms" },
    targets = chaos.targets { restores = 1, bundle = 50 },
    require = { operations = 500, faults = 4 },
    dir = lab.info().folder .. "/failed",
    cluster = forgetful(),
    faults = {
      chaos.when({ commits = 50 }, chaos.restart "receiver"),
      chaos.when({ commits = 100 }, chaos.pause("standby", "100ms")),
      chaos.when({ commits = 200 }, chaos.kill_tree("primary", "100ms")),
      chaos.when({ commits = 300 }, chaos.kill_capturer "100ms"),
    },
  }
  local result = chaos.run(options)
  test.equal(result.verdict.verdict, "fail", result.text)
  chaos.remove(options.cluster)
  local shrunk = chaos.shrink(options.dir, {
    cluster = forgetful,
    seed = options.seed,
    workload = options.workload,
    targets = options.targets,
  })
  test.equal(shrunk.events, 1, json.encode(shrunk))
  test.equal(shrunk.schedule.events[1].fault.kind, "kill_tree")
  test.ok(fs.exists(options.dir .. "/shrunk.json"))
end, { timeout = "300s" })
