#!/bin/sh
# Runs a command with PGFLOW_TEST_DSN leading to a throw-away cluster of Debian's PostgreSQL 15.
#
#     scripts/with_pg15.sh .venv/bin/pytest
set -eu

programs=/usr/lib/postgresql/15/bin
if [ ! -x "$programs/postgres" ]; then
    if [ "$(id -u)" != 0 ]; then
        echo "PostgreSQL 15 is not here: run 'apt-get install postgresql-15' as root" >&2
        exit 2
    fi
    mkdir -p /etc/postgresql-common
    # no cluster of its own: a service that nobody asked for
    printf 'create_main_cluster = false\n' > /etc/postgresql-common/createcluster.conf
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends postgresql-15 > /dev/null
fi

as_server() {
    if [ "$(id -u)" = 0 ]; then setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; else "$@"; fi
}

cluster=$(mktemp -d /tmp/pgflow-pg15-XXXXXX)
if [ "$(id -u)" = 0 ]; then chown postgres "$cluster"; fi
finish() {
    as_server "$programs/pg_ctl" -D "$cluster/data" -m immediate stop > /dev/null 2>&1 || true
    rm -rf "$cluster"
}
trap finish EXIT
trap 'exit 130' INT TERM

cd /
as_server "$programs/initdb" -D "$cluster/data" -U postgres --auth=trust --encoding=UTF8 --locale=C.UTF-8 --no-sync > /dev/null
cat >> "$cluster/data/postgresql.conf" <<CONF
listen_addresses = ''
unix_socket_directories = '$cluster'
fsync = off
synchronous_commit = off
full_page_writes = off
jit = off
CONF
as_server "$programs/pg_ctl" -D "$cluster/data" -l "$cluster/log" -w start > /dev/null
cd "$OLDPWD"

PGFLOW_TEST_DSN="host=$cluster user=postgres dbname=postgres" "$@"
