#!/bin/sh
# Captures the WAL of a primary as it is written: pg_receivewal with a slot of its own, so that nothing is
# missed while either of the two is away. A segment that is being written is called NAME.partial.
#
# usage: rpitr-receive FOLDER
# environment: UPSTREAM (host name), SLOT, REPLICATION_PASSWORD
set -eu
umask 077
folder=$1
passfile=/tmp/.pgpass
printf '*:*:*:replicator:%s\n' "$(printf '%s' "$REPLICATION_PASSWORD" | sed 's/[\\:]/\\&/g')" >$passfile
upstream="host=$UPSTREAM port=5432 user=replicator passfile=$passfile application_name=$SLOT"

child=
trap 'trap - TERM INT; [ -z "$child" ] || { kill -INT "$child"; wait "$child" || :; }; exit 0' TERM INT
run() {
    "$@" &
    child=$!
    wait "$child"
}
# pg_receivewal tries again when the connection breaks; it ends when it cannot even begin.
while :; do
    if run pg_receivewal --create-slot --if-not-exists --slot="$SLOT" --dbname="$upstream connect_timeout=5"; then
        run pg_receivewal --directory="$folder" --slot="$SLOT" --synchronous --dbname="$upstream" || :
    fi
    echo "receive: $UPSTREAM does not answer yet" >&2
    run sleep 1 || :
done
