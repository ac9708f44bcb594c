"""All of it through Debian's PgBouncer in transaction mode: no prepared statements, and LISTEN is swallowed."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import psycopg
import pytest

from pgflow import AsyncClient, Client, Flow, Worker, schema
from pgflow.calls import Call
from pgflow.config import load
from pgflow.db import AsyncDatabase, Database
from tests.faults.pgbouncer import pooled
from tests.support import aeventually
from tests.worker.support import tasks
from tests.worker.test_waking import idle

pytestmark = pytest.mark.slow


def doubling() -> Flow[Any, Any]:
    flow: Flow[Any, Any] = Flow("doubling", base_delay=0, max_attempts=2)

    @flow.map
    async def double(n: int) -> int:
        await asyncio.sleep(0.001)
        return n * 2

    @flow.step
    def total(double: list[int], flow_input: list[int]) -> int:
        return sum(double) - sum(flow_input)

    return flow


async def test_the_whole_job(dsn: str, conn: psycopg.Connection, caplog: pytest.LogCaptureFixture) -> None:
    flow = doubling()
    with pooled(dsn) as address, caplog.at_level(logging.WARNING, "pgflow"):
        async with (
            Worker([flow], dsn=address, concurrency=4, lease=1, poll_interval=0.1),
            AsyncClient(address) as client,
        ):
            for _ in range(3):
                runs = await client.start_many(flow, [list(range(n)) for n in range(20, 30)])
                ended = await asyncio.gather(*(client.wait(run, timeout=60) for run in runs))
                assert [run.output for run in ended] == [{"total": sum(range(n))} for n in range(20, 30)]
            await aeventually(lambda: "listening for work fails" in caplog.text)
    (said,) = [r.getMessage() for r in caplog.records if r.name.startswith("pgflow")]
    assert "notifications do not arrive" in said
    assert {task["fence"] for task in tasks(conn, "double")} == {1}


def test_the_blocking_client(dsn: str) -> None:
    flow = doubling()
    with pooled(dsn) as address, Client(address) as client:
        run = client.start(flow, [1])
        for _ in range(30):
            assert client.get_run(run).status == "started"


def test_migrating(empty_dsn: str) -> None:
    with pooled(empty_dsn) as address:
        assert "0001_core" in schema.migrate(address)
        assert schema.migrate(address) == []


async def test_a_direct_address_for_listening_is_heard(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    flow = doubling()
    with pooled(dsn) as address:
        monkeypatch.setenv("PGFLOW_LISTEN_URL", dsn)
        async with Worker([flow], dsn=address, poll_interval=1000) as worker, AsyncClient(address) as client:
            await idle(worker)
            run = await client.wait(await client.start(flow, [1, 2]), timeout=60)
            assert run.output == {"total": 3}


def ask(statement: str) -> Call[Any]:
    return Call(statement, (), list)


@pytest.mark.parametrize("mode", [None, "transaction", "session"])
async def test_statements_are_prepared_where_nobody_stands_between(dsn: str, mode: str | None) -> None:
    names = ask("select name from pg_prepared_statements")
    async with AsyncDatabase(load(dsn=dsn), max_size=1) as database:
        if mode is None:
            for _ in range(6):
                await database.run(ask("select 1"))
            assert len(await database.run(names)) == 1
            return
    with pooled(dsn, mode=mode) as address, Database(load(dsn=address), max_size=1) as database:
        for _ in range(8):
            database.run(ask("select 1"))
            assert database.run(names) == []
