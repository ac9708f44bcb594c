"""The connection that listens, which also runs calls while it is free."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest

from pgflow.calls import Call
from pgflow.config import load
from pgflow.db import SharingDatabase
from pgflow.errors import DatabaseError, DatabaseUnreachable
from tests.support import aeventually, sessions, value


@pytest.fixture
async def sharing(dsn: str) -> AsyncIterator[SharingDatabase]:
    async with SharingDatabase(load(dsn=dsn)) as opened:
        yield opened


def pid(seconds: float = 0) -> Call[int]:
    """The process that runs this call, for so many seconds."""
    return Call("select pg_backend_pid() from pg_sleep(%s)", (seconds,), lambda found: int(found[0][0]))


async def test_one_call_after_the_other_runs_on_it_and_those_at_the_same_time_on_the_pool(
    sharing: SharingDatabase,
) -> None:
    async with sharing.hearing("work", lambda payload: None):
        (alone,) = {await sharing.run(pid()) for _ in range(5)}
        together = set(await asyncio.gather(*(sharing.run(pid(0.2)) for _ in range(3))))
    assert alone in together
    assert len(together) == 3
    assert await sharing.run(pid()) in together - {alone}


async def test_short_calls_at_the_same_time_wait_for_it_and_open_nothing(
    sharing: SharingDatabase, conn: psycopg.Connection
) -> None:
    async with sharing.hearing("work", lambda payload: None):
        pids = [await asyncio.gather(sharing.run(pid()), sharing.run(pid())) for _ in range(5)]
        assert len({one for both in pids for one in both}) == 1
        assert sessions(conn) == 1
        assert len(set(await asyncio.gather(sharing.run(pid(0.5)), sharing.run(pid())))) == 2  # but not for ever


async def test_all_is_heard_also_what_comes_in_one_packet_or_while_a_call_runs(
    sharing: SharingDatabase, conn: psycopg.Connection
) -> None:
    heard: list[str] = []
    async with sharing.hearing("work", heard.append):
        with conn.transaction():
            for n in range(3):
                conn.execute("select pg_notify('work', %s)", [str(n)])
        await aeventually(lambda: heard == ["0", "1", "2"])
        call = asyncio.create_task(sharing.run(pid(0.3)))
        await asyncio.sleep(0.1)
        conn.execute("notify work, '3'")
        await call
        await aeventually(lambda: heard == ["0", "1", "2", "3"])
        await sharing.run(Call("select pg_notify('work', '4')", (), list))  # by itself, on the same connection
        await aeventually(lambda: heard[4:] == ["4"])


async def test_calls_go_on_when_it_was_killed_while_it_was_idle(
    sharing: SharingDatabase, conn: psycopg.Connection
) -> None:
    async with sharing.hearing("work", lambda payload: None) as lost:
        shared = await sharing.run(pid())
        assert value(conn, "select pg_terminate_backend(%s, 5000)", shared)
        assert await sharing.run(pid()) != shared
        assert lost.is_set()


async def test_the_loop_hears_of_its_end_while_nobody_calls(sharing: SharingDatabase, conn: psycopg.Connection) -> None:
    async with sharing.hearing("work", lambda payload: None) as lost:
        assert value(conn, "select pg_terminate_backend(%s, 5000)", await sharing.run(pid()))
        await asyncio.wait_for(lost.wait(), 20)


async def test_a_call_during_which_it_is_killed_fails_and_the_next_does_not(
    sharing: SharingDatabase, conn: psycopg.Connection
) -> None:
    async with sharing.hearing("work", lambda payload: None) as lost:
        shared = await sharing.run(pid())
        call = asyncio.create_task(sharing.run(pid(60)))
        await asyncio.sleep(0.1)
        assert value(conn, "select pg_terminate_backend(%s, 5000)", shared)
        with pytest.raises(DatabaseUnreachable):
            await call
        assert lost.is_set()
        await sharing.run(pid())


async def test_a_call_that_is_cancelled_or_fails_leaves_it_in_use(
    sharing: SharingDatabase, conn: psycopg.Connection
) -> None:
    heard: list[str] = []
    async with sharing.hearing("work", heard.append) as lost:
        shared = await sharing.run(pid())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(sharing.run(pid(60)), 0.2)
        with pytest.raises(DatabaseError):
            await sharing.run(Call("select 1/0", (), list))
        assert await sharing.run(pid()) == shared
        conn.execute("notify work, 'still there'")
        await aeventually(lambda: heard == ["still there"])
        assert not lost.is_set()


async def test_a_call_outlives_the_listening_and_closes_it(sharing: SharingDatabase, conn: psycopg.Connection) -> None:
    async with sharing.hearing("work", lambda payload: None):
        shared = await sharing.run(pid())
        call = asyncio.create_task(sharing.run(pid(0.3)))
        await asyncio.sleep(0.1)
    assert await call == shared
    await aeventually(lambda: sessions(conn) == 0)


@pytest.mark.parametrize("is_open", [True, False], ids=["while open", "closed"])
async def test_it_is_not_left_open(dsn: str, conn: psycopg.Connection, is_open: bool) -> None:
    async with SharingDatabase(load(dsn=dsn)) as sharing:
        hearing = sharing.hearing("work", lambda payload: None)
        await hearing.__aenter__()
        if is_open:
            await hearing.__aexit__(None, None, None)
    if not is_open:
        await hearing.__aexit__(None, None, None)
    await aeventually(lambda: sessions(conn) == 0)


async def test_an_address_of_its_own_is_not_shared(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGFLOW_LISTEN_URL", dsn)
    heard: list[str] = []
    async with SharingDatabase(load(dsn=dsn)) as sharing, sharing.hearing("work", heard.append):
        call = Call("select count(*) from pg_listening_channels()", (), lambda found: int(found[0][0]))
        assert await sharing.run(call) == 0
        await sharing.run(Call("select pg_notify('work', 'heard')", (), list))
        await aeventually(lambda: heard == ["heard"])


async def test_who_may_only_read_gets_another_connection(sharing: SharingDatabase, conn: psycopg.Connection) -> None:
    """After a failover the address may lead to another server; what listens is left alone meanwhile."""
    read_only = Call("do $$ begin set transaction read only; create table t(); end $$", (), list)
    heard: list[str] = []
    async with sharing.hearing("work", heard.append) as lost:
        sessions = []
        for _ in range(2):
            sessions.append(await sharing.run(pid()))
            with pytest.raises(DatabaseError):
                await sharing.run(read_only)
        assert len({*sessions, await sharing.run(pid())}) == 3
        conn.execute("notify work, 'still there'")
        await aeventually(lambda: heard == ["still there"])
        assert not lost.is_set()
