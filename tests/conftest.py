"""The PostgreSQL that tests talk to, and throw-away databases on it.

The embedded server is the default; PGFLOW_TEST_DSN names another one (a superuser's address). A migrated
database is made once and then copied per test.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pgflow import embedded, schema
from pgflow.config import load
from pgflow.db import AsyncDatabase

_numbers = itertools.count(1)


@pytest.fixture(scope="session", autouse=True)
def _environment() -> Iterator[None]:
    """No test may work on the database of whoever runs the suite."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("PGFLOW_") and name != "PGFLOW_TEST_DSN"]:
            patch.delenv(name)
        patch.delenv("DATABASE_URL", raising=False)
        yield


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The address of a server on which this session may do as it likes."""
    if dsn := os.environ.get("PGFLOW_TEST_DSN"):
        yield dsn
        return
    with short_directory() as directory, embedded.start(directory, durable=False) as private:
        yield private.dsn_for("postgres")


@contextmanager
def short_directory() -> Iterator[Path]:
    """A directory near the root: pytest's own are too deep for a socket, and closed to the server's user."""
    path = Path(tempfile.mkdtemp(prefix="pgflow-test-", dir="/tmp"))
    path.chmod(0o755)
    try:
        yield path / "embedded"
    finally:
        _await_stop(path / "embedded")
        shutil.rmtree(path, ignore_errors=True)


def _await_stop(directory: Path) -> None:
    """Waits until no process of the directory's server is left: one whose files vanish would linger."""
    lock = directory / "server.lock"
    if lock.is_file():
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX)


@pytest.fixture
def embedded_directory() -> Iterator[Path]:
    """Where a test may start an embedded server of its own; not made yet."""
    with short_directory() as path:
        yield path


@pytest.fixture(scope="session")
def _template(server: str) -> Iterator[str]:
    with _database(server) as dsn:
        schema.migrate(dsn)
        yield psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]


@pytest.fixture
def empty_dsn(server: str) -> Iterator[str]:
    """The address of a new, empty database."""
    with _database(server) as dsn:
        yield dsn


@pytest.fixture
def dsn(server: str, _template: str) -> Iterator[str]:
    """The address of a new, migrated database."""
    with _database(server, template=_template) as dsn:
        yield dsn


@pytest.fixture
def conn(dsn: str) -> Iterator[psycopg.Connection]:
    """A connection to `dsn`, in autocommit."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[AsyncDatabase]:
    """`dsn` as the package sees it: runs Calls."""
    async with AsyncDatabase(load(dsn=dsn)) as opened:
        yield opened


@contextmanager
def _database(server: str, template: str = "template1") -> Iterator[str]:
    name = f"pgflow_test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"create database {name} template {template}")
        try:
            yield make_conninfo(server, dbname=name)
        finally:
            admin.execute(f"drop database {name} with (force)")
