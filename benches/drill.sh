#!/usr/bin/env bash
# The whole full_recovery drill against the time PostgreSQL's own programs and servers worked in it
# (initdb, pg_basebackup, pg_verifybackup, starts, stops, recovery, amcheck, verification queries;
# overlapping work counted once). Goals: ratio <= 1.25, wall <= 6 s.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --quiet
runs=${1:-10}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
for i in $(seq "$runs"); do
    target/release/rpitr scripts/full_recovery.lua --quiet --report "$out/$i" >/dev/null
done
target/release/rpitr benches/drill.lua "$out" "$runs"
