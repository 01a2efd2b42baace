#!/bin/bash
# Starts a command as the official PostgreSQL image would: as root it prepares PGDATA and steps down
# to postgres; an empty PGDATA is initialised first (POSTGRES_USER, POSTGRES_PASSWORD[_FILE],
# POSTGRES_DB, POSTGRES_INITDB_ARGS, POSTGRES_HOST_AUTH_METHOD, /docker-entrypoint-initdb.d).
set -Eeuo pipefail

# from_file NAME [DEFAULT]: $NAME, or what stands in the file $NAME_FILE (secrets).
from_file() {
    local file="$1_FILE"
    if [ -n "${!1:-}" ] && [ -n "${!file:-}" ]; then
        echo "error: both $1 and $file are set" >&2
        exit 1
    fi
    local value="${2:-}"
    if [ -n "${!1:-}" ]; then value="${!1}"; elif [ -n "${!file:-}" ]; then value="$(<"${!file}")"; fi
    export "$1"="$value"
    unset "$file"
}

prepare() {
    mkdir -p "$PGDATA"
    chmod 00700 "$PGDATA" || :
    mkdir -p /var/run/postgresql
    chmod 03775 /var/run/postgresql || :
    if [ "$(id -u)" = 0 ]; then
        find "$PGDATA" \! -user postgres -exec chown postgres '{}' +
        find /var/run/postgresql \! -user postgres -exec chown postgres '{}' +
    fi
}

initialise() {
    local method="${POSTGRES_HOST_AUTH_METHOD:-}"
    if [ -z "$POSTGRES_PASSWORD" ] && [ "$method" != trust ]; then
        echo "error: the database is not initialised and POSTGRES_PASSWORD is not set" >&2
        exit 1
    fi
    eval "set -- ${POSTGRES_INITDB_ARGS:-}"
    initdb --username="$POSTGRES_USER" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") "$@"
    if [ -z "$method" ]; then
        method=$(postgres -C password_encryption)
    fi
    printf '\nhost all all all %s\n' "$method" >>"$PGDATA/pg_hba.conf"
}

# The server that runs the scripts listens on its socket only: nobody else sees it half-made.
run_scripts() {
    pg_ctl -D "$PGDATA" -o "-c listen_addresses='' -p ${PGPORT:-5432}" -w start
    export PGPASSWORD="${PGPASSWORD:-$POSTGRES_PASSWORD}" PGHOST= PGHOSTADDR=
    local psql=(psql -v ON_ERROR_STOP=1 --no-psqlrc --no-password --username "$POSTGRES_USER")
    if [ "$POSTGRES_DB" != postgres ]; then
        "${psql[@]}" --dbname postgres --set db="$POSTGRES_DB" <<<'CREATE DATABASE :"db";'
    fi
    psql+=(--dbname "$POSTGRES_DB")
    local file
    for file in /docker-entrypoint-initdb.d/*; do
        case "$file" in
        *.sh)
            echo "$0: running $file"
            if [ -x "$file" ]; then "$file"; else . "$file"; fi
            ;;
        *.sql) echo "$0: running $file"; "${psql[@]}" -f "$file" ;;
        *.sql.gz) echo "$0: running $file"; gunzip -c "$file" | "${psql[@]}" ;;
        *.sql.xz) echo "$0: running $file"; xzcat "$file" | "${psql[@]}" ;;
        /docker-entrypoint-initdb.d/\*) ;;
        *) echo "$0: ignoring $file" ;;
        esac
    done
    pg_ctl -D "$PGDATA" -m fast -w stop
    unset PGPASSWORD PGHOST PGHOSTADDR
    echo
    echo "PostgreSQL init process complete; ready for start up."
    echo
}

if [ "${1:0:1}" = - ]; then
    set -- postgres "$@"
fi
wants_help=
for argument; do
    case "$argument" in
    -'?' | --help | --describe-config | -V | --version) wants_help=1 ;;
    esac
done
if [ "$1" = postgres ] && [ -z "$wants_help" ]; then
    prepare
    if [ "$(id -u)" = 0 ]; then
        exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
    fi
    if [ ! -s "$PGDATA/PG_VERSION" ]; then
        from_file POSTGRES_PASSWORD
        from_file POSTGRES_USER postgres
        from_file POSTGRES_DB "$POSTGRES_USER"
        from_file POSTGRES_INITDB_ARGS
        initialise
        run_scripts
    fi
fi
exec "$@"
