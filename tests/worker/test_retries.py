"""The retry options at work: delays are in the database, and every executor heeds what may be retried."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from pgflow import AsyncClient, Flow, RetryAfter, Worker
from tests.executors import flows
from tests.support import aeventually, value
from tests.worker.support import one_task_flow, tasks, work


async def delay_after_a_failure(dsn: str, conn: psycopg.Connection, flow: Flow[Any, Any]) -> float:
    """Seconds until the message of the only task can be read, once its first attempt has failed and no worker lives."""
    async with Worker([flow], dsn=dsn), AsyncClient(dsn) as client:
        await client.start(flow, None)
        failed = "select exists (select from pgflow.step_tasks where error_message is not null and status = 'queued')"
        await aeventually(lambda: value(conn, failed))
    return float(value(conn, f"select extract(epoch from vt - clock_timestamp()) from pgmq.q_{flow.slug}"))


def always_fails() -> None:
    raise OSError("away")


def after_an_hour() -> None:
    raise RetryAfter(3600)


@pytest.mark.parametrize(
    ("handler", "options", "least", "most"),
    [
        (always_fails, {"base_delay": 1000}, 1900, 2000),
        (always_fails, {"base_delay": 1000, "max_delay": 500}, 400, 500),
        (always_fails, {"base_delay": 1000, "jitter": 0.5}, 900, 2000),
        (after_an_hour, {"max_delay": 5, "jitter": 1}, 3500, 3600),  # the handler has said when
    ],
)
async def test_the_delay_is_in_the_database(
    dsn: str, conn: psycopg.Connection, handler: Any, options: dict[str, Any], least: float, most: float
) -> None:
    assert least < await delay_after_a_failure(dsn, conn, one_task_flow(handler, **options)) <= most


@pytest.mark.parametrize(
    ("options", "attempts"),
    [
        ({}, 3),
        ({"retry_on": OSError}, 3),
        ({"retry_on": ValueError}, 1),
        ({"no_retry_on": (KeyError, ConnectionError)}, 3),
        ({"no_retry_on": OSError}, 1),
    ],
)
@pytest.mark.parametrize("is_async", [False, True])
async def test_exceptions_decide_whether_there_is_another_attempt(
    dsn: str, conn: psycopg.Connection, options: dict[str, Any], attempts: int, is_async: bool
) -> None:
    async def afails() -> None:
        always_fails()

    flow = one_task_flow(afails if is_async else always_fails, max_attempts=3, **options)
    assert (await work(dsn, flow)).status == "failed"
    (task,) = tasks(conn, "only")
    assert (task["attempts_count"], task["error_message"]) == (attempts, "OSError: away")


async def test_a_timeout_is_a_timeout_error(dsn: str, conn: psycopg.Connection) -> None:
    async def hangs() -> None:
        await asyncio.sleep(60)

    flow = one_task_flow(hangs, timeout=1, max_attempts=3, no_retry_on=TimeoutError)
    assert (await work(dsn, flow)).status == "failed"
    (task,) = tasks(conn, "only")
    assert task["attempts_count"] == 1
    assert "HandlerTimeout" in task["error_message"]


@pytest.mark.parametrize(("given", "status", "attempts"), [("busy", "completed", 2), ("wrong", "failed", 1)])
async def test_in_a_process_too(dsn: str, conn: psycopg.Connection, given: str, status: str, attempts: int) -> None:
    assert (await work(dsn, flows.picky, given)).status == status
    (task,) = tasks(conn, "pick")
    assert task["attempts_count"] == attempts


async def test_values_that_do_not_fit_are_never_tried_again(dsn: str, conn: psycopg.Connection) -> None:
    def takes(flow_input: int) -> int:
        return flow_input

    await work(dsn, one_task_flow(takes, retry_on=Exception), "no number")
    assert tasks(conn, "only")[0]["attempts_count"] == 1
