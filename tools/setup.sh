#!/bin/sh
# Installs what a fresh machine lacks: a C compiler (for the embedded Lua) and PostgreSQL's server
# programs. Does nothing when both are there. Rust is expected (https://rustup.rs).
set -eu

have() { command -v "$1" >/dev/null 2>&1; }

have_postgres() {
    [ -n "${RPITR_PG_BIN:-}" ] && return 0
    have postgres && have initdb && return 0
    for bin in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /opt/homebrew/opt/postgresql@*/bin \
        /usr/local/opt/postgresql@*/bin; do
        [ -x "$bin/initdb" ] && return 0
    done
    return 1
}

if ! have cargo; then
    echo "setup: Rust is missing; install it from https://rustup.rs and run make again" >&2
    exit 1
fi

missing=
have cc || missing="$missing build-essential"
have_postgres || missing="$missing postgresql"
[ -z "$missing" ] && exit 0

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"
    elif have sudo; then sudo "$@"
    else
        echo "setup: not root and no sudo; install$missing by hand" >&2
        exit 1
    fi
}

if have apt-get; then
    echo "setup: installing$missing"
    # Debian's package would create and start a cluster of its own, which nobody here needs.
    as_root sh -c '
        export DEBIAN_FRONTEND=noninteractive
        if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
            mkdir -p /etc/postgresql-common
            echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
        fi
        apt-get update -q
        apt-get install -y -q --no-install-recommends -o Dpkg::Options::=--force-confold "$@"
    ' sh $missing
elif have brew; then
    echo "setup: installing PostgreSQL with Homebrew"
    have cc || xcode-select --install
    have_postgres || brew install postgresql@17
else
    echo "setup: please install$missing with your package manager, then run make again" >&2
    exit 1
fi

have_postgres || {
    echo "setup: PostgreSQL's server programs were not found after the installation" >&2
    exit 1
}
