"""What is put around handlers: of plain ones in their thread, of async ones on the loop."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from pgflow import Context
from tests.executors.flows import plain
from tests.support import value
from tests.worker.support import one_task_flow, work

Handler = Callable[..., Any]


class Noting:
    """A middleware that notes where each handler began and ended."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, int]] = []

    def __call__(self, handler: Handler) -> Handler:
        return self._async(handler) if inspect.iscoroutinefunction(handler) else self._plain(handler)

    def note(self, what: str) -> None:
        self.notes.append((what, threading.get_ident()))

    def _plain(self, handler: Handler) -> Handler:
        def within(**arguments: Any) -> Any:
            self.note("begin")
            try:
                return handler(**arguments)
            finally:
                self.note("end")

        return within

    def _async(self, handler: Handler) -> Handler:
        async def within(**arguments: Any) -> Any:
            self.note("begin")
            try:
                return await handler(**arguments)
            finally:
                self.note("end")

        return within


async def test_it_is_around_a_plain_handler_in_its_thread(dsn: str) -> None:
    noting = Noting()

    def handler(flow_input: int) -> list[int]:
        noting.note("handler")
        return [flow_input, threading.get_ident()]

    run = await work(dsn, one_task_flow(handler), 5, middleware=noting)
    given, thread = run.output["only"]
    assert given == 5
    assert noting.notes == [("begin", thread), ("handler", thread), ("end", thread)]
    assert thread != threading.get_ident()


async def test_it_is_around_an_async_handler_on_the_loop(dsn: str) -> None:
    noting = Noting()

    async def handler(flow_input: int, ctx: Context) -> int:
        noting.note("handler")
        return flow_input

    run = await work(dsn, one_task_flow(handler), 5, middleware=noting)
    assert run.output == {"only": 5}
    assert noting.notes == [(what, threading.get_ident()) for what in ("begin", "handler", "end")]


async def test_it_is_told_when_an_async_handler_is_cancelled(dsn: str) -> None:
    noting = Noting()

    async def handler() -> None:
        await asyncio.sleep(60)

    run = await work(dsn, one_task_flow(handler, timeout=1, max_attempts=1), middleware=noting)
    assert run.status == "failed"
    assert [what for what, _ in noting.notes] == ["begin", "end"]


@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_it_is_around_the_whole_of_a_transaction(dsn: str, conn: psycopg.Connection, kind: str) -> None:
    noting = Noting()
    conn.execute("create table effects (at int)")

    def in_thread(ctx: Context) -> None:
        ctx.connection.execute("insert into effects values (1)")

    async def on_loop(ctx: Context) -> None:
        await ctx.connection.execute("insert into effects values (1)")

    handler = in_thread if kind == "plain" else on_loop
    run = await work(dsn, one_task_flow(handler, transactional=True), middleware=noting)
    assert run.status == "completed"
    assert [what for what, _ in noting.notes] == ["begin", "end"]
    assert value(conn, "select count(*) from effects") == 1


async def test_what_it_raises_is_the_handlers_failure(dsn: str) -> None:
    def refusing(handler: Handler) -> Handler:
        def within(**arguments: Any) -> Any:
            raise ConnectionError("no connection for you")

        return within

    run = await work(dsn, one_task_flow(lambda: 1, max_attempts=1), middleware=refusing)
    assert (run.status, run.error) == ("failed", "ConnectionError: no connection for you")


async def test_handlers_in_processes_are_called_as_they_are(dsn: str) -> None:
    noting = Noting()
    run = await work(dsn, plain, middleware=noting)
    assert run.status == "completed"
    assert noting.notes == []
