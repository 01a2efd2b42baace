#!/usr/bin/env bash
# Start-up: `rpitr -e ''` against `lua5.4 -e ''`, measured side by side by hyperfine.
# Goal: at most 10 ms.
set -euo pipefail
cd "$(dirname "$0")/.."
for tool in hyperfine lua5.4 jq; do
  command -v "$tool" >/dev/null || { echo "needs $tool"; exit 1; }
done

cargo build --release --quiet
rpitr="${CARGO_TARGET_DIR:-target}/release/rpitr"
result=$(mktemp)
trap 'rm -f "$result"' EXIT
hyperfine -N --style none --warmup 20 --runs 200 --export-json "$result" "$rpitr -e ''" "lua5.4 -e ''" >/dev/null
jq -r '.results | "start-up: rpitr \(.[0].median * 10000 | round / 10) ms, lua5.4 \(.[1].median * 10000 | round / 10) ms, ratio \(.[0].median / .[1].median * 10 | round / 10); goal <= 10 ms: \(if .[0].median <= 0.01 then "met" else "MISSED" end)"' "$result"
