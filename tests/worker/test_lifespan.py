"""What is opened around a worker's work: before the first task, closed after the last, at hand in ctx.resources."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgflow import AsyncClient, Client, Context, Worker
from pgflow.config import SettingsError
from tests.support import eventually, value
from tests.worker.support import one_task_flow, process, work


async def test_handlers_find_what_it_yields(dsn: str) -> None:
    @asynccontextmanager
    async def lifespan(worker: Worker) -> AsyncIterator[dict[str, Any]]:
        yield {"worker": str(worker.worker_id), "word": "hello"}

    def handler(ctx: Context) -> list[Any]:
        return [ctx.resources["worker"] == str(ctx.worker_id), ctx.resources["word"]]

    run = await work(dsn, one_task_flow(handler), lifespan=lifespan)
    assert run.output == {"only": [True, "hello"]}


async def test_it_is_opened_before_the_first_task_and_closed_after_the_last(dsn: str) -> None:
    story: list[str] = []

    @asynccontextmanager
    async def lifespan(worker: Worker) -> AsyncIterator[None]:
        await asyncio.sleep(0)
        story.append("opened")
        yield
        story.append("closed")

    started = asyncio.Event()

    async def handler(ctx: Context) -> None:
        story.append(f"begun with {dict(ctx.resources)}")
        started.set()
        await asyncio.sleep(0.1)
        story.append("ended")

    flow = one_task_flow(handler)
    async with AsyncClient(dsn) as client:
        run = await client.start(flow, None)
        async with Worker([flow], dsn=dsn, lifespan=lifespan):
            await started.wait()
        assert (await client.get_run(run)).status == "completed"
    assert story == ["opened", "begun with {}", "ended", "closed"]


async def test_a_worker_whose_lifespan_fails_does_not_start(dsn: str, conn: psycopg.Connection) -> None:
    @asynccontextmanager
    async def lifespan(worker: Worker) -> AsyncIterator[None]:
        raise OSError("no such host: cache")
        yield

    with pytest.raises(OSError, match="no such host: cache"):
        async with Worker([one_task_flow(lambda: 1)], dsn=dsn, lifespan=lifespan):
            pytest.fail("the worker started")
    assert value(conn, "select count(*) from pgflow.workers") == 0
    eventually(lambda: value(conn, "select count(*) from pg_stat_activity where application_name = 'pgflow'") == 0)


@asynccontextmanager
async def listed(worker: Worker) -> AsyncIterator[Any]:
    yield ["http"]


@pytest.mark.parametrize(
    ("lifespan", "message"),
    [
        (lambda worker: {}, "gave dict, not an async context manager: decorate it"),
        (listed, "yielded list: yield a mapping"),
        (lambda: {}, "lifespan must be a function of one argument, the worker, not <function"),
        (dict, "lifespan must be a function of one argument, the worker, not <class 'dict'>"),
        (3, "lifespan must be a function of one argument, the worker, not 3"),
    ],
)
async def test_what_is_no_lifespan_is_refused(dsn: str, conn: psycopg.Connection, lifespan: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        async with Worker([one_task_flow(lambda: 1)], dsn=dsn, lifespan=lifespan):
            pytest.fail("the worker started")
    assert value(conn, "select count(*) from pgflow.workers") == 0


def test_the_signal_that_stops_a_worker_closes_it(dsn: str, conn: psycopg.Connection, tmp_path: Path) -> None:
    source = """
        import sys
        from contextlib import asynccontextmanager
        from pgflow import Flow, Worker

        flow = Flow("greeting")

        @flow.step
        def greet(ctx):
            return ctx.resources["word"]

        @asynccontextmanager
        async def lifespan(worker):
            yield {"word": "hello"}
            print("closed")

        sys.exit(Worker([flow], dsn=sys.argv[1], lifespan=lifespan).run())
    """
    with process(tmp_path, source, dsn) as running, Client(dsn) as client:
        eventually(lambda: value(conn, "select count(*) from pgflow.workers"))
        assert client.wait(client.start("greeting", None), timeout=30).output == {"greet": "hello"}
        running.send_signal(signal.SIGTERM)
        out, _ = running.communicate(timeout=30)
    assert (running.returncode, out) == (0, "closed\n")
