"""The database side of the model's tests."""

from __future__ import annotations

import psycopg
import pytest

from tests.testing.real import Real


@pytest.fixture
def real(conn: psycopg.Connection) -> Real:
    found = Real(conn)
    found.await_settled_server()
    return found
