-- Logged writers against pgbench: 8 clients without pauses, the same transaction (two tables, one
-- round trip), the same server, alternating rounds. Goal: >= 0.7 x pgbench.

local ROUNDS, SECONDS, CLIENTS = tonumber(arg[1] or 5), tonumber(arg[2] or 3), 8

local BATCH = [[
\set seq :seq + 1
\set op (:client_id + 1 + :round * 100) * 1000000000 + :seq
BEGIN \; INSERT INTO operations (op, items, note) VALUES (:op, 2, '%s') \; INSERT INTO entries (op, n, payload) VALUES (:op, 1, '%s'), (:op, 2, '%s') RETURNING pg_current_xact_id(), pg_current_wal_insert_lsn(), (extract(epoch FROM clock_timestamp()) * 1000000)::bigint \; COMMIT \; SELECT pg_current_wal_insert_lsn(), (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
]]

local function median(list)
  table.sort(list)
  return list[(#list + 1) // 2]
end

local pg <close> = lab.postgres { conf = { max_wal_size = "4GB" } }
local folder = lab.info().folder
local at = pg:endpoint()
local env = { PGPASSFILE = folder .. "/pgpass", PGHOST = at.host, PGPORT = tostring(at.port), PGUSER = at.user }
local text = ("x"):rep(100)
local script = pg.data .. "/../batch.sql"
fs.write(script, BATCH:format(text, text, text))

local function run_pgbench(round)
  local out = pg:exec {
    "pgbench",
    "-n",
    "-c",
    CLIENTS,
    "-T",
    SECONDS,
    "-D",
    "seq=0",
    "-D",
    "round=" .. round,
    "-f",
    script,
    "writers",
    env = env,
  }
  return tonumber(out.stdout:match "tps = ([%d.]+)")
end

local function run_rpitr(round)
  local crew <close> = workload.writers(pg, {
    log = ("%s/bench-%d.jsonl"):format(folder, round),
    n = CLIENTS,
    rows = 2,
    payload = 100,
    think = 0,
    rollback = 0,
    savepoint = 0,
  })
  timer.sleep(SECONDS)
  local stats = crew:stats()
  crew:stop()
  local db <close> = pg:connect { dbname = "writers" }
  db:exec "TRUNCATE operations, entries"
  return stats.rate
end

run_rpitr(0)
local ours, theirs, ratios = {}, {}, {}
for round = 1, ROUNDS do
  theirs[round], ours[round] = run_pgbench(round), run_rpitr(round)
  ratios[round] = ours[round] / theirs[round]
end
print(("%d clients, two tables a transaction, median of %d rounds of %d s"):format(CLIENTS, ROUNDS, SECONDS))
print(
  ("pgbench %6.0f tps   rpitr, every operation logged %6.0f tps   ratio %.2f (goal >= 0.7)"):format(
    median(theirs),
    median(ours),
    median(ratios)
  )
)
