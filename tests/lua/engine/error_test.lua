-- Errors keep their identity, their fields and their place, whatever they cross.

local function deep(e)
  error(e)
end

local CROSSINGS = {
  ["task:join"] = function(f)
    task.spawn(f):join()
  end,
  ["with_timeout"] = function(f)
    task.with_timeout("1s", f)
  end,
  ["group"] = function(f)
    task.group(function(g)
      g:spawn(f)
      g:spawn(timer.sleep, "1m")
    end)
  end,
  ["the body of a group"] = function(f)
    task.group(function(g)
      g:spawn(timer.sleep, "1m")
      f()
    end)
  end,
  ["race"] = function(f)
    task.race {
      f,
      function()
        timer.sleep "1m"
      end,
    }
  end,
  ["all"] = function(f)
    task.all {
      function()
        timer.sleep "1m"
      end,
      f,
    }
  end,
  ["shield"] = function(f)
    task.shield(f)
  end,
  ["coroutine.wrap"] = function(f)
    coroutine.wrap(f)()
  end,
  ["all of them"] = function(f)
    task
      .spawn(task.with_timeout, "1s", task.shield, function()
        coroutine.wrap(function()
          task.all { f }
        end)()
      end)
      :join()
  end,
}

for name, cross in pairs(CROSSINGS) do
  test.describe("through " .. name, function()
    test.it("a table stays the same table", function()
      local plain = { code = 42 }
      local ok, e = pcall(cross, function()
        timer.sleep "1ms"
        deep(plain)
      end)
      test.ok(not ok and rawequal(e, plain))
      test.equal(e.code, 42)
    end)
    test.it("an object with its own metatable stays what it is", function()
      local object = setmetatable({ n = 1 }, {
        __tostring = function()
          return "my error"
        end,
      })
      local ok, e = pcall(cross, function()
        deep(object)
      end)
      test.ok(not ok and rawequal(e, object))
    end)
    test.it("an rpitr error keeps kind, code, fields and place", function()
      local line = debug.getinfo(1, "l").currentline + 2
      local _, e = pcall(cross, function()
        err.raise { kind = "sql", code = "57P01", message = "gone", hint = "try again", retryable = true, mine = { 1 } }
      end)
      test.ok(err.is(e, "sql", "57P01"))
      test.equal({ e.message, e.hint, e.retryable, e.mine }, { "gone", "try again", true, { 1 } })
      test.ok(e.where.file:find "error_test.lua$")
      test.equal(e.where.line, line)
    end)
    test.it("values that are not strings arrive as text", function()
      for _, value in ipairs { 7, false, 1.5 } do
        local ok, e = pcall(cross, function()
          error(value)
        end)
        test.equal(ok, false)
        test.ok(rawequal(e, value) or e.value == value)
      end
      local ok = pcall(cross, function()
        error(nil)
      end)
      test.equal(ok, false)
    end)
  end)
end

test.describe("the error value", function()
  test.it("prints its kind, message and place", function()
    local _, e = pcall(err.raise, "plain words")
    test.ok(tostring(e):find "^script: plain words %(.*error_test.lua:%d+%)$")
  end)

  test.it("takes text with its line, and the lines after the first as detail", function()
    local line = debug.getinfo(1, "l").currentline + 2
    local e = test.raises(function()
      error "one\ntwo\nthree"
    end, { match = "^one$" })
    test.equal(e.detail, "two\nthree")
    test.equal(e.where.line, line)
  end)

  test.it("does not take what only looks like a place for one", function()
    local e = test.raises(function()
      error("seen at 10:30: nothing", 0)
    end)
    test.equal(e.message, "seen at 10:30: nothing")
  end)

  test.it("says what was raised when it has no message", function()
    test.raises(function()
      error(nil)
    end, { match = "^nil was raised$" })
    test.raises(function()
      error(false)
    end, { match = "^a boolean was raised: false$" })
    test.raises(function()
      error(12)
    end, { match = "^a number was raised: 12$" })
    test.raises(function()
      error(print)
    end, { match = "^a function was raised" })
    test.raises(function()
      error {}
    end, { match = "^a table without a message was raised$" })
    test.raises(function()
      error { message = 12 }
    end, { match = "^12$" })
    test.raises(function()
      error(setmetatable({}, {
        __tostring = function()
          return "mine"
        end,
      }))
    end, { match = "^mine$" })
    test.raises(function()
      error(setmetatable({}, {
        __tostring = function()
          error "twice"
        end,
      }))
    end, { match = "^a table was raised" })
    test.raises(function()
      error(setmetatable({}, { __metatable = 5 }))
    end, { match = "^a table was raised" })
  end)

  test.it("may contain itself", function()
    local e = { message = "round" }
    e.cause = e
    test.ok(rawequal(
      test.raises(function()
        error(e)
      end),
      e
    ))
    test.ok(tostring(e):find "round")
    local a = setmetatable({}, {
      __tostring = function(self)
        return tostring(self.next)
      end,
    })
    a.next = a
    test.raises(function()
      error(a)
    end, { kind = "script" })
  end)

  test.it("stacks contexts", function()
    local original
    local e = test.raises(function()
      local _, inner = pcall(err.raise, { kind = "io", code = "disk_full", message = "no space", hint = "free some" })
      original = inner
      local _, middle = pcall(err.wrap, inner, "while copying")
      err.wrap(middle, "while restoring")
    end, { kind = "io", code = "disk_full", match = "^while restoring$", hint = "free some" })
    test.equal(e.cause.message, "while copying")
    test.ok(rawequal(e.cause.cause, original))
  end)

  test.it("comes from Rust as a table too", function()
    local ok, e = pcall(function()
      return lsn "0/1" < 5
    end)
    test.equal({ ok, e.kind, e.message }, { false, "arg", "expected an LSN, got integer" })
    local _, hinted = pcall(function()
      return lsn "0/1" < "zero"
    end)
    test.equal({ hinted.kind, hinted.code, hinted.hint ~= nil }, { "arg", "lsn", true })
    local _, handled = xpcall(function()
      return lsn "0/1" < 5
    end, function(x)
      return x.kind
    end)
    test.equal(handled, "arg")
  end)

  test.it("err.is, err.try, err.check", function()
    test.equal({ err.is "text", err.is({}, "io"), err.is(nil) }, { false, false, false })
    local nothing, e = err.try(err.raise, { kind = "io", message = "x" })
    test.equal({ nothing, err.is(e, "io"), err.is(e, "sql") }, { nil, true, false })
    test.equal(
      err.try(function()
        return 5
      end),
      5
    )
    test.equal(err.check(5), 5)
    test.raises(function()
      err.check(false, "it holds", "not today")
    end, { kind = "assert", match = "it holds" })
  end)
end)

---@diagnostic disable: bad_value, unknown_option, missing_argument
test.describe("argument errors name the function and the nearest option", function()
  for _, case in ipairs {
    {
      function()
        timer.sleep "soon"
      end,
      '^timer.sleep: duration must be a duration such as 5, "5s" or "250ms", got the string "soon"$',
    },
    {
      function()
        timer.sleep(-1)
      end,
      "^timer.sleep: duration must be .* got the number %-1$",
    },
    {
      function()
        timer.sleep()
      end,
      "^timer.sleep: duration must be .* got nothing$",
    },
    {
      function()
        task.spawn "f"
      end,
      '^task.spawn: fn must be a function, got the string "f"$',
    },
    {
      function()
        task.all { print, 5 }
      end,
      "^task.all: function 2 must be a function, got the number 5$",
    },
    {
      function()
        chan.new "big"
      end,
      '^chan.new: capacity must be an integer, got the string "big"$',
    },
    {
      function()
        eventually(print, { timout = 3 })
      end,
      '^eventually: unknown option "timout"$',
      'did you mean "timeout"?',
    },
    {
      function()
        sh.run { "true", envv = {} }
      end,
      '^sh.run: unknown option "envv"$',
      'did you mean "env"?',
    },
    {
      function()
        json.encode({}, { prety = true })
      end,
      '^json.encode: unknown option "prety"$',
      'did you mean "pretty"?',
    },
    {
      function()
        sh.run { "true", zzzzzzz = 1 }
      end,
      '^sh.run: unknown option "zzzzzzz"$',
      "known options: check, env",
    },
    {
      function()
        lsn(5)
      end,
      '^lsn.parse: text must be an LSN such as "0/16B3748", got the number 5$',
    },
    {
      function()
        json.decode(5)
      end,
      "^json.decode: text must be a string, got the number 5$",
    },
    {
      function()
        time.parse(nil)
      end,
      "^time.parse: text must be a string, got nothing$",
    },
  } do
    test.it(case[2], function()
      local e = test.raises(case[1], { kind = "arg", match = case[2] })
      test.ok(e.where.file:find "error_test.lua$")
      test.ok(case[3] == nil or e.hint and e.hint:find(case[3], 1, true), "the hint: " .. tostring(e.hint))
    end)
  end
end)
