-- The low-level docker module on a real engine.

-- Servers and engines may be slow on a machine that does other things.
local function it(name, fn)
  test.it(name, fn, { timeout = "3m" })
end

local IMAGE = docker.has_image "postgres:15" and "postgres:15" or "rpitr/postgres:15"

local function idle(options)
  options = options or {}
  options.entrypoint = { "/bin/sh", "-c" }
  options.command = { "trap 'exit 7' TERM INT; echo started; while :; do sleep 0.1; done" }
  return docker.run(IMAGE, options)
end

-- One container for the tests that only look at it.
local shared
local function one()
  shared = shared or idle()
  return shared
end

local function folder()
  return (sh.run({ "mktemp", "-d" }).stdout:gsub("%s+$", ""))
end

-- Names of what carries the labels of a container's lab.
local function marked(c)
  local lab = c:inspect().Config.Labels["rpitr.lab"]
  local filter = "label=rpitr.lab=" .. lab
  local all = ""
  for _, list in ipairs { { "ps", "-aq" }, { "volume", "ls", "-q" }, { "network", "ls", "-q" } } do
    all = all
      .. sh.run({
        "docker",
        list[1],
        list[2],
        list[3] or "--filter",
        list[3] and "--filter" or filter,
        list[3] and filter,
      }).stdout
  end
  return all
end

test.describe("docker.run", function()
  it("starts a server, waits until it is ready, and publishes its port on this machine only", function()
    local c <close> = docker.run(IMAGE, {
      env = { POSTGRES_PASSWORD = "secret", POSTGRES_DB = "shop" },
      ports = { 5432 },
      wait = {
        docker.wait.log("ready to accept connections", { timeout = "2m" }),
        docker.wait.exec({ "pg_isready", "-h", "127.0.0.1", "-U", "postgres" }, { timeout = "1m", every = "50ms" }),
        docker.wait.port(5432),
      },
    })
    local address, port = c:port(5432)
    local db <close> = eventually(function()
      return sql.connect { host = address, port = port, user = "postgres", password = "secret", dbname = "shop" }
    end)
    test.equal(db:value "SELECT 41 + 1", 42)
    test.equal(c:inspect().NetworkSettings.Ports["5432/tcp"][1].HostIp, "127.0.0.1")
    test.equal(c:state().status, "running")
    test.raises(function()
      c:port(80)
    end, { kind = "state", match = "publishes no port 80" })
  end)

  it("knows its options", function()
    test.raises(function()
      docker.run(IMAGE, { comand = { "true" } })
    end, { kind = "arg", hint = "command" })
    test.raises(function()
      docker.run(IMAGE, { ports = { "http" } })
    end, { kind = "arg" })
    test.raises(function()
      docker.run(IMAGE, { name = "../x" })
    end, { kind = "arg" })
    test.raises(function()
      one():wait "ready"
    end, { kind = "arg" })
    test.raises(function()
      docker.wait.log("x", { timout = 1 })
    end, { kind = "arg", hint = "timeout" })
  end)

  it("says that a port is taken, and leaves nothing behind", function()
    local first <close> = idle { ports = { 5432 } }
    local _, taken = first:port(5432)
    local before = marked(first)
    test.raises(function()
      idle { ports = { [5432] = taken } }
    end, { kind = "environment", code = "port_taken" })
    test.equal(marked(first), before)
  end)
end)

test.describe("container:exec", function()
  it("passes words as they are, and collects output and status", function()
    local odd = "a 'b' \"c\" $HOME; * \\ %"
    test.equal(one():exec({ "printf", "%s", odd }).stdout, odd)
    local done = one():exec {
      "sh",
      "-c",
      "cat; pwd; echo $X >&2; exit 3",
      stdin = "in ",
      cwd = "/tmp",
      env = { X = "y" },
      check = false,
    }
    test.equal({ done.code, done.stdout, done.stderr }, { 3, "in /tmp\n", "y\n" })
    test.equal(one():exec({ "id", "-un", user = "postgres" }).stdout, "postgres\n")
    test.equal(#one():exec({ "head", "-c", 3000000, "/dev/zero" }).stdout, 3000000)
  end)

  it("a program that fails raises, one that is missing too", function()
    test.raises(function()
      one():exec { "sh", "-c", "echo broken >&2; exit 4" }
    end, { kind = "io", code = "exit_status" })
    test.raises(function()
      one():exec { "no-such-program" }
    end, { match = "no%-such%-program" })
    test.raises(function()
      one():exec { "true", chek = false }
    end, { kind = "arg", hint = "check" })
  end)

  it("hands output on as it comes", function()
    local parts = {}
    local gate = one()
    one():exec {
      "sh",
      "-c",
      "echo first; while [ ! -e /tmp/go ]; do sleep 0.02; done; echo second",
      stdout = function(bytes)
        parts[#parts + 1] = bytes
        gate:write("/tmp/go", "")
      end,
    }
    test.equal(parts, { "first\n", "second\n" })
  end)

  it("a timeout kills the program, and what it started", function()
    test.raises(function()
      one():exec { "sh", "-c", "sleep 4321 & wait", timeout = "300ms" }
    end, { kind = "timeout" })
    eventually(function()
      return not sh.run({ "docker", "top", one().id }).stdout:find("sleep 4321", 1, true)
    end, { describe = "the end of the program" })
  end)
end)

test.describe("a container's life", function()
  it("stop, start, pause, kill, restart, rm", function()
    local c <close> = idle()
    local function status()
      return c:state().status
    end
    c:pause()
    test.equal(status(), "paused")
    c:unpause()
    test.equal(status(), "running")
    c:stop { timeout = "20s" }
    test.equal(c:wait(docker.wait.exit()), 7, "it ended by itself")
    c:start()
    test.equal(status(), "running")
    c:kill()
    test.equal(c:wait(docker.wait.exit { timeout = "10s" }), 137)
    c:restart()
    test.equal(status(), "running")
    c:rm()
    c:rm()
    test.raises(function()
      c:state()
    end, { kind = "state", code = "container_gone" })
    test.raises(function()
      c:exec { "true" }
    end, { kind = "state", code = "container_gone" })
  end)

  it("removed behind our back is an error that says so", function()
    local c <close> = idle()
    sh.run { "docker", "rm", "-fv", c.id }
    test.raises(function()
      c:stop()
    end, { kind = "state", code = "container_gone" })
  end)

  it("leaves with its block", function()
    local id
    do
      local c <close> = idle()
      id = c.id
    end
    test.equal(sh.run({ "docker", "ps", "-aq", "--no-trunc", "--filter", "id=" .. id }).stdout, "")
  end)
end)

test.describe("the log", function()
  it("is read whole, by its tail, and as it is written", function()
    local c <close> = docker.run(IMAGE, {
      entrypoint = { "/bin/sh", "-c" },
      command = {
        "for i in 1 2 3; do echo line $i; done; echo oops >&2; while [ ! -e /tmp/go ]; do sleep 0.02; done; echo end",
      },
    })
    c:wait(docker.wait.log "line 3")
    local seen = {}
    for line in c:follow() do
      seen[#seen + 1] = line
      if line == "line 3" then
        c:write("/tmp/go", "")
      end
    end
    table.sort(seen)
    test.equal(seen, { "end", "line 1", "line 2", "line 3", "oops" })
    test.equal(c:wait(docker.wait.exit()), 0)
    test.ok(c:logs():find("line 1\nline 2\nline 3\n", 1, true))
    test.equal(c:logs { tail = 1 }, "end\n")
  end)

  it("following can be broken off", function()
    for line in one():follow() do
      test.equal(line, "started")
      break
    end
  end)
end)

test.describe("files", function()
  it("are written, read and copied, also of a container that is stopped", function()
    local c <close> = idle()
    c:stop { timeout = "20s" }
    local bytes = "\0\255text\n" .. ("x"):rep(100000)
    c:write("/tmp/a 'file'", bytes)
    test.equal(c:read "/tmp/a 'file'", bytes)
    local here = folder()
    local _ <close> = defer(function()
      sh.run { "rm", "-r", here }
    end)
    fs.write(here .. "/one", "1")
    sh.run { "mkdir", "-p", here .. "/sub/deep", here .. "/out" }
    fs.write(here .. "/sub/deep/two", "2")
    c:copy_in(here .. "/sub", "/tmp")
    c:copy_in(here .. "/one", "/tmp/sub")
    test.equal(c:read "/tmp/sub/deep/two" .. c:read "/tmp/sub/one", "21")
    c:copy_out("/tmp/sub", here .. "/out")
    test.equal(fs.read(here .. "/out/sub/deep/two"), "2")
    test.raises(function()
      c:read "/tmp/none"
    end, { kind = "state" })
    test.raises(function()
      c:write("relative", "")
    end, { kind = "arg" })
  end)
end)

test.describe("networks and volumes", function()
  it("containers of a network reach each other by name; a volume outlives its container", function()
    local net <close> = docker.network()
    local data <close> = docker.volume { name = "shared" }
    do
      local c <close> = idle { volumes = { ["/data"] = data } }
      c:write("/data/kept", "yes")
    end
    local c <close> = idle { network = net, aliases = { "alpha" }, volumes = { ["/data"] = data } }
    local other <close> = idle { network = net }
    test.equal(c:read "/data/kept", "yes")
    test.equal(other:exec({ "getent", "hosts", "alpha" }).code, 0)
    local stranger <close> = idle()
    test.ok(stranger:exec({ "getent", "hosts", "alpha", check = false }).code ~= 0)
    test.raises(function()
      data:rm()
    end, { kind = "state" })
  end)
end)

test.describe("wait", function()
  it("gives up at its deadline, and at once when the container has ended", function()
    test.raises(function()
      one():wait(docker.wait.log("never", { timeout = "200ms", every = "20ms" }))
    end, { kind = "timeout", match = "never" })
    local c <close> = docker.run(IMAGE, { entrypoint = { "/bin/sh", "-c" }, command = { "echo gone wrong; exit 9" } })
    test.raises(function()
      c:wait(docker.wait.log("never", { timeout = "5m" }))
    end, { kind = "state", match = "exit status 9" })
    test.raises(function()
      one():wait(docker.wait.healthy())
    end, { kind = "state", match = "no health check" })
    test.raises(function()
      one():wait(docker.wait.exec({ "false" }, { timeout = "100ms", every = "10ms" }))
    end, { kind = "timeout" })
  end)

  it("a port nobody listens on is not open, though the engine publishes it", function()
    local c <close> = idle { ports = { 7777 } }
    test.raises(function()
      c:wait(docker.wait.port(7777, { timeout = "300ms" }))
    end, { kind = "timeout" })
  end)
end)

test.describe("images", function()
  local TAG = "rpitr-test/built:" .. tostring(random.new "docker"(1000000))

  it("are built, with a health check that is waited for, and removed", function()
    local here = folder()
    local _ <close> = defer(function()
      sh.run { "rm", "-r", here }
      docker.remove_image(TAG)
    end)
    fs.write(here .. "/greeting", "hello from the context\n")
    fs.write(
      here .. "/Dockerfile",
      ('FROM %s\nARG WHO=nobody\nRUN echo $WHO >/who\nCOPY greeting /greeting\nHEALTHCHECK --interval=1s CMD test -e /tmp/well\nENTRYPOINT ["sleep", "600"]\nCMD []\n'):format(
        IMAGE
      )
    )
    test.equal(docker.build(here, { tag = TAG, args = { WHO = "somebody" } }), TAG)
    test.ok(docker.has_image(TAG))
    local c <close> = docker.run(TAG, { command = {} })
    test.equal(c:read "/who" .. c:read "/greeting", "somebody\nhello from the context\n")
    test.raises(function()
      c:wait(docker.wait.healthy { timeout = "100ms" })
    end, { kind = "timeout" })
    c:write("/tmp/well", "")
    c:wait(docker.wait.healthy { timeout = "60s" })
    c:rm()
    fs.write(here .. "/Dockerfile", ("FROM %s\nRUN echo about to fail; exit 5\n"):format(IMAGE))
    test.raises(function()
      docker.build(here, { tag = TAG .. "-bad" })
    end, { kind = "script", code = "build_failed" })
    test.ok(docker.remove_image(TAG))
    test.ok(not docker.remove_image(TAG) and not docker.has_image(TAG))
  end)

  it("that cannot be pulled say why", function()
    -- A port nobody listens on: no registry is asked.
    for _, try in ipairs { docker.pull, docker.run } do
      test.raises(function()
        try "127.0.0.1:9/no/such:image"
      end, { kind = "environment", code = "pull_failed" })
    end
  end)
end)
