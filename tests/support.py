"""What tests of several rooms share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import psycopg


def value(conn: psycopg.Connection, sql: str, *args: Any) -> Any:
    """The single value that a query returns."""
    row = conn.execute(sql, args).fetchone()
    assert row is not None, f"no row: {sql}"
    return row[0]


def rows(conn: psycopg.Connection, sql: str, *args: Any) -> list[tuple[Any, ...]]:
    """All rows of a query."""
    return conn.execute(sql, args).fetchall()


def eventually(holds: Callable[[], Any], *, within: float = 20.0) -> Any:
    """Waits until `holds()` is true and returns what it returned; fails the test after `within` seconds."""
    deadline = time.monotonic() + within
    while not (result := holds()):
        assert time.monotonic() < deadline, f"not within {within} s"
        time.sleep(0.02)
    return result


async def aeventually(holds: Callable[[], Any], *, within: float = 20.0) -> Any:
    """`eventually` that leaves the event loop free."""
    deadline = time.monotonic() + within
    while not (result := holds()):
        assert time.monotonic() < deadline, f"not within {within} s"
        await asyncio.sleep(0.02)
    return result
