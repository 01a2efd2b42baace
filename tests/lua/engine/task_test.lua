-- Tasks: spawn, join, cancel, groups, races, timeouts, shields, and who fails with whom.

local function unwinds(log, name, ms)
  return function()
    local _ <close> = defer(function()
      timer.sleep(0.001)
      log[#log + 1] = name
    end)
    timer.sleep((ms or 60000) / 1000)
  end
end

local function fails(message, ms)
  return function()
    timer.sleep((ms or 1) / 1000)
    err.raise { kind = "state", message = message }
  end
end

test.describe("task", function()
  test.it("joins with its results, nils included, as often as asked", function()
    local t = task.spawn(function(...)
      timer.sleep "1ms"
      return ..., nil, 3, nil
    end, 1)
    test.equal(t:done(), false)
    for _ = 1, 2 do
      test.equal({ n = select("#", t:join()), t:join() }, { n = 4, [1] = 1, [3] = 3 })
    end
    test.equal(t:done(), true)
  end)

  test.it("join raises the same error each time", function()
    local t = task.spawn(fails "broken")
    local _, a = pcall(t.join, t)
    local _, b = pcall(t.join, t)
    test.ok(rawequal(a, b) and a.message == "broken")
  end)

  test.it("cannot join itself", function()
    local t
    t = task.spawn(function()
      timer.sleep(0)
      t:join()
    end)
    test.raises(function()
      t:join()
    end, { kind = "state", match = "cannot join itself" })
  end)

  test.it("cancel reaches a wait, a loop, and a loop that swallows errors", function()
    for _, f in ipairs {
      function()
        timer.sleep "1m"
      end,
      function()
        while true do
          timer.sleep(0)
        end
      end,
      function()
        while true do
          pcall(timer.sleep, 1)
        end
      end,
      function()
        task.spawn(timer.sleep, "1m"):join()
      end,
      function()
        chan.new(1):recv()
      end,
      function()
        task.group(function(g)
          g:spawn(timer.sleep, "1m")
        end)
      end,
      function()
        eventually(function()
          return false
        end)
      end,
      function()
        sh.run { "sleep", "60" }
      end,
    } do
      local t = task.spawn(f)
      timer.sleep "2ms"
      t:cancel()
      test.raises(function()
        t:join()
      end, { kind = "cancelled" })
    end
  end)

  test.it("cancel before it has started, twice, and after its end", function()
    local ran = false
    local t = task.spawn(function()
      ran = true
      timer.sleep "1m"
    end)
    t:cancel()
    t:cancel()
    test.raises(function()
      t:join()
    end, { kind = "cancelled" })
    local done = task.spawn(function()
      return "kept"
    end)
    test.equal(done:join(), "kept")
    done:cancel()
    test.equal(done:join(), "kept")
    test.equal(ran, true) -- it runs up to its first wait
  end)

  test.it("cancelling one that has failed does not hide its failure", function()
    test.raises(function()
      task
        .spawn(function()
          local t = task.spawn(fails("lost", 0))
          timer.sleep "5ms"
          t:cancel()
        end)
        :join()
    end, { kind = "state", match = "^lost$" })
  end)

  test.it("a cancelled task may clean up with new waits", function()
    local log = {}
    local t = task.spawn(unwinds(log, "unwound"))
    timer.sleep "1ms"
    t:cancel()
    pcall(t.join, t)
    test.equal(log, { "unwound" })
  end)

  test.it("leaving a block closes the task", function()
    local log = {}
    do
      local _ <close> = task.spawn(unwinds(log, "unwound"))
      timer.sleep "1ms"
    end
    test.equal(log, { "unwound" })
  end)

  test.it("children end with their parent", function()
    local log = {}
    task
      .spawn(function()
        task.spawn(unwinds(log, "child"))
        task.spawn(function()
          task.spawn(unwinds(log, "grandchild"))
          timer.sleep "1m"
        end)
        timer.sleep "2ms"
      end)
      :join()
    table.sort(log)
    test.equal(log, { "child", "grandchild" })
    test.equal(task.count(), 1) -- this test
  end)

  test.it("a failed child that nobody joined fails its parent", function()
    local line = debug.getinfo(1, "l").currentline + 4
    local e = test.raises(function()
      local parent = task.spawn(function()
        task.spawn(function()
          error "child failed"
        end)
        timer.sleep "5ms"
      end)
      parent:join()
    end, { kind = "script", match = "^child failed$" })
    test.equal(e.where.line, line)
  end)

  test.it("the failure of a child is the cause when its parent waited in vain", function()
    local e = test.raises(function()
      task.with_timeout("20ms", function()
        task
          .spawn(function()
            local ch = chan.new()
            task.spawn(fails "sender died")
            ch:recv()
          end)
          :join()
      end)
    end, { kind = "timeout" })
    test.equal(e.cause and e.cause.message, nil) -- the parent of both is the inner task
    local inner = task.spawn(function()
      task.spawn(fails "sender died")
      chan.new():recv()
    end)
    timer.sleep "5ms"
    inner:cancel()
    local _, cancelled = pcall(inner.join, inner)
    test.equal({ cancelled.kind, cancelled.cause.message }, { "cancelled", "sender died" })
  end)

  test.it("a join that is cut short does not hide a later failure", function()
    test.raises(function()
      task
        .spawn(function()
          local t = task.spawn(fails("late", 20))
          pcall(task.with_timeout, "1ms", t.join, t)
          timer.sleep "30ms"
        end)
        :join()
    end, { match = "^late$" })
  end)
end)

test.describe("group", function()
  test.it("waits for all and returns what its body returns", function()
    local n = 0
    local a, b = task.group(function(g)
      for _ = 1, 5 do
        g:spawn(function()
          timer.sleep "2ms"
          n = n + 1
        end)
      end
      return "a", "b"
    end)
    test.equal({ a, b, n }, { "a", "b", 5 })
  end)

  test.it("the first failure cancels the others, which unwind first", function()
    local log = {}
    test.raises(function()
      task.group(function(g)
        g:spawn(unwinds(log, "sibling"))
        g:spawn(fails "first")
        g:spawn(fails("second", 500))
      end)
    end, { kind = "state", match = "^first$" })
    test.equal(log, { "sibling" })
  end)

  test.it("a failure while the body waits interrupts the body", function()
    local log = {}
    test.raises(function()
      task.group(function(g)
        local _ <close> = defer(function()
          timer.sleep "1ms"
          log[1] = "body unwound"
        end)
        g:spawn(fails "member")
        timer.sleep "1m"
      end)
    end, { match = "^member$" })
    test.equal(log, { "body unwound" })
    timer.sleep "1ms" -- and the scope of the group is gone
  end)

  test.it("an error of the body cancels the members", function()
    local log = {}
    test.raises(function()
      task.group(function(g)
        g:spawn(unwinds(log, "member"))
        timer.sleep "1ms"
        error "body"
      end)
    end, { match = "^body$" })
    test.equal(log, { "member" })
  end)

  test.it("members may spawn members, which outlive them", function()
    local seen = {}
    task.group(function(g)
      g:spawn(function()
        g:spawn(function()
          timer.sleep "5ms"
          seen[#seen + 1] = "second"
        end)
        seen[#seen + 1] = "first"
      end)
    end)
    test.equal(seen, { "first", "second" })
  end)

  test.it("a cancelled member is no failure; a closed group takes no more", function()
    local kept
    task.group(function(g)
      kept = g
      local t = g:spawn(timer.sleep, "1m")
      timer.sleep "1ms"
      t:cancel()
    end)
    test.raises(function()
      kept:spawn(print)
    end, { kind = "state", match = "the group has ended" })
  end)

  test.it("may be empty, and nests", function()
    test.equal(
      task.group(function()
        return 1
      end),
      1
    )
    test.raises(function()
      task.group(function(g)
        g:spawn(function()
          task.group(function(h)
            h:spawn(fails "inside")
            h:spawn(timer.sleep, "1m")
          end)
        end)
        timer.sleep "1m"
      end)
    end, { match = "^inside$" })
  end)
end)

test.describe("race and all", function()
  test.it("the first to end wins, the others unwind before it returns", function()
    local log = {}
    local a, b = task.race {
      unwinds(log, "slow"),
      function()
        timer.sleep "2ms"
        return "won", 2
      end,
    }
    test.equal({ a, b }, { "won", 2 })
    test.equal(log, { "slow" })
  end)

  test.it("an error may win", function()
    test.raises(function()
      task.race {
        function()
          timer.sleep "1m"
        end,
        fails "fast",
      }
    end, { match = "^fast$" })
  end)

  test.it("how losers end is of no interest", function()
    local winner = task.race {
      function()
        timer.sleep "1ms"
        return "winner"
      end,
      function()
        pcall(timer.sleep, "1m")
        error "a bad loser"
      end,
      fails("late", 50),
    }
    test.equal(winner, "winner")
  end)

  test.it("a tie has one winner", function()
    test.equal(
      task.race {
        function()
          return 1
        end,
        function()
          return 2
        end,
        function()
          error "third"
        end,
      },
      1
    )
  end)

  test.it("nobody cannot win", function()
    test.raises(function()
      task.race {}
    end, { kind = "arg", match = "no function" })
    test.equal(task.all {}, {})
  end)

  test.it("all keeps the order and nils", function()
    local results = task.all {
      function()
        timer.sleep "4ms"
        return "slow"
      end,
      function()
        return nil
      end,
      function()
        return "quick"
      end,
    }
    test.equal(results, { [1] = "slow", [3] = "quick" })
  end)
end)

test.describe("with_timeout", function()
  test.it("returns what fits", function()
    test.equal({ task.with_timeout("1s", function(...)
      return ..., nil, 3
    end, 1) }, { 1, nil, 3 })
  end)

  test.it("the outer limit ends an inner one and is reported as itself", function()
    local inner
    local _, e = pcall(task.with_timeout, "5ms", function()
      local ok
      ok, inner = pcall(task.with_timeout, "1m", timer.sleep, "1m")
      test.equal(ok, false)
      timer.sleep "1m" -- still over: the interruption is sticky
    end)
    test.equal({ e.kind, e.code, e.message }, { "timeout", nil, "timed out after 5ms" })
    test.equal(inner.message, "timed out after 5ms")
  end)

  test.it("the inner limit leaves the outer one running", function()
    test.equal(
      task.with_timeout("1m", function()
        test.raises(function()
          task.with_timeout("5ms", timer.sleep, "1m")
        end, { match = "5ms" })
        timer.sleep "1ms"
        return "went on"
      end),
      "went on"
    )
  end)

  test.it("ends loops that never wait, however they swallow", function()
    for _, f in ipairs {
      function()
        while true do
        end
      end,
      function()
        while true do
          pcall(function() end)
        end
      end,
      function()
        while true do
          pcall(pcall, error)
        end
      end,
      function()
        repeat
          local ok = xpcall(function()
            while true do
            end
          end, function() end)
        until ok
      end,
      function()
        while true do
          pcall(timer.sleep, 1)
        end
      end,
      function()
        while true do
          coroutine.wrap(function()
            pcall(error)
          end)()
        end
      end,
      function()
        while true do
          pcall(coroutine.wrap(function()
            while true do
            end
          end))
        end
      end,
      function()
        while true do
          local _ = ("x"):rep(10)
        end
      end,
    } do
      test.raises(function()
        task.with_timeout("10ms", f)
      end, { kind = "timeout" })
    end
  end)

  test.it("code after an interrupted loop runs at full speed", function()
    pcall(task.with_timeout, "5ms", function()
      while true do
      end
    end)
    local started = timer.now()
    for _ = 1, 1e6 do
    end
    test.ok(timer.now() - started < 2)
  end)

  test.it("reaches tasks started inside, and they do not fail the parent again", function()
    local t
    task
      .spawn(function()
        pcall(task.with_timeout, "5ms", function()
          t = task.spawn(timer.sleep, "1m")
          timer.sleep "1m"
        end)
        test.raises(function()
          task.with_timeout("1s", t.join, t)
        end, { kind = "timeout" })
        task
          .spawn(function()
            pcall(task.with_timeout, "5ms", function()
              task.spawn(timer.sleep, "1m")
              timer.sleep "1m"
            end)
          end)
          :join()
      end)
      :join()
  end)

  test.it("0 is a limit; other errors pass", function()
    test.raises(function()
      task.with_timeout(0, timer.sleep, 1)
    end, { kind = "timeout" })
    test.raises(function()
      task.with_timeout("1s", error, "mine")
    end, { match = "mine" })
  end)
end)

test.describe("shield", function()
  test.it("finishes what cancellation would cut; afterwards the task is cancelled", function()
    local log = {}
    local t = task.spawn(function()
      log[1] = task.shield(function()
        timer.sleep "10ms"
        return "done"
      end)
      timer.sleep "1m"
      log[2] = "not reached"
    end)
    timer.sleep "1ms"
    t:cancel()
    test.raises(function()
      t:join()
    end, { kind = "cancelled" })
    test.equal(log, { "done" })
  end)

  test.it("its own timeouts still work", function()
    test.raises(function()
      task.shield(task.with_timeout, "5ms", timer.sleep, "1m")
    end, { kind = "timeout" })
  end)
end)
