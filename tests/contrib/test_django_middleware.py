"""A worker that lives long: no handler meets a dead connection of Django's, and none leaves one behind."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from asgiref.sync import sync_to_async
from django.db import connections

from pgflow import Client, Context, Flow
from pgflow.contrib.django.middleware import fresh_connections
from pgflow.testing.draining import work_off
from tests.contrib.test_django_client import DJANGOS, kill
from tests.support import eventually, value


def backend() -> int:
    """The server's process that Django's connection of this thread leads to."""
    with connections["pgflow"].cursor() as cursor:
        cursor.execute("select pg_backend_pid()")
        return int(cursor.fetchone()[0])


def asking() -> Flow[Any, Any]:
    flow: Flow[Any, Any] = Flow("asking", max_attempts=1)
    flow.map(slug="ask")(lambda number: backend())
    return flow


def asking_async() -> Flow[Any, Any]:
    flow: Flow[Any, Any] = Flow("asking", max_attempts=1)

    async def ask(number: int) -> int:
        return await sync_to_async(backend)()

    flow.map(slug="ask")(ask)
    return flow


@pytest.fixture
def connected(conn: psycopg.Connection) -> Callable[[], int]:
    """How many connections of Django's there are."""
    return lambda: int(value(conn, f"select count(*) from {DJANGOS}"))


def settle(dsn: str, flow: Flow[Any, Any], inputs: int) -> list[Any]:
    """Works off a run of so many tasks -> what they returned."""
    with Client(dsn) as client:
        run = client.start(flow, list(range(inputs)))
        work_off(dsn, flow, middleware=fresh_connections)
        output = client.get_run(run).output
    assert output is not None
    return list(output["ask"])


@pytest.mark.parametrize("make", [asking, asking_async])
def test_nobody_keeps_a_connection_by_default(
    alias: str, dsn: str, connected: Callable[[], int], make: Callable[[], Flow[Any, Any]]
) -> None:
    connections.databases[alias]["CONN_MAX_AGE"] = 0
    assert len(settle(dsn, make(), 8)) == 8
    eventually(lambda: connected() == 0)


def test_async_handlers_do_not_queue_for_one_thread(alias: str, dsn: str) -> None:
    flow: Flow[Any, Any] = Flow("meeting", max_attempts=1)
    both = threading.Barrier(2, timeout=20)

    @flow.map
    async def ask(number: int) -> int:
        await sync_to_async(both.wait)()
        return await sync_to_async(backend)()

    assert len(set(settle(dsn, flow, 2))) == 2


@pytest.mark.parametrize("end", ["dead", "old"])
def test_a_thread_keeps_its_connection_until_it_is(end: str, alias: str, dsn: str, conn: psycopg.Connection) -> None:
    connections.databases[alias] |= {"CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True}
    flow: Flow[Any, Any] = Flow("three", max_attempts=1)
    flow.step(slug="first")(lambda flow_input: backend())
    flow.step(slug="second")(lambda first: backend())

    @flow.step
    def third(second: int) -> int:
        return backend()

    @flow.step
    def last(third: int, ctx: Context) -> None:
        connections.close_all()

    def ending(handler: Callable[..., Any]) -> Callable[..., Any]:
        def within(**arguments: Any) -> Any:
            if "second" in arguments and end == "dead":
                kill(conn)
            elif "second" in arguments:
                connections["pgflow"].close_at = 0
            return fresh_connections(handler)(**arguments)

        return within

    with Client(dsn) as client:
        run = client.start(flow, None)
        work_off(dsn, flow, middleware=ending, concurrency=1)
        steps = client.get_run(run).steps
    first, second, third_ = (steps[slug].output for slug in ("first", "second", "third"))
    assert first == second
    assert third_ not in (None, first)
