#!/bin/sh
# Runs a command where libfaketime (Debian: faketime) is installed, if it can be: chaos shifts clocks with it.
#
#     scripts/with_faketime.sh .venv/bin/pytest -m slow
set -eu

if ! ls /usr/lib/*/faketime/libfaketime.so.1 > /dev/null 2>&1; then
    if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends faketime > /dev/null
    else
        echo "no libfaketime here: clocks will not be shifted (Debian: 'apt-get install faketime' as root)" >&2
    fi
fi
exec "$@"
