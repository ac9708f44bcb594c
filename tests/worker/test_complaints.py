"""Failures in the log and in the database: all that is needed, and not more for a hundred thousand of them."""

from __future__ import annotations

import logging
from typing import Any

import psycopg
import pytest

from pgflow import AsyncClient, Context, Flow, Worker
from pgflow.worker.error_text import LONGEST_ERROR
from tests.support import aeventually, rows, value


def failing(slug: str, message: str) -> Flow[Any, Any]:
    flow: Flow[Any, Any] = Flow(slug, max_attempts=2, base_delay=0)

    @flow.map
    async def handler(n: int, ctx: Context) -> int:
        raise ValueError(f"{message}, number {n}, attempt {ctx.attempt}")

    return flow


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "pgflow.worker" and r.levelno >= logging.WARNING]


async def test_a_step_that_fails_again_and_again_is_summed_up(dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    flow, other = failing("many", "no"), failing("few", "no")
    async with Worker([flow, other], dsn=dsn), AsyncClient(dsn) as client:
        ended = await client.wait(await client.start(flow, list(range(100))), timeout=60)
        assert ended.status == "failed"
        assert (await client.wait(await client.start(other, [1]), timeout=60)).status == "failed"
    many = [line for line in lines(caplog) if "many.handler" in line]
    in_full, (summary,) = many[:5], many[5:]
    assert all("failed, attempt 1 of 2: ValueError: no, number" in line for line in in_full)
    assert "many.handler failed" in summary
    assert "times more within a minute, the last: ValueError: no, number" in summary
    assert sum("few.handler" in line for line in lines(caplog)) == 2
    assert caplog.text.count("Traceback") == 7


async def test_the_sum_comes_after_a_minute_and_the_next_failures_are_in_full_again(
    dsn: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgflow.worker.complaints._SECONDS", 0.5)
    flow = failing("many", "no")
    async with Worker([flow], dsn=dsn), AsyncClient(dsn) as client:
        for n in range(1, 3):
            await client.start(flow, list(range(100)))
            await aeventually(lambda n=n: caplog.text.count("times more within a minute") == n)
    assert sum("failed, attempt" in line for line in lines(caplog)) >= 10


async def test_a_run_of_failing_tasks_leaves_short_messages_and_an_empty_queue(
    dsn: str, conn: psycopg.Connection
) -> None:
    flow = failing("many", "x" * 10_000)
    async with Worker([flow], dsn=dsn, concurrency=50), AsyncClient(dsn) as client:
        await client.wait(await client.start(flow, list(range(1000))), timeout=60)
    for table in ("runs", "step_states", "step_tasks"):
        lengths = rows(
            conn, f"select distinct length(error_message) from pgflow.{table} where error_message is not null"
        )
        assert lengths == [(LONGEST_ERROR,)], table
    assert value(conn, "select count(*) from pgmq.q_many") == 0
