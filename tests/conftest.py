"""The PostgreSQL that tests talk to, and throw-away databases on it.

The embedded server is the default; PGFLOW_TEST_DSN names another one (a superuser's address). Processes of
pytest-xdist share the server; the databases are each process's own.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest

from pgflow import embedded
from pgflow.config import load
from pgflow.db import AsyncDatabase
from tests import sqlcoverage
from tests.databases import Databases, new_database

#: Where the processes of pytest-xdist find the directory of the server that they share.
_SHARED = "PGFLOW_TEST_DIRECTORY"


def pytest_configure(config: pytest.Config) -> None:
    """The process that hands out the tests makes the directory; those that run them inherit its name."""
    if getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput"):
        directory = short_directory()
        os.environ[_SHARED] = str(directory.__enter__())
        config.add_cleanup(lambda: directory.__exit__(None, None, None))


@pytest.fixture(scope="session", autouse=True)
def _environment() -> Iterator[None]:
    """No test may work on the database of whoever runs the suite."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if re.match("PGFLOW_(?!TEST_)", name)]:
            patch.delenv(name)
        patch.delenv("DATABASE_URL", raising=False)
        yield


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The address of a server on which this session may do as it likes."""
    if dsn := os.environ.get("PGFLOW_TEST_DSN"):
        sqlcoverage.start(dsn)
        yield dsn
        return
    with ExitStack() as stack:
        shared = os.environ.get(_SHARED)
        directory = Path(shared) if shared else stack.enter_context(short_directory())
        private = stack.enter_context(embedded.start(directory, durable=False))
        sqlcoverage.start(private.dsn_for("postgres"))
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
def _databases(server: str) -> Iterator[Databases]:
    databases = Databases(server)
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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test logged may hold half a surrogate pair, which xdist's processes cannot send each other."""
    report = yield
    report.sections = [(title, text.encode("utf-8", "backslashreplace").decode()) for title, text in report.sections]
    return report
