"""What wakes an idle worker: NOTIFY, the time of the next message, and failing these the poll interval."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import psycopg
import pytest

from pgflow import AsyncClient, Context, Flow, Worker
from pgflow.config import load
from pgflow.db import SharingDatabase
from pgflow.worker.listener import CHANNEL, Listener
from tests.support import aeventually, value
from tests.worker.support import one_task_flow

LONG = 1000.0  # a poll interval that no test waits for


async def idle(worker: Worker) -> None:
    """Waits until the worker listens and has nothing to do."""
    (listener,) = (service for service in worker._services if isinstance(service, Listener))
    await asyncio.wait_for(listener.hears.wait(), 20)


async def test_notify_wakes_an_idle_worker(dsn: str) -> None:
    flow = one_task_flow(lambda flow_input: flow_input)
    async with Worker([flow], dsn=dsn, poll_interval=LONG) as worker, AsyncClient(dsn) as client:
        await idle(worker)
        for n in range(3):
            assert (await client.wait(await client.start(flow, n), timeout=30)).output == {"only": n}


async def test_a_retry_is_punctual_without_polling(dsn: str) -> None:
    def flaky(ctx: Context) -> int:
        if ctx.attempt == 1:
            raise RuntimeError("again")
        return ctx.attempt

    flow = Flow("punctual", base_delay=1)
    flow.step(slug="only")(flaky)
    async with Worker([flow], dsn=dsn, poll_interval=LONG) as worker, AsyncClient(dsn) as client:
        await idle(worker)
        assert (await client.wait(await client.start(flow, None), timeout=30)).output == {"only": 2}


async def test_a_delayed_step_is_punctual_without_polling(dsn: str) -> None:
    flow = one_task_flow(lambda: "done", start_delay=1)
    async with Worker([flow], dsn=dsn, poll_interval=LONG) as worker, AsyncClient(dsn) as client:
        await idle(worker)
        assert (await client.wait(await client.start(flow, None), timeout=30)).output == {"only": "done"}


async def test_a_listener_that_lost_its_connection_comes_back_and_looks_for_what_it_missed(
    dsn: str, conn: psycopg.Connection
) -> None:
    flow = one_task_flow(lambda flow_input: flow_input)
    async with Worker([flow], dsn=dsn, poll_interval=LONG) as worker, AsyncClient(dsn) as client:
        await idle(worker)
        for n in range(3):
            await aeventually(lambda: worker._database._line is not None)
            assert value(conn, "select pg_terminate_backend(%s)", worker._database._line.connection.info.backend_pid)
            run = await client.start(flow, n)
            assert (await client.wait(run, timeout=30)).output == {"only": n}


async def test_without_a_listener_the_worker_polls_and_says_so_once(
    dsn: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PGFLOW_LISTEN_URL", "postgresql://nobody:secret@127.0.0.1:1/nowhere")
    flow = one_task_flow(lambda flow_input: flow_input)
    with caplog.at_level(logging.WARNING, "pgflow"):
        async with Worker([flow], dsn=dsn, poll_interval=0.1):
            monkeypatch.delenv("PGFLOW_LISTEN_URL")
            async with AsyncClient(dsn) as client:
                assert (await client.wait(await client.start(flow, 1), timeout=30)).output == {"only": 1}
                await asyncio.sleep(1)  # several tries long
    said = [r.getMessage() for r in caplog.records if "listening" in r.getMessage()]
    assert len(said) == 1
    assert "127.0.0.1" in said[0]
    assert "secret" not in said[0]


async def test_silent_notifications_are_noticed(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pooler in transaction mode accepts LISTEN and stays silent: here, LISTEN goes to another channel."""
    monkeypatch.setattr("pgflow.worker.listener._PROOF_TIMEOUT", 0.2)
    async with SharingDatabase(load(dsn=dsn)) as database:
        listener = Listener(database, ["flow"], lambda flows: None)
        async with database.hearing("another", listener._hear):
            with pytest.raises(ConnectionError, match="PGFLOW_LISTEN_URL"):
                await listener._prove()
        assert not listener.hears.is_set()


async def test_a_listener_knows_that_it_hears_nothing_while_it_has_no_connection(
    dsn: str, conn: psycopg.Connection
) -> None:
    heard_when_told: list[bool] = []
    async with SharingDatabase(load(dsn=dsn)) as database:
        listener = Listener(database, ["flow"], lambda flows: heard_when_told.append(listener.hears.is_set()))
        listener.start()
        await asyncio.wait_for(listener.hears.wait(), 20)
        await aeventually(lambda: database._line is not None)
        assert value(conn, "select pg_terminate_backend(%s)", database._line.connection.info.backend_pid)
        await aeventually(lambda: len(heard_when_told) == 2)
        await asyncio.wait_for(listener.hears.wait(), 20)
        await listener.stop()
    assert heard_when_told == [False, False]
    assert not listener.hears.is_set()


async def test_where_notifications_are_switched_off_the_worker_knows_that_it_hears_of_no_work(
    dsn: str, conn: psycopg.Connection
) -> None:
    conn.execute(f"alter database {conn.info.dbname} set pgflow.notify = 'off'")
    told: list[Any] = []
    async with SharingDatabase(load(dsn=dsn)) as database:
        listener = Listener(database, ["flow"], told.append)
        async with database.hearing(CHANNEL, listener._hear):
            assert not await listener._prove()
        conn.execute(f"alter database {conn.info.dbname} reset pgflow.notify")
    async with SharingDatabase(load(dsn=dsn)) as database:
        listener = Listener(database, ["flow"], told.append)
        async with database.hearing(CHANNEL, listener._hear):
            assert await listener._prove()


async def test_a_worker_of_many_flows_hears_of_each_and_keeps_time(dsn: str) -> None:
    def made(n: int) -> Flow[Any, Any]:
        flow: Flow[Any, Any] = Flow(f"flow_{n}", base_delay=1)
        flow.step(slug="only")(lambda flow_input: flow_input)
        flow.step(slug="late", start_delay=1)(lambda only: only)
        return flow

    flows = [made(n) for n in range(40)]
    async with Worker(flows, dsn=dsn, poll_interval=LONG) as worker, AsyncClient(dsn) as client:
        await idle(worker)
        for _ in range(2):
            runs = [await client.start(flow, n) for n, flow in enumerate(flows)]
            for n, run in enumerate(runs):
                assert (await client.wait(run, timeout=30)).steps["late"].output == n


async def test_a_worker_of_many_flows_finds_work_that_nobody_told_of(dsn: str, conn: psycopg.Connection) -> None:
    flows = []
    for n in range(25):
        flow: Flow[Any, Any] = Flow(f"flow_{n}")
        flow.step(slug="only")(lambda flow_input: flow_input)
        flows.append(flow)
    async with Worker(flows, dsn=dsn, poll_interval=0.05) as worker, AsyncClient(dsn) as client:
        await idle(worker)
        conn.execute(
            "create or replace function pgflow._wake_workers(p_flow_slug text, p_may_wait boolean default false) "
            "returns void language sql as 'select'"
        )
        run = await client.start(flows[17], 1)
        assert (await client.wait(run, timeout=30)).output == {"only": 1}
