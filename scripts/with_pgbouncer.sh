#!/bin/sh
# Runs a command on a machine that has PgBouncer: installs Debian's, where that can be done; else tests that need it are
# skipped, and say so.
#
#     scripts/with_pgbouncer.sh .venv/bin/pytest -m slow
set -eu

if [ ! -x /usr/sbin/pgbouncer ] && [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
    apt-get update -qq
    # the service that comes with it is not started: nobody asked for it
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends pgbouncer > /dev/null
fi
exec "$@"
