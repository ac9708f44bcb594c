"""Tasks that were fetched ahead, and wait for a handler."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from pgflow import AsyncClient, Context, Flow, Worker
from pgflow.worker.ahead import Ahead
from pgflow.worker.core import OwnCore
from tests.support import aeventually, value


@pytest.fixture
def _always_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ahead, "size", 20)


async def test_what_waits_too_long_is_handed_back_and_worked_on_elsewhere(
    dsn: str, conn: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = Flow("patient")
    gate = asyncio.Event()
    stuck: list[int] = []
    monkeypatch.setattr(Ahead, "size", property(lambda _: 0 if stuck else 20))

    @flow.map
    async def handler(n: int, ctx: Context) -> int:
        if ctx.worker_id == first.worker_id:
            stuck.append(n)
            await gate.wait()
        return n

    first, second = (Worker([flow], dsn=dsn, concurrency=2) for _ in range(2))
    async with first, AsyncClient(dsn) as client:
        run = await client.start(flow, list(range(12)))
        await aeventually(lambda: value(conn, "select count(*) = 12 from pgflow.step_tasks where status = 'started'"))
        async with second:
            done = "select count(*) from pgflow.step_tasks where status = 'completed'"
            await aeventually(lambda: value(conn, done) >= 12 - len(stuck) > 0)
            gate.set()
            assert (await client.wait(run, timeout=30)).output == {"handler": list(range(12))}
    assert value(conn, "select max(attempts_count) = 1 and max(requeued_count) = 0 from pgflow.step_tasks")


@pytest.mark.usefixtures("_always_ahead")
async def test_a_stop_hands_back_what_waits(dsn: str, conn: psycopg.Connection) -> None:
    flow = Flow("stopped")
    began = asyncio.Event()

    @flow.map
    async def handler(n: int) -> int:
        began.set()
        await asyncio.sleep(0.1)
        return n

    async with AsyncClient(dsn) as client:
        async with Worker([flow], dsn=dsn, concurrency=1):
            await client.start(flow, list(range(10)))
            await began.wait()
        assert value(conn, "select count(*) from pgflow.step_tasks where status = 'started'") == 0
        assert value(conn, "select count(*) from pgflow.step_tasks where status = 'queued' and attempts_count = 0") > 0


async def test_what_is_not_settled_yet_takes_up_room(
    dsn: str, conn: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OwnCore, "most_ahead", 10)
    flow = Flow("unflushed")
    calls: list[int] = []

    @flow.map
    async def handler(n: int) -> int:
        calls.append(n)
        return n

    async with Worker([flow], dsn=dsn, concurrency=2, poll_interval=0.05), AsyncClient(dsn) as client:
        with psycopg.connect(dsn) as blocker:
            run = await client.start(flow, list(range(100)))
            await aeventually(lambda: len(calls) >= 2)
            # the first results may have been settled before the lock was there
            blocker.execute("select from pgflow.runs for update")
            done = value(conn, "select count(*) from pgflow.step_tasks where status = 'completed'")
            await asyncio.sleep(0.5)  # that nothing happens cannot be waited for
            assert len(calls) <= done + 12
            assert value(conn, "select count(*) from pgflow.step_tasks where status = 'started'") <= 12
        assert (await client.wait(run, timeout=30)).output == {"handler": list(range(100))}
