"""A leash: a transaction is ended from outside, at once, and nobody else in the process is held up."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from pgflow.calls import Call
from pgflow.db.transactions import AsyncTransactions, Leash, Transactions
from tests.faults.proxy import Proxy
from tests.support import aeventually, value

SLEEPING = "select count(*) from pg_stat_activity where query = 'select pg_sleep(600)' and state = 'active'"


async def sleep(dsn: str, kind: str, leash: Leash) -> None:
    """A statement of ten minutes, in a transaction on this leash."""
    if kind == "thread":

        def in_thread(connection: psycopg.Connection) -> Call[Any]:
            connection.execute("select pg_sleep(600)")
            raise AssertionError

        with_threads = Transactions(dsn, 1)
        with_threads.open()
        try:
            await asyncio.to_thread(with_threads.run, in_thread, leash)
        finally:
            await asyncio.to_thread(with_threads.close)
        return

    async def on_loop(connection: psycopg.AsyncConnection) -> Call[Any]:
        await connection.execute("select pg_sleep(600)")
        raise AssertionError

    transactions = AsyncTransactions(dsn, 1)
    await transactions.open()
    try:
        await transactions.run(on_loop, leash)
    finally:
        await transactions.close()


@pytest.mark.parametrize("kind", ["loop", "thread"])
async def test_a_cut_ends_the_statement_through_a_network_that_needs_this_process(
    dsn: str, conn: psycopg.Connection, kind: str
) -> None:
    """The proxy runs on this loop: a cancel that held up all threads would wait for itself, for ever."""
    leash = Leash()
    async with Proxy(dsn) as proxy:
        running = asyncio.create_task(sleep(proxy.dsn, kind, leash))
        await aeventually(lambda: value(conn, SLEEPING))
        await asyncio.wait_for(asyncio.to_thread(leash.cut), 30)
        with pytest.raises(psycopg.Error):
            await asyncio.wait_for(running, 30)
        await aeventually(lambda: not value(conn, SLEEPING))


@pytest.mark.slow
async def test_a_cut_does_not_wait_for_a_network_that_is_away(
    dsn: str, conn: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgflow.db.transactions.leash._CANCEL_SECONDS", 0.5)
    leash = Leash()
    async with Proxy(dsn) as proxy:
        running = asyncio.create_task(sleep(proxy.dsn, "thread", leash))
        await aeventually(lambda: value(conn, SLEEPING))
        proxy.silence()
        await asyncio.wait_for(asyncio.to_thread(leash.cut), 30)
        with pytest.raises(psycopg.Error):
            await asyncio.wait_for(running, 30)
    conn.execute("select pg_terminate_backend(pid) from pg_stat_activity where query = 'select pg_sleep(600)'")
