#!/usr/bin/env bash
# Tasks: 10 000 of them sleeping 50 ms side by side, start-up included; the best of five runs.
# Goal: at most 200 ms and 40 MiB resident.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -x /usr/bin/time ] || { echo "needs GNU time (/usr/bin/time)"; exit 1; }

cargo build --release --quiet
rpitr="${CARGO_TARGET_DIR:-target}/release/rpitr"
code='task.group(function(g) for _ = 1, 10000 do g:spawn(timer.sleep, 0.05) end end)'
for _ in 1 2 3 4 5; do
  { /usr/bin/time -f '%e %M' "$rpitr" -e "$code"; } 2>&1
done | sort -n | head -1 | awk '{
  ms = $1 * 1000; mib = $2 / 1024
  printf "10 000 sleeping tasks: %d ms (%.1f x the sleep), %.1f MiB; goal <= 200 ms: %s, <= 40 MiB: %s\n",
    ms, ms / 50, mib, ms <= 200 ? "met" : "MISSED", mib <= 40 ? "met" : "MISSED"
}'
