-- Where a script may wait, and what it is told where it may not.

local function value(v)
  timer.sleep "1ms"
  return v
end

test.describe("a wait inside", function()
  test.it("a for-in iterator", function()
    local seen = {}
    for v in
      function(_, last)
        return value((last or 0) < 3 and (last or 0) + 1 or nil)
      end
    do
      seen[#seen + 1] = v
    end
    test.equal(seen, { 1, 2, 3 })
  end)

  test.it("__index, __newindex, __call, __add, __eq, __lt, __concat, __len", function()
    local mt = {}
    local function object()
      return setmetatable({}, mt)
    end
    mt.__index = function(_, key)
      return value(key .. "!")
    end
    mt.__call = function(_, a)
      return value(a)
    end
    mt.__add = function()
      return value(3)
    end
    mt.__eq = function()
      return value(true)
    end
    mt.__lt = function()
      return value(true)
    end
    mt.__concat = function()
      return value "joined"
    end
    mt.__len = function()
      return value(9)
    end
    local stored
    mt.__newindex = function(_, key, v)
      stored = { key, value(v) }
    end
    local a, b = object(), object()
    a.x = 5
    test.equal(stored, { "x", 5 })
    test.equal({ a.name, a(4), a + b, a == b, a < b, a .. b, #a }, { "name!", 4, 3, true, true, "joined", 9 })
  end)

  test.it("a coroutine.wrap generator, 6 of 6", function()
    local seen = {}
    for v in
      coroutine.wrap(function()
        for i = 1, 6 do
          coroutine.yield(value(i))
        end
      end)
    do
      seen[#seen + 1] = v
    end
    test.equal(seen, { 1, 2, 3, 4, 5, 6 })
  end)

  test.it("generators inside generators", function()
    local function range(n)
      return coroutine.wrap(function()
        for i = 1, n do
          timer.sleep(0)
          coroutine.yield(i)
        end
      end)
    end
    local outer = coroutine.wrap(function()
      for v in range(4) do
        timer.sleep "1ms"
        coroutine.yield(v * 10)
      end
    end)
    local sum = 0
    for v in outer do
      sum = sum + v
    end
    test.equal(sum, 100)
  end)

  test.it("coroutine.create passes values both ways and keeps errors", function()
    local co = coroutine.create(function(a, b)
      local c = coroutine.yield(value(a + b))
      timer.sleep "1ms"
      error { code = c }
    end)
    test.equal({ coroutine.resume(co, 1, 2) }, { true, 3 })
    test.equal(coroutine.status(co), "suspended")
    local ok, e = coroutine.resume(co, "kept")
    test.equal({ ok, e.code, coroutine.status(co) }, { false, "kept", "dead" })
    test.equal({ coroutine.resume(co) }, { false, "cannot resume dead coroutine" })
    test.equal(
      { coroutine.resume(coroutine.create(function()
        return nil, 2, nil
      end)) },
      { true, nil, 2, nil }
    )
  end)

  test.it("pcall and xpcall", function()
    test.equal({ pcall(value, 5) }, { true, 5 })
    test.equal({ xpcall(value, print, 6) }, { true, 6 })
    local _, traced = xpcall(function()
      timer.sleep "1ms"
      error("x", 0)
    end, function(e)
      return e .. "!"
    end)
    test.equal(traced, "x!")
  end)

  test.it("load()()", function()
    test.equal(load "timer.sleep '1ms' return 7"(), 7)
  end)

  for name, f in pairs {
    ["table.sort"] = function()
      table.sort({ 3, 1, 2 }, function(a, b)
        return value(a < b)
      end)
    end,
    ["string.gsub"] = function()
      return (("abc"):gsub(".", value))
    end,
    ["tostring"] = function()
      return tostring(setmetatable({}, {
        __tostring = function()
          return value "x"
        end,
      }))
    end,
  } do
    test.it(name .. " is an error with a hint", function()
      local e =
        test.raises(f, { kind = "script", match = "attempt to yield across a C%-call boundary", hint = "table.sort" })
      test.ok(e.where.file:find "wait_test.lua$", "located")
    end)
  end
end)

test.describe("coroutines", function()
  test.it("a task cannot resume what waits in another", function()
    local co = coroutine.create(function()
      timer.sleep "10ms"
      return "mine"
    end)
    local t = task.spawn(function()
      return select(2, coroutine.resume(co))
    end)
    timer.sleep "1ms"
    test.equal(coroutine.status(co), "normal")
    local ok, message = coroutine.resume(co)
    test.equal(ok, false)
    test.ok(message:find "waits in another task")
    test.equal(t:join(), "mine")
  end)

  test.it("a generator's timeout does not run over its consumer", function()
    local gen = coroutine.wrap(function()
      task.with_timeout("10ms", function()
        coroutine.yield(1)
        timer.sleep "1m"
      end)
    end)
    test.equal(gen(), 1)
    timer.sleep "20ms" -- its ten milliseconds are over, ours are not
    test.raises(gen, { kind = "timeout", match = "10ms" })
  end)

  test.it("the end of a generator's scope leaves the consumer's timeout in place", function()
    local gen = coroutine.wrap(function()
      task.with_timeout("1m", function()
        coroutine.yield(1)
      end)
      coroutine.yield(2)
    end)
    gen()
    test.raises(function()
      task.with_timeout("10ms", function()
        test.equal(gen(), 2)
        timer.sleep "1m"
      end)
    end, { kind = "timeout", match = "10ms" })
  end)

  test.it("a consumer's timeout reaches a wait inside a generator's scope", function()
    local gen = coroutine.wrap(function()
      task.with_timeout("1m", function()
        coroutine.yield(1)
        timer.sleep "1m"
      end)
    end)
    gen()
    test.raises(function()
      task.with_timeout("10ms", gen)
    end, { kind = "timeout", match = "10ms" })
  end)

  test.it("a consumer's cancellation reaches it too", function()
    local gen = coroutine.wrap(function()
      task.with_timeout("1m", function()
        coroutine.yield(1)
        timer.sleep "1m"
      end)
    end)
    gen()
    local t = task.spawn(gen)
    timer.sleep "1ms"
    t:cancel()
    test.raises(function()
      t:join()
    end, { kind = "cancelled" })
  end)

  test.it("an abandoned generator leaves no scope behind", function()
    for _ = 1, 100 do
      coroutine.wrap(function()
        task.with_timeout("1ms", coroutine.yield, 1)
      end)()
    end
    timer.sleep "5ms"
    test.equal(timer.deadline() > 1, true)
  end)

  test.it("an interrupted loop inside a generator ends", function()
    test.raises(function()
      task.with_timeout(
        "10ms",
        coroutine.wrap(function()
          while true do
            pcall(function() end)
          end
        end)
      )
    end, { kind = "timeout" })
  end)
end)
