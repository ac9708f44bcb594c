"""How much a worker takes on, and how workers share."""

from __future__ import annotations

import asyncio
import threading

import psycopg
import pytest

from pgflow import AsyncClient, Context, Flow, Worker
from pgflow.config import SettingsError
from pgflow.errors import InvalidInputError
from tests.support import rows
from tests.worker.support import one_task_flow, work


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_no_more_handlers_run_at_once_than_concurrency_allows(dsn: str, concurrency: int) -> None:
    flow = Flow("limited")
    running: list[int] = []
    most: list[int] = []

    @flow.map
    async def handler(n: int) -> int:
        running.append(n)
        most.append(len(running))
        await asyncio.sleep(0.01)
        running.remove(n)
        return n

    run = await work(dsn, flow, list(range(12)), concurrency=concurrency)
    assert run.output == {"handler": list(range(12))}
    assert max(most) == concurrency


async def test_two_workers_share_a_run_and_no_task_is_done_twice(dsn: str, conn: psycopg.Connection) -> None:
    flow = Flow("shared")
    calls: list[int] = []
    both = threading.Barrier(2, timeout=20)

    @flow.map
    def handler(n: int, ctx: Context) -> str:
        calls.append(n)
        if n < 2:
            both.wait()  # only when each of the two workers, which take one task at a time, has one
        return str(ctx.worker_id)

    async with (
        Worker([flow], dsn=dsn, concurrency=1) as one,
        Worker([flow], dsn=dsn, concurrency=1) as other,
        AsyncClient(dsn) as client,
    ):
        run = await client.wait(await client.start(flow, list(range(20))), timeout=30)
    assert set(run.output["handler"]) == {str(one.worker_id), str(other.worker_id)}
    assert sorted(calls) == list(range(20))
    assert rows(conn, "select distinct attempts_count, fence, settled_fence from pgflow.step_tasks") == [(1, 1, 1)]


async def test_one_worker_serves_several_flows(dsn: str) -> None:
    flows = [Flow(f"flow_{n}") for n in range(3)]
    for flow in flows:
        flow.step(slug="only")(lambda flow_input: flow_input)
    async with Worker(flows, dsn=dsn), AsyncClient(dsn) as client:
        runs = [await client.start(flow, flow.slug) for flow in flows]
        ended = [await client.wait(run, timeout=30) for run in runs]
    assert [run.output["only"] for run in ended] == ["flow_0", "flow_1", "flow_2"]


async def test_a_worker_does_what_was_started_before_it_was(dsn: str) -> None:
    flow = one_task_flow(lambda flow_input: flow_input)
    async with AsyncClient(dsn) as client:
        run = await client.start(flow, "early")
        async with Worker([flow], dsn=dsn):
            assert (await client.wait(run, timeout=30)).output == {"only": "early"}


@pytest.mark.parametrize(
    ("flows", "message"),
    [
        (lambda: [], "at least one flow"),
        (
            lambda: one_task_flow(lambda: 1),
            r"takes a list of flows and handlers, Worker\(\[flow\]\), not <Flow",
        ),
        (lambda: "solo", "a worker takes a list of flows and handlers"),
        (lambda: ["solo"], r"a worker serves flows \(pgflow.Flow\) and pgflow.Handlers, not 'solo'"),
        (lambda: [one_task_flow(lambda: 1), one_task_flow(lambda: 2)], "two different flows have the slug 'solo'"),
    ],
)
def test_a_worker_refuses_at_once_what_it_cannot_serve(flows, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        Worker(flows())


def test_two_flows_of_one_slug_are_told_with_their_places() -> None:
    with pytest.raises(InvalidInputError, match=r"slug 'solo': (\S+:\d+) and \1$"):
        Worker([one_task_flow(lambda: 1), one_task_flow(lambda: 2)])


def test_a_middleware_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(SettingsError, match="middleware must be a function that takes a handler, not 3"):
        Worker([one_task_flow(lambda: 1)], middleware=3)  # type: ignore[arg-type]


def test_a_number_without_end_is_no_concurrency() -> None:
    with pytest.raises(SettingsError, match="concurrency must be a whole number, not inf"):
        Worker([one_task_flow(lambda: 1)], concurrency=float("inf"))  # type: ignore[arg-type]


async def test_run_says_what_to_use_where_it_cannot_run() -> None:
    worker = Worker([one_task_flow(lambda: 1)], dsn="postgresql://127.0.0.1:1/nowhere")
    for_others = r"elsewhere use `async with worker: await worker.stopped\(\)`$"
    with pytest.raises(RuntimeError, match=for_others):
        worker.run()
    with pytest.raises(RuntimeError, match=for_others):
        await asyncio.to_thread(worker.run)
