-- Strict globals, modules, and what a script cannot reach.

test.describe("require", function()
  test.it("waits, loads once, also for two tasks at a time", function()
    local a, b = table.unpack(task.all {
      function()
        return require "modules.slow"
      end,
      function()
        return require "modules.slow"
      end,
    })
    test.ok(rawequal(a, b) and rawequal(a, require "modules.slow"))
    test.equal(a.loads, 1)
  end)

  test.it("looks beside the file that asks, beside the script, in lib, and for init.lua", function()
    local outer = require "modules.outer"
    test.equal(outer, { neighbour = "beside the file that asks", name = "modules.outer" })
    test.equal(require "from_lib", "in lib")
    test.equal(require "modules.package", "init")
    test.ok(rawequal(require "./modules/outer", outer))
  end)

  test.it("a circle is an error, in one task or in two", function()
    test.raises(function()
      require "modules.circle_a"
    end, { kind = "script", code = "circular", match = "requires itself" })
    local a = task.spawn(pcall, require, "modules.circle_a")
    local b = task.spawn(pcall, require, "modules.circle_b")
    local ok_a, ea = a:join()
    local ok_b, eb = b:join()
    test.equal({ ok_a, ok_b }, { false, false })
    test.equal({ ea.code, eb.code }, { "circular", "circular" })
  end)

  test.it("a module that failed can be required again; its error is untouched", function()
    local e = test.raises(function()
      require "modules.flaky"
    end, { code = "flaky" })
    test.ok(e.where.file:find "modules/flaky.lua$")
    test.equal(require "modules.flaky", "loaded")
  end)

  test.it("an interrupted load can be repeated", function()
    rawset(_G, "slow_loads", nil)
    local path = os.tmpname() .. ".lua"
    fs.write(path, 'timer.sleep "20ms" return 5')
    pcall(task.with_timeout, "1ms", dofile, path)
    test.equal(dofile(path), 5)
    fs.remove(path)
  end)

  test.it("says where it looked, and where the syntax is wrong", function()
    local e = test.raises(function()
      require "modules.nowhere"
    end, { kind = "arg", code = "no_module", match = "'modules.nowhere' was not found" })
    test.ok(e.detail:find("modules/nowhere.lua", 1, true) and e.detail:find("lib/modules/nowhere/init.lua", 1, true))
    local broken = test.raises(function()
      require "modules.broken"
    end, { code = "syntax", match = "unexpected symbol near '='" })
    test.equal(broken.where.line, 2)
    test.ok(broken.where.file:find "modules/broken.lua$")
    test.raises(function()
      require "rpitr.tsk"
    end, { code = "no_module", hint = "rpitr.task" })
    test.raises(function()
      require(nil)
    end, { kind = "arg", match = "expects a name" })
  end)
end)

test.describe("globals", function()
  test.it("reading an undeclared one is an error with a suggestion", function()
    test.raises(function()
      return tsk.spawn
    end, { code = "undeclared", match = "^global 'tsk' is not declared$", hint = "did you mean task%?" })
    test.raises(function()
      return pritn "x"
    end, { code = "undeclared", hint = "did you mean print%?" })
    test.raises(function()
      return zzzzzzzzzz
    end, { code = "undeclared", hint = "declare it with local" })
  end)

  test.it("writing one inside a function is an error", function()
    test.raises(function()
      counter = 1
    end, { code = "undeclared", match = "assignment to undeclared global 'counter'", hint = "write: local counter" })
    test.equal(rawget(_G, "counter"), nil)
  end)

  test.it("the top level of a chunk may declare one", function()
    load "declared_by_test = 5"()
    test.equal(declared_by_test, 5)
    test.equal(
      (function()
        declared_by_test = 6
        return declared_by_test
      end)(),
      6
    )
    rawset(_G, "declared_by_test", nil)
  end)

  test.it("module names are read-only", function()
    test.raises(function()
      load "task = {}"()
    end, { match = "'task' is an rpitr module and read%-only" })
    test.raises(function()
      task.spawn = print
    end, { kind = "arg", match = "task is read%-only" })
    test.raises(function()
      task.new = print
    end, { kind = "arg", match = "task is read%-only; new" })
  end)

  test.it("a misspelt function of a module is an error with a suggestion", function()
    test.raises(function()
      timer.slep(1)
    end, { code = "unknown_function", match = "^timer.slep does not exist$", hint = "timer.sleep" })
    test.raises(function()
      task.with_timout()
    end, { code = "unknown_function", hint = "task.with_timeout" })
    test.raises(function()
      lsn.prase "0/1"
    end, { kind = "arg", match = "lsn.prase does not exist" })
    test.raises(function()
      return timer[1]
    end, { code = "unknown_function" })
  end)
end)

test.describe("a script cannot reach", function()
  test.it("hooks, the registry, other functions' locals", function()
    local names = {}
    for name in pairs(debug) do
      names[#names + 1] = name
    end
    table.sort(names)
    test.equal(names, { "getinfo", "traceback" })
    test.equal(rawget(_G, "package"), nil)
  end)

  test.it("bytecode", function()
    local chunk, message = load(
      string.dump(function()
        return 1
      end),
      "x",
      "b"
    )
    test.equal(chunk, nil)
    test.ok(message:find "attempt to load a binary chunk")
    local path = os.tmpname()
    fs.write(
      path,
      string.dump(function()
        return 1
      end)
    )
    test.equal((pcall(dofile, path)), false)
    fs.remove(path)
  end)
end)

test.describe("load", function()
  test.it("takes functions, names and environments", function()
    local parts = { "return ", "x" }
    test.equal(
      load(function()
        return table.remove(parts, 1)
      end, "=parts", "t", { x = 9 })(),
      9
    )
    local f, message = load("return =", "=named")
    test.equal({ f, message }, { nil, "named:1: unexpected symbol near '='" })
    test.raises(function()
      load("return y", "=named", "t", {})().z = 1
    end, { match = "attempt to index a nil value" })
  end)

  test.it("a #! line and a byte order mark are skipped", function()
    local path = os.tmpname()
    fs.write(path, "\xEF\xBB\xBF#!/usr/bin/env rpitr\nreturn debug.getinfo(1, 'l').currentline")
    test.equal(dofile(path), 2)
    test.equal(loadfile(path)(), 2)
    fs.remove(path)
    test.equal({ loadfile(path) }, { nil, "cannot open " .. path })
  end)
end)
