"""The pytest plugin: fixtures for tests of flows. See docs/how-to/test-your-flows.md.

pytest loads this module in every session, so it stands outside the package and imports nothing of it until a fixture
is used: `import pgflow` takes longer than many a suite of tests.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pgflow import Client
    from pgflow.testing.clock import Clock
    from pgflow.testing.databases import Databases

#: Where the processes of pytest-xdist find the directory of the server that they share.
_SHARED = "PGFLOW_TEST_DIRECTORY"


def pytest_configure(config: pytest.Config) -> None:
    """The process that hands out the tests names the directory; whoever uses it first makes it."""
    if getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput"):
        directory = Path("/tmp") / f"pgflow-test-{secrets.token_hex(8)}"  # noqa: S108  # short enough for a socket
        os.environ[_SHARED] = str(directory)
        config.add_cleanup(partial(_clean_up, directory))


def _clean_up(directory: Path) -> None:
    os.environ.pop(_SHARED, None)
    if directory.exists():
        from pgflow.testing.databases import remove_server

        remove_server(directory)


@pytest.fixture(scope="session")
def pgflow_server() -> Iterator[str]:
    """The address of a PostgreSQL for this session: an embedded one, or what PGFLOW_TEST_DSN names."""
    if dsn := os.environ.get("PGFLOW_TEST_DSN"):
        yield dsn
        return
    from pgflow.testing.databases import new_server

    shared = os.environ.get(_SHARED)
    with new_server(Path(shared) if shared else None) as dsn:
        yield dsn


@pytest.fixture(scope="session")
def _pgflow_databases(pgflow_server: str) -> Iterator[Databases]:
    from pgflow.testing.databases import Databases

    databases = Databases(pgflow_server)
    yield databases
    databases.drop()


@pytest.fixture
def pgflow_dsn(_pgflow_databases: Databases) -> Iterator[str]:
    """The address of a migrated database that is the test's alone."""
    with _pgflow_databases.lend() as dsn:
        yield dsn


@pytest.fixture
def pgflow_client(pgflow_dsn: str) -> Iterator[Client]:
    """A client of `pgflow_dsn`."""
    from pgflow import Client

    with Client(pgflow_dsn) as client:
        yield client


@pytest.fixture
def pgflow_worker(pgflow_dsn: str) -> Callable[..., None]:
    """`pgflow_worker(flow, …)` works on these flows until nothing of theirs is due."""
    from pgflow.testing.draining import work_off

    return partial(work_off, pgflow_dsn)


@pytest.fixture
def pgflow_clock(pgflow_dsn: str) -> Iterator[Clock]:
    """`pgflow_clock.advance(seconds)` lets time pass for what is stored in `pgflow_dsn`."""
    import psycopg

    from pgflow.testing.clock import Clock

    with psycopg.connect(pgflow_dsn, autocommit=True) as connection:
        yield Clock(connection)
