#!/usr/bin/env bash
# What containers cost: full_recovery on Docker against the same on plain processes, in turns (goal <= 3 x),
# then each node operation against the docker command doing the same. Needs a Docker engine.
set -euo pipefail
cd "$(dirname "$0")/.."
rpitr=${RPITR:-target/release/rpitr}
[ -n "${RPITR:-}" ] || cargo build --release --quiet
if ! docker version >/dev/null 2>&1; then
    echo "SKIPPED: no Docker engine answers, containers were not measured"
    exit 0
fi
runs=${1:-5}
# The same major version on both.
major=${2:-$($rpitr -e 'local pg <close> = lab.sandbox() print(pg.major)' | tail -n 1)}
image=
for name in "postgres:$major" "rpitr/postgres:$major"; do
    if docker image inspect "$name" >/dev/null 2>&1; then image=$name; break; fi
done
[ -z "$image" ] || export RPITR_POSTGRES_IMAGE=$image
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
for i in $(seq "$runs"); do
    for runtime in local docker; do
        "$rpitr" scripts/full_recovery.lua --quiet --runtime "$runtime" --version "$major" --report "$out/$runtime-$i" >/dev/null
    done
done
"$rpitr" -e "
local folder, runs = '$out', $runs
local function median(list) table.sort(list) return list[(#list + 1) // 2] end
local walls, ratios = { ['local'] = {}, docker = {} }, {}
for i = 1, runs do
  for runtime, list in pairs(walls) do
    list[i] = json.decode(fs.read(('%s/%s-%d/report.json'):format(folder, runtime, i))).seconds
  end
  ratios[i] = walls.docker[i] / walls['local'][i]
end
print(('full_recovery, PostgreSQL $major, %d pairs of runs'):format(runs))
print(('  local  %.2f s median, %.2f s best'):format(median(walls['local']), walls['local'][1]))
print(('  docker %.2f s median, %.2f s best'):format(median(walls.docker), walls.docker[1]))
print(('  ratio  %.2f median of the pairs (goal <= 3)'):format(median(ratios)))"
"$rpitr" benches/docker.lua --runtime docker "$runs"
