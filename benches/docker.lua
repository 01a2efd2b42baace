-- What a container costs: node operations of rpitr against the docker command doing the same, in turns.
-- Called by benches/docker.sh; `rpitr benches/docker.lua --runtime docker` runs it alone.

local rounds = tonumber(arg[1]) or 5

local function median(list)
  table.sort(list)
  return list[(#list + 1) // 2]
end

local times, order = {}, {}

local function measure(name, who, fn)
  local started = timer.now()
  local result = fn()
  local took = timer.now() - started
  if not times[name] then
    times[name] = { rpitr = {}, docker = {} }
    order[#order + 1] = name
  end
  table.insert(times[name][who], took)
  return result
end

local function docker(...)
  return sh.run({ "docker", ... }).stdout:gsub("%s+$", "")
end

-- The first container of a lab also makes networks and volumes, and looks at the image.
lab.sandbox { name = "first" }
local image = lab.nodes().first:inspect().image
local idle = "trap 'exit 0' TERM; while :; do sleep 86400 & wait $!; done"

for round = 1, rounds do
  local name = "bench" .. round
  local theirs = lab.info().id .. "-peer"
  local _ <close> = defer(function()
    sh.run { "docker", "rm", "-fv", theirs, check = false }
    sh.run { "docker", "volume", "rm", "-f", theirs, check = false }
  end)
  local node = measure("create", "rpitr", function()
    return lab.sandbox { name = name }
  end)
  measure("create", "docker", function()
    docker("volume", "create", theirs)
    local volume = theirs .. ":/there"
    docker(
      "create",
      "--name",
      theirs,
      "-v",
      volume,
      "--network",
      "bridge",
      "-p",
      "127.0.0.1::5432",
      "--entrypoint",
      "/bin/sh",
      image,
      "-c",
      idle
    )
    docker("start", theirs)
  end)
  for _ = 1, 3 do
    measure("exec", "rpitr", function()
      node:exec { "true" }
    end)
    measure("exec", "docker", function()
      docker("exec", "-u", "postgres", theirs, "true")
    end)
  end
  node:initdb()
  docker("exec", "-u", "0", theirs, "chown", "postgres", "/there")
  docker(
    "exec",
    "-u",
    "postgres",
    theirs,
    "sh",
    "-c",
    "PATH=$PATH:$(echo /usr/lib/postgresql/*/bin) initdb -D /there/data --no-sync -A trust"
  )
  local pg_ctl = "PATH=$PATH:$(echo /usr/lib/postgresql/*/bin) pg_ctl -D /there/data -w -m fast -l /there/log "
  measure("start server", "rpitr", function()
    node:start()
  end)
  measure("start server", "docker", function()
    docker("exec", "-u", "postgres", theirs, "sh", "-c", pg_ctl .. "start")
  end)
  measure("stop server", "rpitr", function()
    node:stop()
  end)
  measure("stop server", "docker", function()
    docker("exec", "-u", "postgres", theirs, "sh", "-c", pg_ctl .. "stop")
  end)
  measure("remove", "rpitr", function()
    node:remove()
  end)
  measure("remove", "docker", function()
    docker("rm", "-fv", theirs)
    docker("volume", "rm", theirs)
  end)
end

print(("node operations, medians of %d rounds      rpitr    docker command    ratio"):format(rounds))
for _, name in ipairs(order) do
  local ours, theirs = median(times[name].rpitr), median(times[name].docker)
  print(("  %-16s %28.0f ms %14.0f ms %8.2f"):format(name, ours * 1000, theirs * 1000, ours / theirs))
end
