-- Programs, files, JSON, LSNs, times, and printing from tasks.

test.describe("sh.run", function()
  test.it("gives output and status", function()
    local r = sh.run { "sh", "-c", "echo out; echo err >&2; exit 3", check = false }
    test.equal(r, { code = 3, stdout = "out\n", stderr = "err\n" })
    test.equal(sh.run({ "sh", "-c", "kill -9 $$", check = false }).signal, 9)
  end)

  test.it("raises on a failed program with its errors as detail", function()
    local e = test.raises(function()
      sh.run { "sh", "-c", "echo why >&2; exit 4" }
    end, { kind = "io", code = "exit_status", match = "^sh ended with exit status 4$" })
    test.equal(e.detail, "why\n")
    test.raises(function()
      sh.run { "sh", "-c", "kill -15 $$" }
    end, { match = "signal 15" })
    test.raises(function()
      sh.run { "no-such-program-here" }
    end, { kind = "io", code = "spawn", match = "cannot run no%-such%-program%-here" })
    test.raises(function()
      sh.run {}
    end, { kind = "arg", match = "sh.run: program must be a string" })
    test.raises(function()
      sh.run { "echo", {} }
    end, { kind = "arg", match = "argument 2" })
  end)

  test.it("takes stdin, env, folder and numbers", function()
    test.equal(sh.run({ "cat", stdin = "a\0b" }).stdout, "a\0b")
    local large = ("x"):rep(1 << 20)
    test.ok(sh.run({ "cat", stdin = large }).stdout == large)
    test.equal(sh.run({ "true", stdin = large }).code, 0)
    test.equal(sh.run({ "sh", "-c", "echo $A", env = { A = "1 2" } }).stdout, "1 2\n")
    test.equal(sh.run({ "pwd", folder = "/" }).stdout, "/\n")
    test.equal(sh.run({ "echo", 5 }).stdout, "5\n")
  end)

  test.it("programs run side by side", function()
    local started = timer.now()
    task.all {
      function()
        sh.run { "sleep", "0.2" }
      end,
      function()
        sh.run { "sleep", "0.2" }
      end,
      function()
        sh.run { "sleep", "0.2" }
      end,
    }
    test.ok(timer.now() - started < 0.55)
  end)

  test.it("cancelling kills the program and what it started", function()
    local path = os.tmpname()
    test.raises(function()
      sh.run { "sh", "-c", "sleep 300 & echo $! > " .. path .. "; wait; true", timeout = "200ms" }
    end, { kind = "timeout" })
    local pid = fs.read(path):match "%d+"
    eventually(function()
      local r = sh.run { "ps", "-o", "stat=", "-p", pid, check = false }
      return r.stdout == "" or r.stdout:find "^Z"
    end, { timeout = "5s", describe = "the end of the grandchild" })
    fs.remove(path)
  end)
end)

test.describe("the os and io replacements", function()
  test.it("os.execute", function()
    test.equal({ os.execute "exit 3" }, { [2] = "exit", [3] = 3 })
    test.equal({ os.execute "true" }, { true, "exit", 0 })
    test.equal({ os.execute "kill -9 $$" }, { [2] = "signal", [3] = 9 })
    test.equal(os.execute(), true)
  end)

  test.it("io.popen reads", function()
    local p = io.popen "printf 'one\\n\\nthree'"
    test.equal({ p:read(), p:read "l", p:read "*l", p:read "l" }, { "one", "", "three" })
    test.equal({ p:close() }, { true, "exit", 0 })
    test.equal(io.popen("echo a; echo b"):read "a", "a\nb\n")
    test.equal(io.popen("echo a"):read "L", "a\n")
    local lines = {}
    for line in io.popen("echo a; echo b"):lines() do
      lines[#lines + 1] = line
    end
    test.equal(lines, { "a", "b" })
    test.equal({ io.popen("exit 2"):close() }, { [2] = "exit", [3] = 2 })
    test.raises(function()
      io.popen("cat", "w")
    end, { kind = "arg", hint = "stdin" })
  end)
end)

test.describe("fs", function()
  test.it("reads what it wrote", function()
    local folder = os.tmpname() .. ".d"
    fs.mkdir(folder .. "/sub")
    local path = folder .. "/f"
    fs.write(path, "a\0b")
    fs.append(path, "c")
    test.equal(fs.read(path), "a\0bc")
    test.equal(fs.list(folder), { "f", "sub" })
    test.equal(fs.sha256(path), sh.run({ "sha256sum", path }).stdout:match "^%x+")
    fs.remove(path)
    fs.remove(path)
    test.equal({ fs.exists(path), fs.exists(folder) }, { false, true })
    test.raises(function()
      fs.read(path)
    end, { kind = "io", code = "not_found", match = path:gsub("%p", "%%%0") })
    sh.run { "rm", "-r", folder }
  end)
end)

test.describe("json", function()
  test.it("round trips", function()
    for _, value in ipairs {
      1,
      -1,
      0.5,
      1e300,
      true,
      false,
      "",
      'x\ny"\\\u{1F600}',
      math.maxinteger,
      math.mininteger,
      { 1, 2, { 3 } },
      { a = 1, b = { c = {} } },
      { { a = json.null } },
      json.null,
    } do
      test.equal(json.decode(json.encode(value)), value)
    end
  end)

  test.it("writes sorted keys, LSNs and times as text, NaN as null", function()
    test.equal(
      json.encode { b = 1, a = lsn "0/10", t = time.parse "2026-01-01 00:00:00Z" },
      '{"a":"0/10","b":1,"t":"2026-01-01 00:00:00.000000+00"}'
    )
    test.equal(json.encode { 0 / 0 }, "[null]")
    test.equal(json.encode({ 1 }, { pretty = true }), "[\n  1\n]")
    test.equal(json.encode {}, "{}")
    test.equal(json.encode { 1, x = 2 }, '{"1":1,"x":2}')
  end)

  test.it("refuses what has no form", function()
    local round = {}
    round.round = round
    test.raises(function()
      json.encode(round)
    end, { kind = "arg", code = "json", match = "contains itself" })
    test.raises(function()
      json.encode { print }
    end, { code = "json", match = "function has no JSON form" })
    test.raises(function()
      json.encode { [{}] = 1 }
    end, { code = "json", match = "table cannot be a JSON key" })
    test.raises(function()
      json.decode "{"
    end, { kind = "arg", code = "json", match = "not valid JSON: EOF" })
    test.raises(function()
      json.decode(("["):rep(1000))
    end, { code = "json" })
  end)
end)

test.describe("lsn", function()
  test.it("does arithmetic", function()
    local a = lsn "0/16B3748"
    test.equal(tostring(a), "0/16B3748")
    test.equal(tostring(a + 0xF0000000), "0/F16B3748")
    test.equal(tostring(a + 0x100000000), "1/16B3748")
    test.equal(a - lsn "0/16B3740", 8)
    test.equal(lsn "0/16B3740" - a, -8)
    test.equal(tostring(a - 8), "0/16B3740")
    test.equal(tostring(a + -8), "0/16B3740")
    test.equal(a:bytes(), 0x16B3748)
    test.equal("at " .. a .. "!", "at 0/16B3748!")
  end)

  test.it("compares, with text too", function()
    test.ok(lsn "0/1" < lsn "0/2" and lsn "0/FFFFFFFF" < lsn "1/0" and lsn "1/0" <= lsn "1/0")
    test.ok(lsn "0/1" == lsn "0/1" and lsn "0/1" ~= lsn "0/2" and lsn "0/1" < "0/2")
    test.ok(lsn.is(lsn "0/1") and not lsn.is "0/1" and lsn(lsn "0/5") == lsn "0/5")
    test.equal(lsn "0/1" == time.now(), false)
  end)

  test.it("refuses what is none, and to wrap", function()
    for _, text in ipairs { "", "0", "0/", "/1", "0/123456789", "x/1", "0/1 ", "-1/0" } do
      test.raises(function()
        lsn(text)
      end, { kind = "arg", code = "lsn", hint = "hexadecimal" })
    end
    test.raises(function()
      return lsn "0/10" - 17
    end, { kind = "arg", match = "cannot be moved that far" })
    test.raises(function()
      return lsn "FFFFFFFF/FFFFFFFF" + 1
    end, { kind = "arg", match = "cannot be moved that far" })
    test.raises(function()
      return lsn "0/1" + "x"
    end)
  end)
end)

test.describe("time", function()
  test.it("does arithmetic in seconds", function()
    local t = time.parse "2026-11-21 03:16:27.828671+00"
    test.equal(tostring(t), "2026-11-21 03:16:27.828671+00")
    test.equal(tostring(t + 0.000001), "2026-11-21 03:16:27.828672+00")
    test.equal(tostring(t - 60), "2026-11-21 03:15:27.828671+00")
    test.near((t + 1.5) - t, 1.5, 1e-9)
    test.equal(t.micros, 1795230987828671)
    test.equal(t:rfc3339(), "2026-11-21T03:16:27.828671Z")
    test.near(t:unix(), t.micros / 1e6, 1e-6)
  end)

  test.it("compares across offsets and refuses times without one", function()
    test.ok(time.parse "2026-11-21 05:00:00+02" == time.parse "2026-11-21T03:00:00Z")
    test.ok(time.parse "2026-11-21 05:00:00+02" < time.parse "2026-11-21 05:00:00+01")
    test.ok(time.now() > time.parse "2024-01-01 00:00:00Z")
    test.raises(function()
      time.parse "2026-11-21 05:00:00"
    end, { kind = "arg", hint = "add the offset" })
    test.raises(function()
      return time.now() < 5
    end, { kind = "arg", match = "expected a time, got integer" })
  end)
end)
