#!/bin/sh
# Whether a container does its work, for its health check.
#
# usage: rpitr-healthy server | receiver
set -eu
case $1 in
server)
    # Over TCP: the server that runs the init scripts listens on its socket only, and must not count.
    pg_isready -q -h 127.0.0.1
    [ "$(psql -XqtA -U "$POSTGRES_USER" -d "$POSTGRES_DB" -c 'SELECT 1')" = 1 ]
    ;;
receiver)
    # The slot is in use: somebody receives.
    found=$(PGPASSFILE=/tmp/.pgpass psql -XqtA -h "$UPSTREAM" -U replicator -d postgres \
        -c "SELECT active FROM pg_replication_slots WHERE slot_name = '$SLOT'")
    [ "$found" = t ]
    ;;
*) exit 2 ;;
esac
