"""A worker that works what is there, and ends: run(drain=True), and drained() within a program of one's own."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import psycopg
import pytest

from pgflow import AsyncClient, Flow, RetryAfter, Worker
from pgflow.records import Polled
from pgflow.worker.drain import HORIZON, Drain
from tests.support import value
from tests.worker.support import one_task_flow, process


def pipeline() -> Flow:
    """Two steps and a map, of which each starts the next."""
    flow = Flow("pipeline")
    flow.step(slug="first")(lambda flow_input: range(flow_input))
    flow.map(slug="each", over="first")(lambda element: element * 2)
    flow.step(slug="last")(lambda each: sum(each))
    return flow


async def test_it_works_all_that_is_there_to_the_end(dsn: str) -> None:
    flow = pipeline()
    async with AsyncClient(dsn) as client:
        runs = await client.start_many(flow, [0, 3, 30])
        async with Worker([flow], dsn=dsn, concurrency=4) as worker:
            await worker.drained()
            assert [(await client.get_run(run)).output for run in runs] == [{"last": n} for n in (0, 6, 870)]


async def test_nothing_to_do_is_soon_done(dsn: str) -> None:
    async with Worker([pipeline()], dsn=dsn, poll_interval=100) as worker:
        await worker.drained()


@pytest.mark.parametrize("wait", ["drained", "stopped"])
async def test_a_worker_that_has_not_begun_is_not_waited_for(wait: str) -> None:
    worker = Worker([pipeline()], dsn="postgresql://127.0.0.1:1/nowhere")
    with pytest.raises(RuntimeError, match=r"has not begun: wait for it within `async with worker:`"):
        await getattr(worker, wait)()


async def test_a_retry_that_is_due_at_once_is_waited_for_and_a_later_one_is_left(dsn: str) -> None:
    calls: list[int] = []

    def handler(flow_input: float) -> None:
        calls.append(1)
        raise RetryAfter(flow_input)

    flow = one_task_flow(handler, max_attempts=3)
    async with AsyncClient(dsn) as client:
        soon = await client.start(flow, HORIZON / 4)
        async with Worker([flow], dsn=dsn) as worker:
            await worker.drained()
        assert ((await client.get_run(soon)).status, len(calls)) == ("failed", 3)
        later = await client.start(flow, 3600)
        async with Worker([flow], dsn=dsn) as worker:
            await worker.drained()
        assert ((await client.get_run(later)).status, len(calls)) == ("started", 4)


async def test_of_many_flows_none_is_overlooked(dsn: str) -> None:
    flows = []
    for number in range(70):
        flow = Flow(f"flow_{number}")
        flow.step(slug="only")(lambda: 1)
        flows.append(flow)
    async with AsyncClient(dsn) as client:
        async with Worker(flows, dsn=dsn, poll_interval=100) as worker:
            runs = [await client.start(flow, None) for flow in flows[::10]]
            await worker.drained()
        assert {(await client.get_run(run)).status for run in runs} == {"completed"}


async def test_it_does_not_wait_for_what_another_worker_holds(dsn: str) -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def handler() -> None:
        begun.set()
        await may_end.wait()

    flow = one_task_flow(handler)
    async with AsyncClient(dsn) as client, Worker([flow], dsn=dsn):
        run = await client.start(flow, None)
        await begun.wait()
        async with Worker([flow], dsn=dsn) as other:
            await other.drained()
        assert (await client.get_run(run)).status == "started"
        may_end.set()
        assert (await client.wait(run, timeout=30)).status == "completed"


async def test_a_stop_ends_it_too(dsn: str) -> None:
    flow = one_task_flow(lambda: time.sleep(0.2))
    async with AsyncClient(dsn) as client, Worker([flow], dsn=dsn) as worker:
        await client.start(flow, None)
        worker.stop()
        await worker.drained()


def test_run_returns_0_when_nothing_is_left(dsn: str, conn: psycopg.Connection, tmp_path: Path) -> None:
    source = """
        import sys
        import pgflow

        flow = pgflow.Flow("twice")

        @flow.map
        def double(number: int) -> int:
            return number * 2

        with pgflow.Client(sys.argv[1]) as client:
            run = client.start(flow, list(range(50)))
            code = pgflow.Worker([flow], dsn=sys.argv[1]).run(drain=True)
            print(client.get_run(run).status)
            sys.exit(code)
    """
    with process(tmp_path, source, dsn) as running:
        out, err = running.communicate(timeout=60)
    assert (running.returncode, out, err) == (0, "completed\n", "")
    assert value(conn, "select stopped_at is not null from pgflow.workers")


NOTHING = Polled((), None)


@pytest.mark.parametrize(
    ("looks", "over"),
    [
        ([(NOTHING, 0)], False),
        ([(NOTHING, 0), (NOTHING, 0)], True),
        ([(NOTHING, 0), (NOTHING, 1), (NOTHING, 0)], False),
        ([(NOTHING, 0), (Polled((), HORIZON / 2), 0), (NOTHING, 0)], False),
        ([(Polled((), HORIZON * 2), 0), (Polled((), HORIZON * 2), 0)], True),
    ],
)
async def test_two_looks_in_a_row_must_find_nothing(looks: list[tuple[Polled, int]], over: bool) -> None:
    drain = Drain()
    for polled, held in looks:
        drain.looked(polled, held)
    assert drain.over.is_set() is over
