#!/bin/sh
# Makes sure that Node and npm are here, which the tests beside TypeScript's packages need: Debian's, if none are.
set -eu

if command -v node > /dev/null && command -v npm > /dev/null; then exit 0; fi
if [ "$(id -u)" != 0 ]; then
    echo "Node is not here: run 'apt-get install nodejs npm' as root" >&2
    exit 2
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends nodejs npm > /dev/null
