"""A database as `pgflow migrate` leaves it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pgflow import schema
from pgflow.testing.databases import new_database


@pytest.fixture
def installed_dsn(server: str) -> Iterator[str]:
    """The address of a database with a fresh install; `make coverage` adds triggers to the lent ones."""
    with new_database(server) as dsn:
        schema.migrate(dsn)
        yield dsn
