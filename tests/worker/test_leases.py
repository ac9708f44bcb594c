"""Leases: extended while a handler runs, lost when somebody else has the task; the heartbeat."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from pgflow import AsyncClient, Context, Flow, Worker
from tests.support import aeventually, rows, value
from tests.worker.support import one_task_flow, process, tasks

LOSSES = {
    "claimed by another": "update pgflow.step_tasks set fence = fence + 1, last_worker_id = gen_random_uuid()",
    "put back": "update pgflow.step_tasks set status = 'queued', started_at = null, leased_until = null",
    "run failed": "update pgflow.runs set status = 'failed', failed_at = now()",
    "run deleted": "truncate pgflow.runs cascade",
}


@pytest.mark.parametrize("loss", LOSSES)
async def test_a_handler_is_told_and_cancelled_when_its_lease_is_lost(
    dsn: str, conn: psycopg.Connection, loss: str
) -> None:
    began = asyncio.Event()
    saw: list[bool] = []

    async def endless(ctx: Context) -> None:
        began.set()
        try:
            await asyncio.sleep(600)
        finally:
            saw.append(ctx.cancelled.is_set())

    flow = one_task_flow(endless)
    async with Worker([flow], dsn=dsn, lease=1, grace=0, poll_interval=1000), AsyncClient(dsn) as client:
        await client.start(flow, None)
        await began.wait()
        conn.execute("truncate pgmq.q_solo")  # nobody takes it again
        conn.execute(LOSSES[loss])
        await aeventually(lambda: saw)
    assert saw == [True]
    assert [t for t in tasks(conn, "only") if t["status"] in ("completed", "failed")] == []


async def test_a_thread_is_told_when_its_lease_is_lost_and_keeps_its_slot(dsn: str, conn: psycopg.Connection) -> None:
    began, told, enough = threading.Event(), threading.Event(), threading.Event()

    def endless(ctx: Context) -> None:
        began.set()
        if ctx.cancelled.wait(60):
            told.set()
        enough.wait(60)

    flow = one_task_flow(endless)
    async with Worker([flow], dsn=dsn, lease=1, grace=0, concurrency=1) as worker, AsyncClient(dsn) as client:
        await client.start(flow, None)
        await aeventually(began.is_set)
        conn.execute("truncate pgmq.q_solo")
        conn.execute(LOSSES["run failed"])
        await aeventually(told.is_set)
        await aeventually(lambda: len(worker._held) == 0)
        assert worker._held.free == 0
        enough.set()
        await aeventually(lambda: worker._held.free == 1)


async def test_a_long_task_stays_its_workers(dsn: str, conn: psycopg.Connection) -> None:
    async def long(ctx: Context) -> int:
        await asyncio.sleep(2.5)
        return ctx.attempt

    flow = one_task_flow(long)
    async with Worker([flow], dsn=dsn, lease=1), Worker([flow], dsn=dsn, lease=1), AsyncClient(dsn) as client:
        assert (await client.wait(await client.start(flow, None), timeout=30)).output == {"only": 1}
    (task,) = tasks(conn, "only")
    assert (task["fence"], task["requeued_count"]) == (1, 0)


async def test_the_worker_announces_itself_and_beats(dsn: str, conn: psycopg.Connection) -> None:
    def beat() -> object:
        return value(conn, "select last_heartbeat_at from pgflow.workers where worker_id = %s", worker.worker_id)

    async with Worker([one_task_flow(lambda: 1)], dsn=dsn, lease=1) as worker:
        first = beat()
        await aeventually(lambda: beat() > first)
        conn.execute("delete from pgflow.workers")
        await aeventually(lambda: value(conn, "select count(*) from pgflow.workers"))
        assert value(conn, "select stopped_at is null and lease = 1 from pgflow.workers")
    assert value(conn, "select stopped_at is not null from pgflow.workers")


ENDLESS = """
    import sys, time
    from pgflow import Flow, Worker

    flow = Flow("solo")

    @flow.step(slug="only", timeout=600)
    def only(flow_input: int) -> None:
        print("at work", flush=True)
        time.sleep(600)

    Worker([flow], dsn=sys.argv[1]).run()
"""


@pytest.mark.slow
async def test_what_a_killed_worker_had_runs_elsewhere_within_twenty_seconds_by_default(
    dsn: str, conn: psycopg.Connection, tmp_path: Path
) -> None:
    """Whatever the step's timeout: its lease lapses, and the next poll of a worker without work finds it."""
    flow = one_task_flow(lambda: "elsewhere", timeout=600)
    async with AsyncClient(dsn) as client:
        run = await client.start(flow, 1)
        with process(tmp_path, ENDLESS, dsn) as first:
            assert first.stdout
            await asyncio.to_thread(first.stdout.readline)
            async with Worker([flow], dsn=dsn):
                await asyncio.sleep(5)  # so that the lease was extended, if only once
                first.kill()
                killed_at = value(conn, "select clock_timestamp()")
                ended = await client.wait(run, timeout=60)
    assert ended.output == {"only": "elsewhere"}
    (task,) = tasks(conn, "only")
    assert (task["fence"], task["attempts_count"], task["requeued_count"]) == (2, 2, 1)
    assert (task["started_at"] - killed_at).total_seconds() < 20


async def test_what_a_silent_worker_holds_is_looked_for_in_all_flows(
    dsn: str, conn: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that serves many flows asks for a few at a time, in turn, and here only once in a thousand seconds."""
    monkeypatch.setattr("pgflow.worker.maintenance._INTERVAL", 0.2)
    flows: list[Flow[Any, Any]] = [Flow(f"flow_{n}") for n in range(25)]
    for flow in flows:
        flow.step(slug="only")(lambda: 1)
    silent = uuid4()
    async with Worker(flows, dsn=dsn, lease=2, poll_interval=1000) as worker, AsyncClient(dsn) as client:
        await aeventually(lambda: not worker._fetcher._attention._soon)  # each flow was asked for once
        conn.execute("set pgflow.notify = 'off'")
        with conn.transaction():  # claimed before anybody else could see it
            conn.execute("select pgflow.register_worker(%s, 'flow_20', 'silent', 2)", (silent,))
            run_id = value(conn, "select run_id from pgflow.start_flow('flow_20', '1')")
            assert len(rows(conn, "select from pgflow.poll_tasks(array['flow_20'], %s, 1, 2)", silent)) == 2
        ended = await client.wait(run_id, timeout=60)
    assert ended.output == {"only": 1}


@pytest.mark.slow
async def test_a_lost_connection_of_the_heartbeat_does_not_cost_a_lease(dsn: str, conn: psycopg.Connection) -> None:
    enough = asyncio.Event()

    async def long() -> str:
        await enough.wait()
        return "done"

    flow = one_task_flow(long)
    extending = (
        "from pg_stat_activity where datname = current_database() and query like '%%extend_leases%%' "
        "and pid <> pg_backend_pid()"
    )
    async with Worker([flow], dsn=dsn, lease=3), AsyncClient(dsn) as client:
        run = await client.start(flow, None)
        for _ in range(3):
            await aeventually(lambda: value(conn, f"select count(pg_terminate_backend(pid)) {extending}"))
            killed = value(conn, "select clock_timestamp()")
            await aeventually(
                lambda at=killed: value(conn, "select max(last_heartbeat_at) > %s from pgflow.workers", at)
            )
        enough.set()
        await client.wait(run, timeout=30)
    (task,) = tasks(conn, "only")
    assert (task["fence"], task["output"]) == (1, "done")
