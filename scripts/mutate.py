"""Plants each fault of tests/testing/faults.py, alone, in a fresh database, and sees whether the histories find it.

python -m scripts.mutate                           # exit 1 if one survives
python -m scripts.mutate --histories 1000 lease    # only the faults with this in their names
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.testing.faults import FAULTS, Fault, hunt
from tests.testing.real import Real

from pgflow import embedded, schema
from pgflow.testing.databases import short_directory

_numbers = itertools.count(1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--histories", type=int, default=1500, help="how many to play at most")
    parser.add_argument("--enough", type=int, default=3, help="when so many have found a fault, the next one's turn")
    parser.add_argument("names", nargs="*", help="parts of names of faults")
    arguments = parser.parse_args()
    chosen = [f for f in FAULTS if not arguments.names or any(part in f.name for part in arguments.names)]
    with _server() as server:
        survivors = [f for f in [None, *chosen] if not _is_as_it_should(server, f, arguments)]
    for fault in survivors:
        print(f"SURVIVED  {fault.name} ({fault.breaks})" if fault else "The histories fail without any fault.")
    print(f"{len(chosen)} faults, {len(survivors)} survived")
    return 1 if survivors or not chosen else 0


def _is_as_it_should(server: str, fault: Fault | None, arguments: argparse.Namespace) -> bool:
    """A fault is found; without one, nothing is."""
    began = time.monotonic()
    with _database(server) as connection:
        real = Real(connection)
        if fault is not None:
            fault.plant(connection)
        real.await_settled_server()
        found, played = hunt(real, arguments.histories, arguments.enough)
    name = fault.name if fault else "(no fault)"
    print(f"{found} of {played:4} histories  {time.monotonic() - began:5.1f} s  {name}", flush=True)
    return bool(found) == (fault is not None)


@contextmanager
def _server() -> Iterator[str]:
    if dsn := os.environ.get("PGFLOW_TEST_DSN"):
        yield dsn
        return
    with short_directory() as directory, embedded.start(directory, durable=False) as private:
        yield private.dsn_for("postgres")


@contextmanager
def _database(server: str) -> Iterator[psycopg.Connection]:
    name = f"pgflow_mutate_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"create database {name}")
        try:
            dsn = make_conninfo(server, dbname=name)
            schema.migrate(dsn)
            with psycopg.connect(dsn, autocommit=True) as connection:
                yield connection
        finally:
            admin.execute(f"drop database {name} with (force)")


if __name__ == "__main__":
    sys.exit(main())
