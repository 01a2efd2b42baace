#!/bin/sh
# Starts a hot standby. Its data directory is made by pg_basebackup when there is none; until then it
# waits for the primary, so the two may be started in any order.
#
# usage: rpitr-standby postgres [OPTION...]
# environment: UPSTREAM (host name), SLOT, REPLICATION_PASSWORD, PGDATA
set -eu
umask 077

say() { echo "standby: $*" >&2; }

# In the container, not in the data directory: backups hold no password.
passfile=/tmp/.pgpass
printf '*:*:*:replicator:%s\n' "$(printf '%s' "$REPLICATION_PASSWORD" | sed 's/[\\:]/\\&/g')" >$passfile
upstream="host=$UPSTREAM port=5432 user=replicator passfile=$passfile application_name=$SLOT"

make_slot() { pg_receivewal --create-slot --if-not-exists --slot="$SLOT" --dbname="$upstream connect_timeout=5"; }

# Whoever wants it made anew leaves this file.
if [ -e "$PGDATA.rebuild" ]; then
    rm -rf "$PGDATA"
    rm -f "$PGDATA.rebuild"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    [ -z "$(ls -A "$PGDATA" 2>/dev/null)" ] || {
        say "$PGDATA is neither empty nor a data directory; it is left alone"
        exit 1
    }
    # A directory with the final name is complete.
    new=$PGDATA.new
    while :; do
        rm -rf "$new"
        make_slot && pg_basebackup --dbname="$upstream" --pgdata="$new" --slot="$SLOT" --wal-method=stream \
            --checkpoint=fast --no-manifest && break
        say "$UPSTREAM does not give a base backup yet"
        sleep 1
    done
    cat >>"$new/postgresql.auto.conf" <<CONF
primary_conninfo = '$upstream'
primary_slot_name = '$SLOT'
CONF
    : >"$new/standby.signal"
    sync
    rmdir "$PGDATA" 2>/dev/null || :
    mv "$new" "$PGDATA"
    say "follows $UPSTREAM with slot $SLOT"
elif [ -e "$PGDATA/standby.signal" ]; then
    # A slot that was dropped is made again; without the primary the standby starts all the same.
    make_slot || say "$UPSTREAM does not answer"
fi
exec docker-entrypoint.sh "$@"
