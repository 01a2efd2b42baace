-- `<close>` and defer handlers that wait, on every way out of a block.

local function waiting_handler(log, name, limit)
  return defer(function()
    timer.sleep "5ms"
    log[#log + 1] = name
  end, limit and { timeout = limit } or nil)
end

test.describe("a handler that waits runs to its end", function()
  local function left_by(name, leave)
    test.it(name, function()
      local log = {}
      leave(log)
      test.equal(log, { "inner", "outer" })
    end)
  end

  local function guarded(log, f)
    local _ <close> = waiting_handler(log, "outer")
    local _ <close> = waiting_handler(log, "inner")
    f()
  end

  left_by("normal exit", function(log)
    guarded(log, function() end)
  end)
  left_by("error inside pcall", function(log)
    local ok, e = pcall(guarded, log, function()
      error { code = 7 }
    end)
    test.equal(ok, false)
    test.equal(e.code, 7)
  end)
  left_by("error that escapes a task", function(log)
    local t = task.spawn(guarded, log, function()
      error "boom"
    end)
    test.raises(function()
      t:join()
    end, { kind = "script", match = "^boom$" })
  end)
  left_by("error inside a coroutine", function(log)
    local co = coroutine.create(guarded)
    local ok, e = coroutine.resume(co, log, function()
      error { code = 8 }
    end)
    test.equal({ ok, e.code }, { false, 8 })
  end)
  left_by("end of a coroutine", function(log)
    local co = coroutine.create(guarded)
    test.ok(coroutine.resume(co, log, coroutine.yield))
    test.equal(log, {})
    test.ok(coroutine.resume(co))
  end)
  left_by("cancel", function(log)
    local t = task.spawn(guarded, log, function()
      timer.sleep "1m"
    end)
    timer.sleep "1ms"
    t:cancel()
    test.raises(function()
      t:join()
    end, { kind = "cancelled" })
  end)
  left_by("timeout", function(log)
    test.raises(function()
      task.with_timeout("5ms", guarded, log, function()
        timer.sleep "1m"
      end)
    end, { kind = "timeout", match = "timed out after 5ms" })
  end)
  left_by("timeout of a loop that never waits", function(log)
    test.raises(function()
      task.with_timeout("5ms", guarded, log, function()
        while true do
        end
      end)
    end, { kind = "timeout" })
  end)
  left_by("break and goto", function(log)
    while true do
      local _ <close> = waiting_handler(log, "outer")
      do
        local _ <close> = waiting_handler(log, "inner")
        goto out
      end
    end
    ::out::
  end)
  left_by("coroutine.close", function(log)
    local co = coroutine.create(guarded)
    coroutine.resume(co, log, coroutine.yield)
    test.equal(coroutine.close(co), true)
    test.equal(coroutine.status(co), "dead")
  end)
  left_by("coroutine.close of one that swallows errors", function(log)
    local co = coroutine.create(guarded)
    coroutine.resume(co, log, function()
      while true do
        pcall(coroutine.yield)
      end
    end)
    test.equal(coroutine.close(co), true)
  end)
end)

test.describe("cleanup", function()
  test.it("gets the error as its argument", function()
    local seen
    pcall(function()
      local _ <close> = defer(function(e)
        seen = e
      end)
      error { code = "X" }
    end)
    test.equal(seen.code, "X")
  end)

  test.it("is attempted for all although some fail", function()
    local log = {}
    do
      local _ <close> = defer(function()
        log[#log + 1] = "first"
      end)
      local _ <close> = defer(function()
        error { code = "A", message = "cannot stop" }
      end)
      local _ <close> = defer(function()
        log[#log + 1] = "third"
      end)
      local _ <close> = setmetatable({}, {
        __close = function()
          error "user object"
        end,
      })
    end
    test.equal(log, { "third", "first" })
    local failures = test.cleanup_failures()
    test.equal(#failures, 2)
    test.equal(failures[1].message, "user object")
    test.equal(failures[2].code, "A")
    test.ok(failures[1].where.file:find "close_test.lua$")
  end)

  test.it("has a deadline of its own", function()
    local started = timer.now()
    local after = false
    do
      local _ <close> = defer(function()
        after = true
      end)
      local _ <close> = defer(function()
        timer.sleep "1m"
      end, { timeout = "20ms" })
      local _ <close> = defer(function()
        while true do
        end
      end, { timeout = "20ms" })
      local _ <close> = defer(function()
        while true do
          pcall(timer.sleep, 1)
        end
      end, { timeout = "20ms" })
    end
    test.ok(after)
    test.ok(timer.now() - started < 5)
    local failures = test.cleanup_failures()
    test.equal(#failures, 3)
    for _, e in ipairs(failures) do
      test.equal({ e.kind, e.code, e.message }, { "timeout", nil, "timed out after 20ms" })
    end
  end)

  test.it("checks its options", function()
    test.raises(function()
      defer(print, { timout = 1 })
    end, { kind = "arg", match = 'defer: unknown option "timout"', hint = "timeout" })
    test.raises(function()
      defer(5)
    end, { kind = "arg", match = "defer expects a function, got number" })
  end)

  test.it("is out of reach of a cancelled scope and of an outer timeout", function()
    local done = false
    pcall(task.with_timeout, "5ms", function()
      local _ <close> = defer(function()
        task.with_timeout("1s", timer.sleep, "20ms")
        task.group(function(g)
          g:spawn(timer.sleep, "5ms")
        end)
        done = true
      end)
      timer.sleep "1m"
    end)
    test.ok(done)
  end)

  test.it("may spawn; what it leaves running ends with the task", function()
    local log = {}
    local t = task.spawn(function()
      local _ <close> = defer(function()
        task.spawn(function()
          local _ <close> = waiting_handler(log, "child unwound")
          timer.sleep "1m"
        end)
        timer.sleep "1ms"
        log[#log + 1] = "deferred"
      end)
    end)
    t:join()
    test.equal(log, { "deferred", "child unwound" })
  end)

  test.it("nests: a handler has handlers", function()
    local log = {}
    do
      local _ <close> = defer(function()
        local _ <close> = waiting_handler(log, "inner")
        log[#log + 1] = "body"
        error "outer failed"
      end)
    end
    test.equal(log, { "body", "inner" })
    test.equal(#test.cleanup_failures(), 1)
  end)

  test.it("survives a stack overflow in the block", function()
    local log = {}
    local function deep(n)
      return 1 + deep(n + 1)
    end
    local ok, e = pcall(function()
      local _ <close> = waiting_handler(log, "cleaned")
      deep(1)
    end)
    test.equal(ok, false)
    test.ok(tostring(e):find "stack overflow")
    test.equal(log, { "cleaned" })
    test.raises(function()
      task.spawn(deep, 1):join()
    end, { kind = "script", match = "stack overflow" })
  end)
end)
