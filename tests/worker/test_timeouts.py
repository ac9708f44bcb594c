"""A step's timeout is enforced: async handlers are cancelled, threads are left behind and fenced off."""

from __future__ import annotations

import asyncio
import threading
import time
from uuid import UUID

import psycopg
import pytest

from pgflow import AsyncClient, Context, Flow, Worker
from pgflow.records import Task
from pgflow.worker.held import Holding
from pgflow.worker.runner import time_for
from tests.support import aeventually
from tests.worker.support import one_task_flow, tasks, work

TIMEOUT = "HandlerTimeout: the handler did not end within its timeout of 1 s"


async def test_an_async_handler_is_cancelled_at_its_timeout(dsn: str, conn: psycopg.Connection) -> None:
    ends: list[str] = []

    async def slow(ctx: Context) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ends.append(f"cancelled, {ctx.cancelled.is_set()}")
            raise

    run = await work(dsn, one_task_flow(slow, timeout=1, max_attempts=2))
    assert ends == ["cancelled, True"] * 2
    assert run.error == TIMEOUT
    assert tasks(conn, "only")[0]["attempts_count"] == 2


async def test_an_async_handler_that_ignores_its_cancellation_fails_of_its_timeout_all_the_same(
    dsn: str, conn: psycopg.Connection
) -> None:
    enough = asyncio.Event()

    async def stubborn() -> str:
        while not enough.is_set():
            try:
                await enough.wait()
            except asyncio.CancelledError:
                continue
        return "late"

    flow = one_task_flow(stubborn, timeout=1, max_attempts=1)
    async with Worker([flow], dsn=dsn, lease=1), AsyncClient(dsn) as client:
        run = await client.wait(await client.start(flow, None), timeout=30)
        assert run.error == TIMEOUT
        enough.set()
    assert tasks(conn, "only")[0]["attempts_count"] == 1


async def test_a_thread_fails_on_time_and_its_late_result_is_fenced_off(dsn: str, conn: psycopg.Connection) -> None:
    enough, ended = threading.Event(), threading.Event()

    def slow(ctx: Context) -> str:
        if ctx.attempt == 1:
            assert enough.wait(60)
            ended.set()
            return "late"
        return "second"

    flow = one_task_flow(slow, timeout=1, max_attempts=2)
    async with Worker([flow], dsn=dsn, concurrency=2), AsyncClient(dsn) as client:
        run = await client.wait(await client.start(flow, None), timeout=30)
        assert not ended.is_set()
        enough.set()
        await aeventually(ended.is_set)
    assert run.output == {"only": "second"}
    (task,) = tasks(conn, "only")
    assert (task["output"], task["error_message"], task["fence"]) == ("second", TIMEOUT, 2)


async def test_an_overdue_thread_keeps_its_slot_until_it_ends(dsn: str, conn: psycopg.Connection) -> None:
    enough = threading.Event()
    calls: list[int] = []

    def slow(n: int) -> int:
        calls.append(n)
        if n == 0:
            assert enough.wait(60)
        return n

    flow = Flow("slots", timeout=1, max_attempts=1)
    flow.map(slug="only", when_exhausted="fail")(slow)
    async with Worker([flow], dsn=dsn, concurrency=1), AsyncClient(dsn) as client:
        late = await client.wait(await client.start(flow, [0]), timeout=30)
        assert late.error == TIMEOUT
        waiting = await client.start(flow, [1])
        await asyncio.sleep(0.5)  # that nothing happens cannot be waited for
        assert calls == [0]
        enough.set()
        assert (await client.wait(waiting, timeout=30)).output == {"only": [1]}


async def test_a_thread_can_see_that_its_time_is_up(dsn: str) -> None:
    seen = threading.Event()

    def attentive(ctx: Context) -> None:
        if ctx.cancelled.wait(60):
            seen.set()

    run = await work(dsn, one_task_flow(attentive, timeout=1, max_attempts=1))
    assert run.error == TIMEOUT
    await aeventually(seen.is_set)


async def test_a_handler_that_blocks_the_event_loop_does_not_lose_its_lease(dsn: str, conn: psycopg.Connection) -> None:
    async def blocking() -> str:
        time.sleep(2.5)  # noqa: ASYNC251  # the fault in question
        return "done"

    flow = one_task_flow(blocking)
    async with Worker([flow], dsn=dsn, lease=1), AsyncClient(dsn) as client:
        await client.start(flow, None)
        await aeventually(lambda: tasks(conn, "only")[0]["status"] == "completed")
    assert tasks(conn, "only")[0]["fence"] == 1


@pytest.mark.parametrize(
    ("timeout", "waited", "time"),
    [
        (60, 0.5, 60),
        (60, 1.9, 60),  # in line, and for a process
        (60, 30, 31),  # for its input: its outcome must arrive before its lease ends, at 62 s
        (1, 2.5, 0.5),
    ],
)
def test_a_handler_that_begins_late_has_what_remains_of_its_lease(timeout: int, waited: float, time: float) -> None:
    task = Task("f", UUID(int=7), "a", 0, 0, b"{}", None, 1, 1, 3, timeout, 5)
    holding = Holding(task, task.key)
    holding.taken_at -= waited
    assert time_for(holding) == pytest.approx(time, abs=0.05)
