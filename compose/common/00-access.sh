#!/bin/sh
# Runs once, while the primary's data directory is made: the account standbys and receivers use.
set -eu
psql -v ON_ERROR_STOP=1 --no-psqlrc --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
    --set password="$REPLICATION_PASSWORD" <<'SQL'
CREATE ROLE replicator LOGIN REPLICATION PASSWORD :'password';
SQL
printf 'host replication all all scram-sha-256\n' >>"$PGDATA/pg_hba.conf"
