-- Nothing grows: tasks, scopes, coroutines, memory.

local function kilobytes()
  collectgarbage()
  collectgarbage()
  return collectgarbage "count"
end

test.describe("leaks", function()
  test.it("10 000 tasks", function()
    local n = 0
    task.group(function(g)
      for _ = 1, 10000 do
        g:spawn(function()
          timer.sleep "5ms"
          n = n + 1
        end)
      end
      test.equal(task.count(), 10001)
    end)
    test.equal({ n, task.count() }, { 10000, 1 })
  end)

  test.it("1 000 cancelled scopes, each with a cleanup that waits", function()
    local cleaned, tasks = 0, {}
    for i = 1, 1000 do
      tasks[i] = task.spawn(function()
        local _ <close> = defer(function()
          timer.sleep "2ms"
          cleaned = cleaned + 1
        end)
        task.with_timeout("1m", timer.sleep, "1m")
      end)
    end
    timer.sleep "1ms"
    for _, t in ipairs(tasks) do
      t:cancel()
    end
    for _, t in ipairs(tasks) do
      pcall(t.join, t)
    end
    test.equal({ cleaned, task.count() }, { 1000, 1 })
  end)

  test.it("1 000 timeouts in one task leave no scope", function()
    local before = timer.deadline()
    for _ = 1, 1000 do
      pcall(task.with_timeout, 0, timer.sleep, 1)
    end
    test.ok(timer.deadline() > 1 and timer.deadline() <= before)
  end)

  local function bounded(name, limit, work)
    test.it("memory stays bounded: " .. name, function()
      work(200) -- warm up
      local before = kilobytes()
      work(5000)
      local grown = kilobytes() - before
      test.ok(grown < limit, ("grew by %.0f kB"):format(grown))
    end)
  end

  bounded("joined tasks", 300, function(n)
    for i = 1, n do
      task
        .spawn(function()
          return i
        end)
        :join()
    end
  end)
  bounded("tasks nobody joins", 300, function(n)
    for _ = 1, n do
      task.spawn(function()
        return ("x"):rep(1000)
      end)
      timer.sleep(0)
    end
  end)
  bounded("a group that lives long", 300, function(n)
    task.group(function(g)
      for _ = 1, n do
        g:spawn(function()
          return ("x"):rep(1000)
        end)
        timer.sleep(0)
      end
    end)
  end)
  bounded("interrupted coroutines", 300, function(n)
    for _ = 1, n / 100 do
      pcall(
        task.with_timeout,
        0,
        coroutine.wrap(function()
          while true do
            pcall(error)
          end
        end)
      )
    end
  end)
  bounded("abandoned generators with open scopes", 300, function(n)
    for _ = 1, n do
      coroutine.wrap(function()
        task.with_timeout("1m", coroutine.yield)
      end)()
    end
  end)
  bounded("caught errors", 300, function(n)
    for _ = 1, n do
      pcall(err.raise, "x")
      pcall(task.shield, error, setmetatable({}, {}))
    end
  end)
  bounded("channels", 300, function(n)
    local ch = chan.new(4)
    for i = 1, n do
      ch:send(i)
      ch:recv()
    end
  end)
end)
