--- Writers under load while servers freeze, crash and lose their network; then recovery to any moment, proved.
--
-- The question is old: is a recovery to time T what the database was at T? The usual test writes
-- rows with a time stamp from several clients, breaks something every now and then, restores to a random T and
-- counts the rows with a stamp up to T. It fails on healthy servers, because the stamp is taken before
-- the COMMIT and recovery goes by the commit record; and it passes on some broken ones, because a
-- count does not see one row lost and another too many.
--
-- Here the same test has an exact oracle. The write-ahead log is the only order recovery knows: what it
-- keeps at a target is computed from the log record by record, and a restored database must hold exactly
-- those operations, row by row and byte by byte. A second oracle knows nothing of the log: each
-- client wrote down what it was promised and when. An operation nobody answered is neither lost
-- nor kept by decree: it is looked for in the data, by its id. (Not by its transaction id: after a crash the server
-- may have given that to another one.)
--
-- What breaks, and when, is decided before the run from the seed and written down; every fault has its way back on
-- disk before it happens, and a second process that takes it should this one be killed.
--
--   rpitr chaos                    one minute
--   rpitr chaos --duration 10m     the real thing: a fault every 30 to 60 seconds
--   rpitr chaos --bundle DIR       keep everything; rpitr verify DIR judges it again

-- The events of the exercise: the primary frozen, rpitr itself killed, the receiver restarted, the standby frozen; and
-- what else the night brings.
local function faults_of(arg, pause, cluster)
  local list = { chaos.pause("primary", pause), chaos.kill_orchestrator() }
  if cluster.receiver then
    list[#list + 1] = chaos.restart "receiver"
  end
  if cluster.standby then
    list[#list + 1] = chaos.pause("standby", pause)
  end
  for _, fault in ipairs {
    chaos.kill_tree "primary",
    chaos.immediate "primary",
    chaos.kill_backend "primary",
    chaos.ack_loss("client", { probability = 0.05, seed = 7, duration = pause }),
    chaos.latency("client", { delay = "20ms", duration = pause }),
    chaos.reset "client",
    chaos.archive_fail { count = 3, duration = pause },
    chaos.restart "primary",
  } do
    list[#list + 1] = fault
  end
  if cluster.standby then
    list[#list + 1] = chaos.cut_pair("standby", pause)
    list[#list + 1] = chaos.kill_tree "standby"
  end
  if cluster.receiver then
    list[#list + 1] = chaos.kill_capturer()
    list[#list + 1] = chaos.cut_pair("receiver", pause)
  end
  if arg.faults ~= "all" then
    local wanted, kept = {}, {}
    for kind in arg.faults:gmatch "[%w_]+" do
      wanted[kind] = true
    end
    for _, fault in ipairs(list) do
      if wanted[fault.kind] then
        kept[#kept + 1] = fault
      end
    end
    return kept
  end
  return list
end

local function new_run(d, arg, say)
  local cluster = d:step("a primary with an archive, a standby, a WAL receiver, proxies in between", function()
    return chaos.cluster {
      standby = arg.standby,
      receiver = arg.receiver,
      wal_segment_size = arg.segment,
      version = arg.version > 0 and arg.version or nil,
    }
  end)
  local duration = arg.quick and "40s" or arg.duration
  local title = ("%d writers for %s, faults, then %d restores"):format(arg.writers, duration, arg.restores)
  return d:step(title, function()
    local long = chaos.seconds(duration) >= 300
    return chaos.run {
      cluster = cluster,
      duration = duration,
      every = arg.every ~= "auto" and arg.every or (long and "30..60s" or "1..3s"),
      workload = chaos.writers { n = arg.writers, think = arg.think, deadline = "5s" },
      faults = faults_of(arg, long and "5..20s" or "500ms..2s", cluster),
      targets = chaos.targets { bundle = arg.targets, restores = arg.restores, parallel = arg.parallel },
      schedule = arg.replay ~= "" and chaos.read_schedule(arg.replay) or nil,
      dir = arg.bundle ~= "" and arg.bundle or nil,
      say = say,
    }
  end)
end

return drill "chaos" {
  summary = "Faults under load, then recovery to random and to nasty moments, compared commit by commit.",
  tags = { "chaos", "pitr" },
  args = {
    duration = { "40s", "how long the writers work; 10m is the real thing" },
    every = { "auto", "pause between two faults; auto: 1 to 3 s in a short run, 30 to 60 s from 5 minutes on" },
    writers = { 8, "concurrent writers", min = 1 },
    think = { "0..20ms", "pause between two operations of a writer" },
    faults = { "all", "kinds of faults, separated by commas, or all" },
    targets = { 1000, "targets judged on the bundle", min = 0 },
    restores = { 10, "targets restored for real", min = 0 },
    parallel = { 2, "restores at a time", min = 1 },
    standby = { true, "with a streaming standby" },
    receiver = { true, "with a WAL receiver, whose segments are compared with the archive" },
    segment = { "4MB", "size of a WAL segment" },
    version = { 0, "PostgreSQL major version; 0 is the newest installed", min = 0 },
    quick = { false, "about a minute in all, whatever duration says" },
    replay = { "", "run the schedule of this bundle again" },
    resume = { "", "go on with the killed run of this bundle" },
    bundle = { "", "keep the bundle in this folder; rpitr verify judges it again" },
  },
  budget = "90m",
  supervised = true,
  expect = {
    "operations >= 1000",
    "lost == 0",
    "phantom == 0",
    "duplicate == 0",
    "torn == 0",
    "altered == 0",
    "not_healed == 0",
  },

  run = function(d, arg)
    lab.needs_own "it injects faults whose undo knows labs only"
    local function say(text)
      d:say(text)
    end
    local result
    if arg.resume ~= "" then
      result = d:step("the servers of the killed run, the rest of its faults, then its restores", function()
        return chaos.resume(arg.resume, { say = say })
      end)
    else
      result = new_run(d, arg, say)
    end

    local verdict = result.verdict
    d:say(result.text)
    if verdict.run.indeterminate > 0 then
      d:say(
        "%d operations were never answered; %d of them had committed all the same. A client that retries them blindly writes them twice.",
        verdict.run.indeterminate,
        verdict.run.indeterminate_committed
      )
    end
    chaos.record(d, result)
    d:check("the verdict is a pass", result:passed(), verdict.verdict)
  end,
}
