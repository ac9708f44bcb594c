"""The PostgreSQL that tests talk to, and throw-away databases on it.

The embedded server is the default; PGFLOW_TEST_DSN names another one (a superuser's address). Processes of
pytest-xdist share the server; the databases are each process's own.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings

from pgflow.config import load
from pgflow.db import AsyncDatabase
from pgflow.testing.databases import Databases, new_database, short_directory
from tests import sqlcoverage
from tests.executors.clusters import ray_cluster  # noqa: F401  # for the whole session: it takes long to start

# how fast the machine is just now says nothing about a property
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


@pytest.fixture(scope="session", autouse=True)
def _environment() -> Iterator[None]:
    """No test may work on the database of whoever runs the suite."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if re.match("PGFLOW_(?!TEST_)", name)]:
            patch.delenv(name)
        patch.delenv("DATABASE_URL", raising=False)
        yield


@pytest.fixture(scope="session")
def server(pgflow_server: str) -> str:
    """The address of a server on which this session may do as it likes."""
    sqlcoverage.start(pgflow_server)
    return pgflow_server


@pytest.fixture
def embedded_directory() -> Iterator[Path]:
    """Where a test may start an embedded server of its own; not made yet."""
    with short_directory() as path:
        yield path


@pytest.fixture(scope="session")
def _databases(server: str) -> Iterator[Databases]:
    databases = Databases(server, on_made=sqlcoverage.watch, on_returned=sqlcoverage.collect)
    yield databases
    databases.drop()


@pytest.fixture
def empty_dsn(server: str) -> Iterator[str]:
    """The address of a new, empty database."""
    with new_database(server) as dsn:
        yield dsn


@pytest.fixture
def fresh_dsn(server: str, _databases: Databases) -> Iterator[str]:
    """The address of a migrated database that no other test has used: for those that count pages or read statistics."""
    with new_database(server, _databases.template) as dsn:
        yield dsn


@pytest.fixture
def dsn(_databases: Databases) -> Iterator[str]:
    """The address of a migrated database in which nothing is."""
    with _databases.lend() as dsn:
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


@pytest.fixture(autouse=True)
def _log_levels() -> Iterator[None]:
    """What a command set for its process is not the next test's."""
    yield
    for name in ("pgflow", "psycopg.pool"):
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test logged may hold half a surrogate pair, which xdist's processes cannot send each other."""
    report = yield
    report.sections = [(title, text.encode("utf-8", "backslashreplace").decode()) for title, text in report.sections]
    return report
