#!/usr/bin/env bash
# Reads at least 1 GB of WAL, made here and now by a real server, and compares with pg_waldump, cat and
# the decompressors in one run. Usage: benches/wal.sh [MB of WAL, default 1024]
# Keeps the WAL for another run when RPITR_BENCH_WAL names a directory.
set -euo pipefail
cd "$(dirname "$0")/.."

wanted_mb=${1:-1024}
bin=${RPITR_PG_BIN:-$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)}
work=${RPITR_BENCH_WAL:-$(mktemp -d /tmp/rpitr-bench-wal.XXXXXX)}
as=""
[ "$(id -u)" = 0 ] && as="setpriv --reuid=postgres --regid=postgres --clear-groups"

finish() {
  $as "$bin/pg_ctl" -D "$work/data" -m immediate -s stop 2>/dev/null || true
  [ -n "${RPITR_BENCH_WAL:-}" ] || rm -rf "$work"
}
trap finish EXIT

if [ ! -d "$work/archive" ]; then
  mkdir -p "$work"
  [ "$(id -u)" = 0 ] && chown postgres "$work"
  $as mkdir "$work/archive"
  $as "$bin/initdb" -N -A trust -U postgres -D "$work/data" >/dev/null
  cat >>"$work/data/postgresql.conf" <<CONF
listen_addresses = ''
unix_socket_directories = '$work'
fsync = off
synchronous_commit = off
shared_buffers = 256MB
max_wal_size = 8GB
checkpoint_timeout = 1h
wal_level = replica
archive_mode = on
archive_command = 'cp %p $work/archive/%f'
CONF
  export PGHOST=$work PGUSER=postgres PGDATABASE=postgres
  $as "$bin/pg_ctl" -D "$work/data" -l "$work/log" -w -s start
  written() { $as "$bin/psql" -XAtc "select ((pg_current_wal_lsn() - '0/0') / 1048576)::bigint"; }
  $as "$bin/pgbench" -i -q -s 30 2>/dev/null
  while [ "$(written)" -lt "$wanted_mb" ]; do
    $as "$bin/pgbench" -n -c 8 -t 2000 >/dev/null 2>&1
    $as "$bin/pgbench" -n -N -c 8 -t 2000 >/dev/null 2>&1
    $as "$bin/psql" -Xq -c "update pgbench_accounts set abalance = abalance + 1 where aid % 5 = 0"
  done
  $as "$bin/psql" -Xq -c "create table t as select i, repeat('x', 80) v from generate_series(1, 400000) i" \
    -c "delete from t where i <= 200000" -c "truncate t" -c "drop table t" -c "select pg_switch_wal()" >/dev/null
  $as "$bin/pg_ctl" -D "$work/data" -m fast -w -s stop
  rm -rf "$work/data"
fi
cargo bench -q --bench wal -- "$work/archive" "$bin/pg_waldump"
