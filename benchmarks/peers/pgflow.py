"""pgflow's SQL core from npm, with the calls and defaults of its worker written out in Python.

Its worker (`@pgflow/edge-worker`) runs in Supabase's Deno and comes from JSR; what counts for the database is in
`_work_batches`: one flow per worker, `read_with_poll` for 10 messages, `start_tasks`, one `complete_task` per task,
10 at a time on 4 connections, then the next 10; a heartbeat every 5 seconds.
"""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
from pgmq.install import get_embedded_install_sql
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

from peers.harness import Engine, Setup, main, until

_MIGRATIONS = Path(sys.prefix) / "npm" / "package" / "dist" / "supabase" / "migrations"
_BATCH, _MAX_CONCURRENT, _CONNECTIONS = 10, 10, 4
_POLL_SECONDS, _POLL_MILLISECONDS, _VISIBILITY_SECONDS = 2, 100, 2
_HEARTBEAT_SECONDS = 5

#: What Supabase has and a plain server has not. The real `realtime.send` would store every event.
_STAND_INS = """
create schema realtime;
create function realtime.send(payload jsonb, event text, topic text, private boolean default true)
returns void language sql as '';
"""
_EXTENSION = 'CREATE EXTENSION IF NOT EXISTS "pgmq" WITH SCHEMA "pgmq";'
_CHAIN = ["first", "second", "third"]


async def prepare(dsn: str) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute(_STAND_INS)
        await connection.execute(get_embedded_install_sql())
        for migration in sorted(_MIGRATIONS.glob("*.sql")):
            text = migration.read_text().replace(_EXTENSION, "").replace('CREATE SCHEMA IF NOT EXISTS "pgmq";', "")
            await connection.execute(text)
        # A root map: of a map behind a step this version takes the whole list apart again for every task.
        await _create(connection, "fan_out", [("element", [], "map"), ("count", ["element"], "single")])
        for length in (1, 3):
            chain = zip(_CHAIN[:length], [None, *_CHAIN], strict=False)
            await _create(connection, f"chain{length}", [(s, [d] if d else [], "single") for s, d in chain])


async def _create(connection: psycopg.AsyncConnection, flow: str, steps: list[tuple[str, list[str], str]]) -> None:
    await connection.execute("select pgflow.create_flow(%s)", (flow,))
    for step, needed, kind in steps:
        await connection.execute(
            "select pgflow.add_step(flow_slug => %s, step_slug => %s, deps_slugs => %s::text[], step_type => %s)",
            (flow, step, needed, kind),
        )


# ---------------------------------------------------------------------------------------- the worker


async def work(dsn: str, setup: Setup) -> None:
    worker = uuid.uuid4()
    async with _pool(dsn) as pool:
        await _execute(
            pool,
            "insert into pgflow.workers (worker_id, queue_name, function_name) values (%s, %s, 'bench')",
            (worker, _flow(setup)),
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(_beat(pool, worker))
            group.create_task(_work_batches(pool, worker, setup))
            setup.ready()


def _flow(setup: Setup) -> str:
    return f"chain{setup.scenario.steps}" if setup.scenario.steps else "fan_out"


async def _beat(pool: AsyncConnectionPool, worker: uuid.UUID) -> None:
    while True:
        await asyncio.sleep(_HEARTBEAT_SECONDS)
        await _execute(
            pool, "update pgflow.workers set last_heartbeat_at = clock_timestamp() where worker_id = %s", (worker,)
        )


async def _work_batches(pool: AsyncConnectionPool, worker: uuid.UUID, setup: Setup) -> None:
    room = asyncio.Semaphore(min(setup.concurrency, _MAX_CONCURRENT))
    while True:
        messages = await _execute(
            pool,
            "select msg_id from pgmq.read_with_poll(queue_name => %s, vt => %s, qty => %s, max_poll_seconds => %s,"
            " poll_interval_ms => %s)",
            (_flow(setup), _VISIBILITY_SECONDS, _BATCH, _POLL_SECONDS, _POLL_MILLISECONDS),
        )
        if not messages:
            continue
        tasks = await _execute(
            pool,
            "select run_id, step_slug, task_index, input from pgflow.start_tasks("
            "flow_slug => %s, msg_ids => %s::bigint[], worker_id => %s)",
            (_flow(setup), [row[0] for row in messages], worker),
        )
        await asyncio.gather(*(_execute_task(pool, room, setup, *task) for task in tasks))


async def _execute_task(
    pool: AsyncConnectionPool, room: asyncio.Semaphore, setup: Setup, run: uuid.UUID, step: str, index: int, given: Any
) -> None:
    async with room:
        await setup.handle()
        output = len(given["element"]) if step == "count" else index
        await _execute(
            pool,
            "select pgflow.complete_task(run_id => %s, step_slug => %s, task_index => %s, output => %s)",
            (run, step, index, Jsonb(output)),
        )
        setup.tally.add()


# ---------------------------------------------------------------------------------------- the client


class _Client:
    def __init__(self, pool: AsyncConnectionPool, setup: Setup) -> None:
        self.pool = pool
        self.tally = setup.tally

    async def fan_out(self, items: int) -> None:
        await self._start("fan_out", list(range(items)))
        await self._finish("fan_out", items + 1)
        newest = "select output from pgflow.runs where flow_slug = 'fan_out' order by started_at desc limit 1"
        assert (await _execute(self.pool, newest))[0][0] == {"count": items}

    async def start_runs(self, runs: int, steps: int) -> None:
        await asyncio.gather(*(self._start(f"chain{steps}", n) for n in range(runs)))

    async def finish_runs(self, runs: int, steps: int) -> None:
        await self._finish(f"chain{steps}", runs * steps)

    async def run_once(self, steps: int) -> None:
        await self._start(f"chain{steps}", 1)
        await self._finish(f"chain{steps}", steps)

    async def _start(self, flow: str, given: Any) -> None:
        await _execute(self.pool, "select run_id from pgflow.start_flow(%s, %s)", (flow, Jsonb(given)))

    async def _finish(self, flow: str, tasks: int) -> None:
        async def done() -> bool:
            unfinished = "select from pgflow.runs where flow_slug = %s and status <> 'completed' limit 1"
            return not await _execute(self.pool, unfinished, (flow,))

        await self.tally.wait(tasks)
        await until(done)


@asynccontextmanager
async def client(dsn: str, setup: Setup) -> AsyncIterator[_Client]:
    async with _pool(dsn) as pool:
        yield _Client(pool, setup)


def _pool(dsn: str) -> AsyncConnectionPool:
    return AsyncConnectionPool(
        dsn, min_size=_CONNECTIONS, max_size=_CONNECTIONS, timeout=600, kwargs={"autocommit": True}, open=False
    )


async def _execute(pool: AsyncConnectionPool, query: str, parameters: tuple[Any, ...] = ()) -> list[Any]:
    async with pool.connection() as connection:
        cursor = await connection.execute(query, parameters)
        return await cursor.fetchall() if cursor.description else []


if __name__ == "__main__":
    main(Engine("@pgflow/core 0.8.1", prepare=prepare, work=work, client=client, is_slow=True))
