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


def flush_statistics(conn: psycopg.Connection) -> None:
    """From now on PostgreSQL's statistics hold all that this connection did before."""
    if conn.info.server_version >= 150000:
        conn.execute("select pg_stat_force_next_flush()")
        return
    # Up to 14 a process tells its counts twice a second at most, and another one puts them together, in that order:
    # what was counted before the first of these two scans has arrived when the second has.
    conn.execute("create table if not exists public.sentinel ()")
    seen = "select seq_scan from pg_stat_user_tables where relid = 'public.sentinel'::regclass"
    for _ in range(2):
        before = value(conn, seen)
        conn.execute("table public.sentinel")
        eventually(lambda before=before: value(conn, seen) > before)


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


def sessions(conn: psycopg.Connection) -> int:
    """How many connections of pgflow's this database has."""
    ours = "datname = current_database() and pid <> pg_backend_pid() and application_name = 'pgflow'"
    return int(value(conn, f"select count(*) from pg_stat_activity where {ours}"))
