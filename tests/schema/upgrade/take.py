"""Dumps a database with runs in flight, for the upgrades of later versions to be tested on: one file per version.

    scripts/with_postgres.sh 15 .venv/bin/python -m tests.schema.upgrade.take 0001_core

Debian's 15, since its pg_dump is there. A dump is never taken again: it shows what that version left behind.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import psycopg

from pgflow import schema
from tests.schema.upgrade.in_flight import put_in_flight
from tests.support import value

_PG_DUMP = "/usr/lib/postgresql/15/bin/pg_dump"
#: Headings, what psql alone understands, and settings that other versions lack.
_NOISE = re.compile(r"^(--\n-- .*\n--|-- Dumped .*|\\(un)?restrict .*|SET (?!check_func).*)\n+", re.MULTILINE)


def take(dsn: str) -> str:
    """Installs this version, puts runs in flight, and dumps it all as SQL for any driver."""
    schema.migrate(dsn)
    with psycopg.connect(dsn, autocommit=True) as conn:
        put_in_flight(conn)
        taken = value(conn, "select clock_timestamp()::text")
    dump = subprocess.run(
        [_PG_DUMP, "--no-owner", "--rows-per-insert=100", dsn], check=True, capture_output=True, text=True
    ).stdout
    return f"-- taken at {taken}\n" + _NOISE.sub("", dump)


if __name__ == "__main__":
    Path(__file__).with_name(f"{sys.argv[1]}.sql").write_text(take(os.environ["PGFLOW_TEST_DSN"]), encoding="utf-8")
