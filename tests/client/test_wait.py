"""Waiting for a run: woken, timed out, and not shaken off by a lost connection."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from pgflow import Flow, RunTimeout, Worker
from pgflow.errors import InvalidInputError
from tests.client.conftest import Ask
from tests.support import aeventually, value
from tests.worker.support import kill_backends


@pytest.fixture
def flow() -> Flow[Any, Any]:
    flow: Flow[Any, Any] = Flow("waited")
    flow.step(slug="only")(lambda flow_input: flow_input)
    return flow


def waiting(conn: psycopg.Connection) -> int:
    return value(
        conn,
        "select count(*) from pg_stat_activity "
        "where datname = current_database() and query ilike 'listen%%pgflow_run%%'",
    )


async def test_a_wait_ends_with_its_run(ask: Ask, dsn: str, flow: Flow) -> None:
    run = await ask("start", flow, 5)
    wait = asyncio.create_task(ask("wait", run, timeout=30))
    async with Worker([flow], dsn=dsn):
        ended = await wait
    assert (ended.run_id, ended.status, ended.output) == (run.run_id, "completed", {"only": 5})
    assert await ask("wait", ended, timeout=0) == ended


async def test_a_wait_wakes_by_notify(
    ask: Ask, dsn: str, flow: Flow, conn: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    for twin in ("_async", "_sync"):
        monkeypatch.setattr(f"pgflow.client.{twin}._FIRST_LOOK", 1000)
        monkeypatch.setattr(f"pgflow.client.{twin}._LONGEST_LOOK", 1000)
    run = await ask("start", flow, 5)
    wait = asyncio.create_task(ask("wait", run, timeout=60))
    await aeventually(lambda: waiting(conn))
    async with Worker([flow], dsn=dsn):
        assert (await asyncio.wait_for(wait, 30)).output == {"only": 5}


async def test_news_of_an_end_before_a_retry_ends_no_wait(
    ask: Ask, dsn: str, flow: Flow, conn: psycopg.Connection
) -> None:
    run = await ask("start", flow, 5)
    wait = asyncio.create_task(ask("wait", run, timeout=30))
    await aeventually(lambda: waiting(conn))
    conn.execute("select pg_notify('pgflow_run', %s)", (f"{run.run_id} failed",))
    async with Worker([flow], dsn=dsn):
        assert (await wait).status == "completed"


async def test_a_wait_that_takes_too_long_raises_and_the_run_goes_on(ask: Ask, dsn: str, flow: Flow) -> None:
    run = await ask("start", flow, 5)
    with pytest.raises(RunTimeout, match=r"0\.2 s; it goes on") as caught:
        await ask("wait", run, timeout=0.2)
    assert caught.value.run_id == run.run_id
    assert isinstance(caught.value, TimeoutError)
    async with Worker([flow], dsn=dsn):
        assert (await ask("wait", run, timeout=30)).status == "completed"


@pytest.mark.parametrize("timeout", [-3, float("nan"), "x", True])
async def test_what_is_no_time_is_not_waited_for(ask: Ask, flow: Flow, timeout: Any) -> None:
    run = await ask("start", flow, 5)
    with pytest.raises(InvalidInputError, match="timeout must be a number of seconds, from 0 on, not"):
        await ask("wait", run, timeout=timeout)


async def test_a_wait_outlives_its_connections(ask: Ask, dsn: str, flow: Flow, conn: psycopg.Connection) -> None:
    run = await ask("start", flow, 5)
    wait = asyncio.create_task(ask("wait", run, timeout=60))
    for _ in range(3):
        await aeventually(lambda: waiting(conn) and kill_backends(conn))
        await aeventually(lambda: not waiting(conn))
    async with Worker([flow], dsn=dsn):
        assert (await wait).output == {"only": 5}


async def test_a_wait_that_lost_its_connection_still_ends_on_time(
    ask: Ask, flow: Flow, conn: psycopg.Connection
) -> None:
    run = await ask("start", flow, 5)
    wait = asyncio.create_task(ask("wait", run, timeout=0.5))
    await aeventually(lambda: waiting(conn))
    assert kill_backends(conn)
    with pytest.raises(RunTimeout):
        await wait
