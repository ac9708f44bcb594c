"""A database with pgflow's own core, in the versions there are."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from pgflow.testing.databases import new_database
from tests.foreign import npm
from tests.foreign.cores import REALTIME, disown, install_pgflow

#: From npm; and ours, which keeps the contract of 0.14, without what tells that it is ours.
VERSIONS = [pytest.param("0.8.1", marks=pytest.mark.slow), "0.14"]


@pytest.fixture(scope="session")
def _pgflow_template(server: str) -> Iterator[str]:
    migrations = npm.migrations()
    with new_database(server) as dsn:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(REALTIME)
            install_pgflow(connection, migrations)
        yield conninfo_to_dict(dsn)["dbname"]


@pytest.fixture
def pgflow_dsn(server: str, _pgflow_template: str) -> Iterator[str]:
    """The address of a new database with the core of `@pgflow/core` 0.8.1."""
    with new_database(server, template=_pgflow_template) as dsn:
        yield dsn


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def foreign_dsn(version: str, request: pytest.FixtureRequest) -> str:
    """The address of a new database with a core that is not ours."""
    if version == "0.8.1":
        return str(request.getfixturevalue("pgflow_dsn"))
    dsn = str(request.getfixturevalue("dsn"))
    with psycopg.connect(dsn, autocommit=True) as connection:
        disown(connection)
    return dsn


@pytest.fixture
def foreign(foreign_dsn: str) -> Iterator[psycopg.Connection]:
    """A connection to `foreign_dsn`, in autocommit."""
    with psycopg.connect(foreign_dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture(params=["foreign", "own"])
def core(request: pytest.FixtureRequest) -> str:
    """pgflow's own core, and ours."""
    return str(request.param)


@pytest.fixture
def core_dsn(core: str, request: pytest.FixtureRequest) -> str:
    """The address of a new database with that core, and with `realtime.send`."""
    if core == "foreign":
        return str(request.getfixturevalue("pgflow_dsn"))
    dsn = str(request.getfixturevalue("dsn"))
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(REALTIME)
    return dsn
