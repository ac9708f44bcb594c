"""A run is cancelled while its handlers are at work: they are told, and cancelled; then it is retried."""

from __future__ import annotations

import asyncio
import threading

import psycopg
import pytest

from pgflow import AsyncClient, Context, Flow, Worker
from tests.support import aeventually, rows, value
from tests.worker.support import one_task_flow, tasks


async def test_an_async_handler_is_told_and_cancelled(dsn: str, conn: psycopg.Connection) -> None:
    began = asyncio.Event()
    saw: list[bool] = []

    async def endless(ctx: Context) -> None:
        began.set()
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            saw.append(ctx.cancelled.is_set())
            raise

    flow = one_task_flow(endless)
    async with Worker([flow], dsn=dsn, lease=1, grace=0) as worker, AsyncClient(dsn) as client:
        run = await client.start(flow, None)
        await began.wait()
        await client.cancel(run, reason="no use")
        await aeventually(lambda: saw and len(worker._held) == 0)
        assert (await client.wait(run, timeout=10)).error == "Cancelled: no use"
    assert saw == [True]
    (task,) = tasks(conn, "only")
    assert (task["status"], task["attempts_count"]) == ("started", 1)


async def test_a_thread_is_told(dsn: str) -> None:
    began, told = threading.Event(), threading.Event()

    def endless(ctx: Context) -> None:
        began.set()
        if ctx.cancelled.wait(60):
            told.set()

    flow = one_task_flow(endless)
    async with Worker([flow], dsn=dsn, lease=1) as worker, AsyncClient(dsn) as client:
        run = await client.start(flow, None)
        await aeventually(began.is_set)
        await client.cancel(run)
        await aeventually(told.is_set)
        await aeventually(lambda: worker._held.free == worker.settings.concurrency)


async def test_a_verdict_tells_it_long_before_the_next_heartbeat(dsn: str, conn: psycopg.Connection) -> None:
    began, enough = set[int](), asyncio.Event()
    cancelled: list[int] = []
    flow: Flow[int, int] = Flow("many", max_attempts=1)

    @flow.map(initial_tasks=3)
    async def each(n: int) -> int:
        began.add(n)
        try:
            await (enough.wait() if n == 0 else asyncio.sleep(600))
        except asyncio.CancelledError:
            cancelled.append(n)
            raise
        return n

    async with Worker([flow], dsn=dsn, lease=600, grace=0) as worker, AsyncClient(dsn) as client:
        run = await client.start(flow, None)
        await aeventually(lambda: len(began) == 3)
        await client.cancel(run)
        enough.set()
        await aeventually(lambda: len(worker._held) == 0)
    assert sorted(cancelled) == [1, 2]
    assert rows(conn, "select distinct status from pgflow.step_tasks") == [("started",)]


async def test_other_runs_are_not_disturbed(dsn: str) -> None:
    began, cancelled, enough = set[str](), list[str](), asyncio.Event()

    async def waits(flow_input: str) -> str:
        began.add(flow_input)
        try:
            await enough.wait()
        except asyncio.CancelledError:
            cancelled.append(flow_input)
            raise
        return flow_input

    flow = one_task_flow(waits)
    async with Worker([flow], dsn=dsn, lease=1), AsyncClient(dsn) as client:
        one, two = await client.start_many(flow, ["one", "two"])
        await aeventually(lambda: len(began) == 2)
        await client.cancel(one)
        await aeventually(lambda: cancelled)
        enough.set()
        assert (await client.wait(two, timeout=30)).output == {"only": "two"}
    assert cancelled == ["one"]


@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_a_retry_runs_it_again_and_the_first_handler_has_no_say(
    dsn: str, conn: psycopg.Connection, kind: str
) -> None:
    began, enough = [], threading.Event()

    def blocking(ctx: Context) -> str:
        began.append(ctx.attempt)
        if len(began) == 1:
            enough.wait(60)
            return "first"
        return "second"

    async def asynchronous(ctx: Context) -> str:
        began.append(ctx.attempt)
        if len(began) == 1:
            await asyncio.sleep(600)
        return "second"

    flow = one_task_flow(asynchronous if kind == "async" else blocking)
    async with Worker([flow], dsn=dsn, lease=1, grace=1), AsyncClient(dsn) as client:
        run = await client.start(flow, None)
        await aeventually(lambda: began)
        await client.retry(await client.cancel(run))
        done = await client.wait(run, timeout=30)
        enough.set()
    assert (done.status, done.output, began) == ("completed", {"only": "second"}, [1, 1])
    assert value(conn, "select output from pgflow.step_tasks") == "second"
