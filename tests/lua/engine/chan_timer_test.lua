-- Channels, timers, eventually.

local args = require "rpitr.core.args"

test.describe("chan", function()
  test.it("hands values over in order and ends with close", function()
    local ch, seen = chan.new(2), {}
    task.spawn(function()
      for i = 1, 10 do
        ch:send(i)
      end
      ch:close()
    end)
    for v in ch do
      seen[#seen + 1] = v
    end
    test.equal(seen, { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 })
    test.equal(ch:recv(), nil)
  end)

  test.it("send waits while it is full", function()
    local ch, sent = chan.new(2), 0
    local t = task.spawn(function()
      for i = 1, 4 do
        ch:send(i)
        sent = i
      end
    end)
    timer.sleep "2ms"
    test.equal(sent, 2)
    test.equal(ch:recv(), 1)
    timer.sleep "2ms"
    test.equal(sent, 3)
    ch:recv()
    ch:recv()
    ch:recv()
    t:join()
    test.equal(sent, 4)
  end)

  test.it("many senders and many receivers lose and double nothing", function()
    local ch, seen, total = chan.new(3), {}, 0
    task.group(function(g)
      for s = 0, 19 do
        g:spawn(function()
          for i = 1, 50 do
            ch:send(s * 50 + i)
            if i % 7 == 0 then
              timer.sleep(0)
            end
          end
        end)
      end
      for _ = 1, 5 do
        g:spawn(function()
          for v in ch do
            test.equal(seen[v], nil)
            seen[v] = true
            total = total + 1
            if total == 1000 then
              ch:close()
            end
          end
        end)
      end
    end)
    test.equal(total, 1000)
  end)

  test.it("close: what is inside is drained, senders are refused, waiting ones too", function()
    local ch = chan.new(2)
    ch:send "a"
    ch:send "b"
    local blocked = task.spawn(function()
      ch:send "c"
    end)
    timer.sleep "1ms"
    ch:close()
    ch:close()
    test.raises(function()
      blocked:join()
    end, { kind = "state", match = "closed" })
    test.raises(function()
      ch:send "d"
    end, { kind = "state", match = "closed" })
    test.equal({ ch:recv(), ch:recv(), ch:recv() }, { "a", "b" })
  end)

  test.it("close wakes a waiting receiver; leaving a block closes", function()
    local t
    do
      local ch <close> = chan.new()
      t = task.spawn(function()
        return ch:recv() == nil
      end)
      timer.sleep "1ms"
    end
    test.equal(t:join(), true)
  end)

  test.it("carries false, refuses nil; a wait can time out and goes on after it", function()
    local ch = chan.new()
    test.raises(function()
      ch:send(nil)
    end, { kind = "arg", match = "nil marks the end" })
    test.raises(function()
      task.with_timeout("2ms", ch.recv, ch)
    end, { kind = "timeout" })
    ch:send(false)
    test.equal(ch:recv(), false)
  end)

  test.it("a loop over false values does not end early", function()
    local ch = chan.new(3)
    ch:send(1)
    ch:send(2)
    ch:close()
    local n = 0
    for _ in ch do
      n = n + 1
    end
    test.equal(n, 2)
  end)
end)

test.describe("timer", function()
  test.it("sleep takes at least its time; others run meanwhile", function()
    local started = timer.now()
    task.all {
      function()
        timer.sleep "20ms"
      end,
      function()
        timer.sleep "20ms"
      end,
      function()
        timer.sleep(0.02)
      end,
    }
    local took = timer.now() - started
    test.ok(took >= 0.02 and took < 1, took)
  end)

  test.it("sleep(0) lets others run", function()
    local other = false
    task.spawn(function()
      other = true
    end)
    for _ = 1, 3 do
      timer.sleep(0)
    end
    test.ok(other)
  end)

  test.it("after runs once, unless it is closed before", function()
    local log = {}
    local t = timer.after("2ms", function()
      log[#log + 1] = "ran"
      return 5
    end)
    test.equal(t:join(), 5)
    do
      local _ <close> = timer.after("1m", function()
        log[#log + 1] = "not this"
      end)
    end
    test.equal(log, { "ran" })
  end)

  test.it("every ticks without overlap until it is closed", function()
    local ticks, inside = {}, false
    do
      local _ <close> = timer.every("2ms", function(n)
        test.equal(inside, false)
        inside = true
        timer.sleep "3ms"
        inside = false
        ticks[#ticks + 1] = n
      end)
      eventually(function()
        return #ticks >= 3
      end, { timeout = "5s" })
    end
    local n = #ticks
    timer.sleep "10ms"
    test.equal(#ticks, n)
    test.equal({ ticks[1], ticks[2], ticks[3] }, { 1, 2, 3 })
  end)

  test.it("an error in every surfaces at join", function()
    local t = timer.every("1ms", function(n)
      if n == 2 then
        error "second tick"
      end
    end)
    test.raises(function()
      t:join()
    end, { match = "^second tick$" })
  end)

  test.it("every zero does not starve the others", function()
    local n = 0
    local _ <close> = timer.every(0, function()
      n = n + 1
    end)
    timer.sleep "5ms"
    test.ok(n > 1)
  end)

  test.it("deadline is the nearest one around", function()
    local outer = timer.deadline() -- the test's own
    test.ok(outer > 1 and outer <= 120)
    task.with_timeout("5s", function()
      test.near(timer.deadline(), 5, 0.5)
      task.with_timeout("1m", function()
        test.near(timer.deadline(), 5, 0.5)
      end)
      test.equal(
        task
          .spawn(function()
            return timer.deadline() < 5.1
          end)
          :join(),
        true
      )
      task.shield(function()
        test.ok(timer.deadline() > 1e6)
      end)
    end)
  end)

  test.it("durations have units", function()
    for text, seconds in pairs { ["5"] = 5, ["5s"] = 5, ["250ms"] = 0.25, ["2m"] = 120, ["1h"] = 3600, [" 1.5 s "] = 1.5 } do
      test.near(args.seconds(text), seconds, 0)
    end
    for _, bad in ipairs { "", "s", "5 parsecs", "-1s", "1s2", "." } do
      test.equal(args.seconds(bad), nil)
    end
  end)
end)

test.describe("eventually", function()
  test.it("returns what came true", function()
    local n = 0
    local a, b = eventually(function()
      n = n + 1
      return n == 3 and "yes", n
    end, { every = "1ms" })
    test.equal({ a, b }, { "yes", 3 })
  end)

  test.it("retries through errors and keeps the last as the cause", function()
    local last
    local e = test.raises(function()
      eventually(function()
        last = { kind = "io", message = "refused" }
        error(last)
      end, { timeout = "20ms", every = "2ms", describe = "the server" })
    end, { kind = "timeout", match = "^the server did not happen in 0%.%ds %(%d+ tries%)$" })
    test.ok(rawequal(e.cause, last))
    test.ok(e.where.file:find "chan_timer_test.lua$")
  end)

  test.it("says how often it tried when nothing was raised", function()
    local e = test.raises(function()
      eventually(function()
        return false
      end, { timeout = 0 })
    end, { match = "%(1 tries%)" })
    test.equal(e.cause, nil)
  end)

  test.it("its time bounds an attempt that hangs", function()
    local e = test.raises(function()
      eventually(function()
        timer.sleep "1m"
      end, { timeout = "20ms" })
    end, { kind = "timeout", match = "did not happen in 1%.%ds %(1 tries%)" })
    test.equal(e.cause.message, "timed out after 1s")
  end)

  test.it("an interruption from outside ends it at once", function()
    local _, e = pcall(task.with_timeout, "10ms", eventually, function()
      return false
    end, { timeout = "1m" })
    test.equal(e.message, "timed out after 10ms")
  end)
end)
