"""Connections that show the plans of all they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psycopg
import pytest

from pgflow.db.address import prepare
from tests.sql.plans.explained import Explained


@pytest.fixture
def dsn(fresh_dsn: str) -> str:
    """Where no deleted rows lie about, since pages are counted."""
    return fresh_dsn


@pytest.fixture
def explain(dsn: str) -> Iterator[Callable[[], Explained]]:
    """From now on the plans of a new connection; the embedded build lacks auto_explain."""
    with psycopg.connect(dsn) as conn:
        # what the planner knows of them would depend on how long a test takes
        for table in ("runs", "step_states", "step_tasks"):
            conn.execute(f"alter table pgflow.{table} set (autovacuum_enabled = false)")
    with ExitStack() as stack:

        def connect() -> Explained:
            connection = stack.enter_context(psycopg.connect(dsn, autocommit=True))
            try:
                connection.execute("load 'auto_explain'")
            except psycopg.Error:
                pytest.skip("this server has no auto_explain: run `make test-pg15`")
            prepare(connection)
            return Explained(connection)

        yield connect
