"""A database that many quick tests share, each in a transaction that is rolled back."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from pgflow.testing.databases import Databases


@pytest.fixture(scope="session")
def _trials(_databases: Databases) -> Iterator[str]:
    with _databases.lend() as dsn:
        yield dsn


@pytest.fixture
def trial(_trials: str) -> Iterator[psycopg.Connection]:
    """A connection in a transaction of which nothing stays: for tests that need no second one and no clock."""
    with psycopg.connect(_trials) as connection:
        yield connection
        connection.rollback()
