"""Inputs of runs: loaded in batches, kept, waited for."""

from __future__ import annotations

import asyncio
import logging
from uuid import uuid4

import psycopg
import pytest

from pgflow import AsyncClient, Flow, Worker
from pgflow.db import AsyncDatabase
from pgflow.worker import inputs as module
from pgflow.worker.inputs import Inputs
from tests.support import aeventually, value
from tests.worker.support import kill_backends, one_task_flow


@pytest.fixture
async def run_ids(dsn: str) -> list:
    async with AsyncClient(dsn) as client:
        return [run.run_id for run in await client.start_many(one_task_flow(lambda: 1), range(5))]


async def test_whoever_asks_at_the_same_time_shares_one_query(
    database: AsyncDatabase, run_ids: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    load = module.calls.load_inputs
    monkeypatch.setattr(module.calls, "load_inputs", lambda ids: asked.append(set(ids)) or load(ids))
    inputs = Inputs(database)
    assert await asyncio.gather(*(inputs.load(r) for r in run_ids * 3)) == [b"0", b"1", b"2", b"3", b"4"] * 3
    assert await inputs.load(run_ids[2]) == b"2"
    assert asked == [set(run_ids)]


async def test_what_is_kept_is_limited(database: AsyncDatabase, run_ids: list, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_BYTES", 2)
    inputs = Inputs(database)
    for _ in range(2):
        assert [await inputs.load(r) for r in run_ids] == [b"0", b"1", b"2", b"3", b"4"]
    assert len(inputs._cache) == 2


async def test_a_run_that_is_gone_is_an_error_for_whoever_asked_for_it_alone(
    database: AsyncDatabase, run_ids: list
) -> None:
    inputs = Inputs(database)
    gone, there = await asyncio.gather(inputs.load(uuid4()), inputs.load(run_ids[1]), return_exceptions=True)
    assert isinstance(gone, LookupError)
    assert there == b"1"


async def test_one_who_gives_up_waiting_does_not_take_the_others_along(
    dsn: str, database: AsyncDatabase, conn: psycopg.Connection, run_ids: list
) -> None:
    inputs = Inputs(database)
    with psycopg.connect(dsn) as blocker:
        blocker.execute("lock table pgflow.runs in access exclusive mode")
        first, second = (asyncio.create_task(inputs.load(run_ids[0])) for _ in range(2))
        await aeventually(lambda: value(conn, "select count(*) from pg_locks where not granted"))
        first.cancel()
    assert await second == b"0"
    assert first.cancelled()


async def test_a_lost_connection_is_waited_out(
    dsn: str, database: AsyncDatabase, conn: psycopg.Connection, run_ids: list, caplog: pytest.LogCaptureFixture
) -> None:
    inputs = Inputs(database)
    with psycopg.connect(dsn) as blocker, caplog.at_level(logging.WARNING, "pgflow"):
        blocker.execute("lock table pgflow.runs in access exclusive mode")
        loading = asyncio.create_task(inputs.load(run_ids[0]))
        await aeventually(lambda: value(conn, "select count(*) from pg_locks where not granted"))
        assert kill_backends(conn)
        await aeventually(lambda: "loading inputs fails" in caplog.text)
    assert await loading == b"0"
    assert "loading inputs works again" in caplog.text


async def test_closing_ends_the_waiting(
    dsn: str, database: AsyncDatabase, conn: psycopg.Connection, run_ids: list
) -> None:
    inputs = Inputs(database)
    with psycopg.connect(dsn) as blocker:
        blocker.execute("lock table pgflow.runs in access exclusive mode")
        waiting = asyncio.create_task(inputs.load(run_ids[0]))
        await aeventually(lambda: value(conn, "select count(*) from pg_locks where not granted"))
        waiting.cancel()
        inputs.close()
        await aeventually(lambda: inputs._loading.done())


async def test_a_task_whose_input_does_not_come_goes_back_before_its_lease_is_lost(
    dsn: str, conn: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = asyncio.Event()
    load = Inputs._fetch

    async def fetch(self: Inputs, run_ids: list) -> dict:
        await there.wait()
        return await load(self, run_ids)

    monkeypatch.setattr(Inputs, "_fetch", fetch)
    flow: Flow = Flow("waiting", timeout=2)
    begun = []

    @flow.map
    def handler(n: int, flow_input: list) -> int:
        begun.append(n)
        return n

    async with Worker([flow], dsn=dsn, lease=1), AsyncClient(dsn) as client:
        run = await client.start(flow, [1])
        # handed back again and again: the last attempt of a single one would be over by then, its lease included
        await aeventually(lambda: value(conn, "select max(fence) from pgflow.step_tasks") >= 3)
        assert begun == []
        there.set()
        assert (await client.wait(run, timeout=30)).output == {"handler": [1]}
    assert begun == [1]
    assert value(conn, "select (attempts_count, requeued_count)::text from pgflow.step_tasks") == "(1,0)"
