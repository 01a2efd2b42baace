-- A receiver under faults has every segment the archive has; what it lacks, or has otherwise, is found.

local bundle_of = require "rpitr.chaos.bundle"

local PATIENT = { timeout = "180s" }

local made

local function cluster()
  made = made or chaos.cluster { standby = false, receiver = true }
  return made
end

-- What a probe said of the receiver: { receiving = check, received = check }.
local function probes(result)
  local found = {}
  for _, check in ipairs(result.checks) do
    found[check.name] = check
  end
  return found
end

local function write_a_segment()
  cluster().primary:admin():exec "SELECT pg_logical_emit_message(true, 'test', 'x')"
  return cluster().primary:flush_archive()
end

test.it("restarted, killed, frozen, cut off: it streams again, and there is no hole", function()
  local receiver = cluster().receiver
  for _, fault in ipairs {
    chaos.restart "receiver",
    chaos.kill_capturer(),
    chaos.pause "receiver",
    chaos.cut_pair "receiver",
  } do
    local undo <close> = chaos.inject(cluster(), fault)
    if fault.kind == "kill_capturer" then
      test.equal(receiver:status(), "crashed")
    elseif fault.kind == "pause" then
      test.equal(receiver:status(), "paused")
    end
    local segment = write_a_segment()
    local found = probes(undo:heal())
    test.equal(found.receiving.ok, true, found.receiving.detail)
    test.equal(found.received.ok, true, found.received.detail)
    eventually(function()
      return fs.exists(receiver.data .. "/" .. segment)
    end)
  end
end, PATIENT)

test.it("a probe finds a segment the receiver never got", function()
  local receiver = cluster().receiver
  local segment = write_a_segment()
  eventually(function()
    return fs.exists(receiver.data .. "/" .. segment)
  end)
  write_a_segment()
  local path, aside = receiver.data .. "/" .. segment, receiver.data .. "/../" .. segment
  local undo = chaos.inject(cluster(), chaos.kill_capturer())
  os.rename(path, aside)
  local e = test.raises(function()
    undo:heal { patience = "3s" }
  end)
  test.equal(e.code, "heal_failed")
  test.ok(e.message:find(segment .. " is in the archive, but was not received", 1, true), e.message)
  os.rename(aside, path)
  undo:heal()
end, PATIENT)

test.it("a run's receiver is judged against its archive, byte for byte", function()
  local dir = lab.info().folder .. "/received"
  local result = chaos.run {
    cluster = cluster(),
    seed = 21,
    duration = "6s",
    every = "500ms..1s",
    workload = chaos.writers { n = 4, think = "0..2ms" },
    faults = { chaos.restart "receiver", chaos.kill_capturer "200ms", chaos.pause("primary", "200ms") },
    targets = chaos.targets { restores = 1, bundle = 100 },
    require = { operations = 200, faults = 2 },
    dir = dir,
  }
  result:assert()
  test.ok(result.verdict.run.received >= 2, result.text)

  local bundle = bundle_of.open(dir)
  local names = {}
  for _, name in ipairs(fs.list(bundle:path "received")) do
    if #name == 24 and fs.exists(bundle:path("archive/" .. name)) then
      names[#names + 1] = name
    end
  end
  -- The last but one: behind the backup, and complete.
  local path = bundle:path("received/" .. names[#names - 1])
  local whole = fs.read(path)
  local function planted(shows)
    local verdict, text = bundle:judge()
    test.equal(verdict.verdict, "fail", text)
    test.ok(text:find(names[#names - 1] .. " " .. shows, 1, true), text)
  end
  fs.remove(path)
  planted "is in the archive, but was not received"
  fs.write(path, whole:sub(1, 70000) .. string.char(whole:byte(70001) ~ 1) .. whole:sub(70002))
  planted "was received with other bytes than the archive has, from byte 70000 on"
  fs.write(path, whole)
  test.equal(bundle:judge().verdict, "pass")
end, PATIENT)
