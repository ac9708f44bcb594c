"""Connections that listen: outside the pool, one of them kept for the next who listens."""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress

import pytest

from pgflow.calls import Call
from pgflow.config import load
from pgflow.db import AsyncDatabase
from tests.support import value


async def test_the_last_one_is_kept_and_hears_nothing_meanwhile(database, conn):
    async with database.listen("one") as first:
        pid = first.info.backend_pid
    conn.execute("notify one, 'missed'")
    async with database.listen("two") as second:
        assert second.info.backend_pid == pid
        conn.execute("notify one, 'not for us'")
        conn.execute("notify two, 'heard'")
        heard = [n.payload async for n in second.notifies(timeout=20, stop_after=1)]
    assert heard == ["heard"]


async def test_who_listens_at_the_same_time_gets_another_one(database):
    async with database.listen("one") as first, database.listen("one") as second:
        assert first.info.backend_pid != second.info.backend_pid


async def test_one_that_was_left_by_an_error_is_not_kept(database):
    with pytest.raises(RuntimeError):
        async with database.listen("one") as first:
            raise RuntimeError
    assert first.closed
    async with database.listen("one") as second:
        assert second is not first


async def test_one_that_was_killed_while_idle_is_replaced_at_the_next_use(database, conn):
    async with database.listen("one") as first:
        pid = first.info.backend_pid
    assert value(conn, "select pg_terminate_backend(%s, 5000)", pid)
    async with database.listen("one") as second:
        assert second.info.backend_pid != pid


async def test_closing_the_database_closes_it(dsn, conn):
    async with AsyncDatabase(load(dsn=dsn)) as database, database.listen("one") as listening:
        pass
    assert listening.closed


async def test_nothing_is_left_open_by_who_is_cancelled_while_connecting(database):
    """Wherever the cancellation strikes; a connection that was left open would warn of it."""
    for tenths_of_milliseconds in range(100):
        connecting = asyncio.create_task(database.connect())
        await asyncio.sleep(tenths_of_milliseconds / 10_000)
        connecting.cancel()
        with suppress(asyncio.CancelledError):
            await (await connecting).close()
        del connecting
    gc.collect()


async def test_calls_are_read_committed_whatever_the_databases_default(dsn, conn):
    name = conn.info.dbname
    conn.execute(f"alter database {name} set default_transaction_isolation = serializable")
    try:
        async with AsyncDatabase(load(dsn=dsn)) as database:
            call = Call("show transaction_isolation", (), lambda found: found[0][0])
            assert await database.run(call) == "read committed"
    finally:
        conn.execute(f"alter database {name} reset default_transaction_isolation")
