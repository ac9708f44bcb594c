#!/bin/sh
# Makes a virtual environment with pip in it, also where Debian's python3 came without its `venv` package.
#
#     scripts/make_venv.sh python3 .venv
set -eu
python=$1
venv=$2

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "pgflow needs Python 3.11 or newer, $python is $("$python" --version): try 'make PYTHON=python3.12 …'" >&2
    exit 2
fi
if ! "$python" -c 'import ensurepip' 2> /dev/null; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
        echo "$python has no ensurepip: install it (Debian: 'apt-get install python3-venv' as root)" >&2
        exit 2
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends python3-venv > /dev/null
fi
"$python" -m venv "$venv"
