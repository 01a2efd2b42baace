-- A prepared point select from a Lua loop against pgbench and sysbench: one client, the same server,
-- the same Unix socket, the same tables, alternating rounds. Goals: >= 0.9 x pgbench, > 1 x sysbench.

local ROUNDS, SECONDS = tonumber(arg[1] or 7), tonumber(arg[2] or 2)
local ROWS = 100000

local function median(list)
  table.sort(list)
  return list[(#list + 1) // 2]
end

local pg <close> = lab.postgres { archive = false }
local at = pg:endpoint()
local env =
  { PGPASSFILE = lab.info().folder .. "/pgpass", PGHOST = at.host, PGPORT = tostring(at.port), PGUSER = at.user }
local password = fs.read(lab.info().folder .. "/password"):gsub("%s+$", "")

local function sysbench(...)
  return pg:exec {
    "sysbench",
    "--db-driver=pgsql",
    "--pgsql-host=" .. at.host,
    "--pgsql-port=" .. at.port,
    "--pgsql-user=" .. at.user,
    "--pgsql-password=" .. password,
    "--pgsql-db=postgres",
    "--tables=1",
    "--table-size=" .. ROWS,
    "--threads=1",
    "--time=" .. SECONDS,
    ...,
  }
end

local function run_pgbench()
  local out = pg:exec { "pgbench", "-n", "-M", "prepared", "-S", "-c", "1", "-T", SECONDS, "postgres", env = env }
  return tonumber(out.stdout:match "tps = ([%d.]+)")
end

local function run_sysbench()
  return tonumber(sysbench("oltp_point_select", "run").stdout:match "transactions:%s+%d+%s+%(([%d.]+) per sec")
end

local function run_rpitr(db, statement)
  local select, count, stop = db:prepare(statement), 0, timer.now() + SECONDS
  local random = random.new "point select"
  while timer.now() < stop do
    for _ = 1, 100 do
      select:value(random(ROWS))
    end
    count = count + 100
  end
  return count / SECONDS
end

pg:exec { "pgbench", "-i", "-q", "postgres", env = env }
local with_sysbench = pcall(sysbench, "oltp_point_select", "prepare")
if not with_sysbench then
  print "sysbench is not installed: only pgbench is compared"
end
local db <close> = pg:connect()
db:exec "VACUUM ANALYZE"

local ours, theirs = { a = {}, b = {} }, { a = {}, b = {} }
for round = 1, ROUNDS do
  theirs.a[round] = run_pgbench()
  ours.a[round] = run_rpitr(db, "SELECT abalance FROM pgbench_accounts WHERE aid = $1")
  if with_sysbench then
    theirs.b[round] = run_sysbench()
    ours.b[round] = run_rpitr(db, "SELECT c FROM sbtest1 WHERE id = $1")
  end
end

-- The ratio is taken within each round, where both saw the same machine, and then the median.
local function show(name, goal, mine, peer)
  local ratios = {}
  for round = 1, ROUNDS do
    ratios[round] = mine[round] / peer[round]
  end
  local row = "%-28s %8.0f /s   rpitr %8.0f /s   ratio %.2f (goal %s)"
  print(row:format(name, median(peer), median(mine), median(ratios), goal))
end

print(("prepared point select, 1 client, median of %d rounds of %d s"):format(ROUNDS, SECONDS))
show("pgbench -M prepared -S", ">= 0.9", ours.a, theirs.a)
if with_sysbench then
  show("sysbench oltp_point_select", "> 1", ours.b, theirs.b)
end
